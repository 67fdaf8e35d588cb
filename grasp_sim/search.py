"""Many grasps tried in parallel, the promising ones more often: objects and a hand in, ranked grasps out.

Successive halving (Jamieson and Talwalkar 2016): every candidate is tried once at the nominal physics, the better half again with
friction, weight, hand pose and (where there are samples of it) shape varied, and so on. What a trial draws depends on the seed, the
object, the candidate and the trial's number only, so the result is the same for any number of processes.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from grasp_sim.candidates import Candidate, CandidateSettings, find_candidates, occupied_points
from grasp_sim.hands import Hand
from grasp_sim.occlusion import Occlusion
from grasp_sim.pool import TrialPool
from grasp_sim.solids import PlacedSolid
from grasp_sim.trial import GraspOutcome, Physics, Spread, TrialSettings, push_apart, try_grasps
from invgraphics.grasp import Grasp, NoGrasp, Ungrasped

_Item = TypeVar("_Item")
_CHUNK = 16
"""Trials that are tried in one world after another: enough to make building it cheap."""
_RISK = 2.5
"""By how much of its chance a grasp is to lose for the share of the hand that would stand in unseen space: of 93 grasps of a jaw among
poured objects that had held on the reconstruction, 1 of 82 ran into something with a share below 0.1, 4 of 11 with one above."""
_LEAST_CHANCE = 0.2
"""Of a grasp that is all in unseen space to find it empty."""
_LAST_ROUNDS = 4
"""How often candidates that now rank among the best, for finalists fell behind them, get the finalists' trials."""


@dataclass(frozen=True)
class SearchSettings:
    """How much is tried, and how."""

    batch: int = 20
    """Candidates of an object that are tried at once."""
    batches: int = 3
    """A further batch is tried where the best finalist so far succeeds less often than `satisfied`, up to so many."""
    satisfied: float = 0.75
    """Success rate."""
    finalists: int = 3
    """Candidates of an object that get the most trials."""
    together: bool = False
    """Whether all objects are searched as if they were one: `batch`, `finalists` and so on then are of the scene. For those who want one
    grasp, of any object."""
    final_trials: int = 8
    """Trials behind each finalist's success rate."""
    max_trials: int | None = None
    """Of the whole search; None for no limit."""
    max_seconds: float | None = None
    """Of the whole search; None for no limit, which a reproducible result needs."""
    physics: Physics = field(default_factory=Physics)
    spread: Spread = field(default_factory=Spread)
    trial: TrialSettings = field(default_factory=TrialSettings)
    candidate: CandidateSettings = field(default_factory=CandidateSettings)
    engine: str = "pybullet"
    """Physics engine, one of `grasp_sim.engines.ENGINES`."""


@dataclass(frozen=True)
class TriedGrasp:
    """A grasp with everything that was seen of it."""

    grasp: Grasp
    """With its success rate and number of trials."""
    template: str
    """Which of the hand's templates."""
    score: float
    """From geometry alone, in [0, 1]."""
    hidden: float
    """Share of the hand that would stand where the camera did not see whether something is there."""
    outcomes: dict[GraspOutcome, int]
    """How often each outcome came."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    ranked: tuple[TriedGrasp, ...]
    """Grasps that succeeded at least once, best first: by (successes + 1) / (trials + 2), less where the hand would stand in space that the
    camera did not see, then by geometry."""
    failures: dict[int, Ungrasped]
    """For each object without a grasp the reason."""
    trials: int
    """How many were run."""
    seconds: float
    """Wall-clock time."""

    @property
    def grasps(self) -> list[Grasp]:
        """The grasps alone, best first."""
        return [tried.grasp for tried in self.ranked]


@dataclass
class _Track:
    """One candidate's trials so far."""

    candidate: Candidate
    number: int
    """Among its object's candidates."""
    outcomes: list[GraspOutcome] = field(default_factory=list)

    @property
    def index(self) -> int:
        return self.candidate.grasp.object_index

    @property
    def successes(self) -> int:
        return self.outcomes.count(GraspOutcome.SUCCESS)

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: Laplace's rule of succession times the chance that nothing unseen is in the way, then geometry."""
        chance = max(_LEAST_CHANCE, 1 - _RISK * self.candidate.hidden)
        return chance * (self.successes + 1) / (len(self.outcomes) + 2), self.candidate.score

    def result(self) -> TriedGrasp:
        rate = self.successes / len(self.outcomes)
        grasp = replace(self.candidate.grasp, success_rate=rate, trials=len(self.outcomes))
        candidate = self.candidate
        return TriedGrasp(grasp, candidate.template, candidate.score, candidate.hidden, dict(Counter(self.outcomes)))


class _Search:
    """The state of one search."""

    def __init__(self, objects: Sequence[PlacedSolid], hand: Hand, seed: int, settings: SearchSettings, pool: TrialPool):
        # Workers need the pieces, not the fine surface: what is sent with every trial stays small.
        self.objects = tuple(item.without_detail() for item in objects)
        self.hand, self.seed, self.settings, self.pool = hand, seed, settings, pool
        self.started = time.perf_counter()
        self.trials = 0

    def out_of_budget(self) -> bool:
        limits = self.settings
        late = limits.max_seconds is not None and time.perf_counter() - self.started >= limits.max_seconds
        return late or (limits.max_trials is not None and self.trials >= limits.max_trials)

    def run(self, tracks: Iterable[_Track], target: int) -> Iterator[None]:
        """Tries each track until it has `target` trials, as far as the budget goes; yields after every trial.

        A budget that ends within leaves every track with about as many trials as the others, of every shape.
        """
        if self.out_of_budget():
            return
        wanted = [(track, number) for track in tracks for number in range(len(track.outcomes), target)]
        wanted.sort(key=lambda each: each[1])
        if self.settings.max_trials is not None:
            wanted = wanted[: self.settings.max_trials - self.trials]
        chunks = list(self._chunks(wanted))
        results = self.pool.map(try_grasps, [self._task(chunk) for chunk in chunks])
        for chunk, outcomes in zip(chunks, results, strict=True):
            for (track, _), outcome in zip(chunk, outcomes, strict=True):
                track.outcomes.append(outcome)
                self.trials += 1
                yield
            if self.out_of_budget():
                return

    def _chunks(self, wanted: Sequence[tuple[_Track, int]]) -> Iterator[Sequence[tuple[_Track, int]]]:
        """Trials that share a world: of the same shapes, few enough that every process gets some; the shapes take turns."""
        most = max(1, min(_CHUNK, -(-len(wanted) // (2 * self.pool.processes))))
        shapes: dict[int, list[tuple[_Track, int]]] = {}
        for each in wanted:
            shapes.setdefault(self._shape(each[1]), []).append(each)
        parts = [[trials[first : first + most] for first in range(0, len(trials), most)] for trials in shapes.values()]
        yield from _interleaved(parts)

    def _shape(self, number: int) -> int:
        """Which of the shape samples a trial is for: the first trial, and every so many after it, for the likeliest."""
        return number % (1 + max(len(item.samples) for item in self.objects))

    def _task(self, chunk: Sequence[tuple[_Track, int]]) -> tuple:
        objects = tuple(item.with_sample(self._shape(chunk[0][1])) for item in self.objects)
        trials = [(track.candidate.grasp, self._physics(track, number)) for track, number in chunk]
        return objects, self.hand, trials, self.settings.trial, self.settings.engine

    def _physics(self, track: _Track, number: int) -> Physics:
        if number == 0:
            return self.settings.physics
        return self.settings.spread.draw(self.settings.physics, np.random.default_rng([self.seed, track.index, track.number, number]))


def search_grasps(
    objects: Sequence[PlacedSolid],
    hand: Hand,
    *,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    settings: SearchSettings | None = None,
    pool: TrialPool | None = None,
    occlusion: Occlusion | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Grasps of `objects` (all, or those of `indices`) on the plane z = 0 that succeed in simulation, best first.

    `pool` defaults to one process for each core, started and ended here. With the image's `occlusion`, of grasps that hold equally
    often those come first whose hand goes where nothing was hidden; the success rate that is told does not count what was hidden.
    `progress(done, expected)` is told the number of trials after each.
    Objects without a grasp are in `failures` with the reason.
    """
    if pool is None:
        with TrialPool() as own:
            options = {"indices": indices, "seed": seed, "settings": settings, "occlusion": occlusion, "progress": progress}
            return search_grasps(objects, hand, pool=own, **options)
    settings = settings or SearchSettings()
    objects = push_apart(objects)
    search = _Search(objects, hand, seed, settings, pool)
    found, failures = _find_all(objects, hand, range(len(objects)) if indices is None else indices, seed, settings, occlusion)
    report = _Progress(progress, settings)
    groups = [_interleaved(found)] if settings.together and found else found
    for first in range(0, settings.batch * settings.batches, settings.batch):
        _try_batch(search, [group for group in groups if not _is_satisfied(group, settings)], first, report)
    ranked = sorted((track for group in groups for track in group if track.successes), key=lambda track: track.rank, reverse=True)
    failures |= _explain([track for group in found for track in group], {track.index for track in ranked})
    return SearchResult(tuple(track.result() for track in ranked), failures, search.trials, time.perf_counter() - search.started)


def _try_batch(search: _Search, groups: Sequence[list[_Track]], first: int, report: "_Progress") -> None:
    """Tries a batch of each group's candidates, from number `first` on, once; and the best of all its candidates so far more often."""
    settings = search.settings
    if not any(len(group) > first for group in groups):
        return
    _try(search, _interleaved([group[first : first + settings.batch] for group in groups]), 1, report)
    for keep, target in (*_rounds(settings), *[(settings.finalists, settings.final_trials)] * _LAST_ROUNDS):
        best = [sorted(filter(_has_succeeded, group), key=lambda track: track.rank, reverse=True)[:keep] for group in groups]
        _try(search, _interleaved(best), target, report)


def _try(search: _Search, tracks: Sequence[_Track], target: int, report: "_Progress") -> None:
    """Gives each track its trials up to `target`."""
    report.expect(sum(max(0, target - len(track.outcomes)) for track in tracks))
    for _ in search.run(tracks, target):
        report.advance(search.trials)


def _has_succeeded(track: _Track) -> bool:
    return track.successes > 0


def _is_satisfied(group: Sequence[_Track], settings: SearchSettings) -> bool:
    """Whether one of the candidates has all its trials and succeeded often enough."""
    done = [track for track in group if len(track.outcomes) >= settings.final_trials]
    return any(track.successes >= settings.satisfied * len(track.outcomes) for track in done)


class _Progress:
    """Tells a caller how far a search is."""

    def __init__(self, told: Callable[[int, int], None] | None, settings: SearchSettings):
        self._told, self._limit, self._expected = told, settings.max_trials, 0

    def expect(self, more: int) -> None:
        self._expected += more

    def advance(self, done: int) -> None:
        if self._told is not None:
            self._told(done, self._expected if self._limit is None else min(self._expected, self._limit))


def _find_all(
    objects: Sequence[PlacedSolid], hand: Hand, indices: Iterable[int], seed: int, settings: SearchSettings, occlusion: Occlusion | None
) -> tuple[list[list[_Track]], dict[int, Ungrasped]]:
    """Candidates of every object that has some, and the reasons of those without."""
    groups, failures = [], {}
    occupied = occupied_points(objects, np.random.default_rng([seed, len(objects)])) if objects else None
    options = {"count": settings.batch * settings.batches, "settings": settings.candidate, "occupied": occupied, "occlusion": occlusion}
    for index in indices:
        generator = np.random.default_rng([seed, index])
        found, why = find_candidates(objects, index, hand, generator, **options)
        if found:
            groups.append([_Track(candidate, number) for number, candidate in enumerate(found)])
        elif why is not None:
            failures[index] = why
    return groups, failures


def _rounds(settings: SearchSettings) -> list[tuple[int, int]]:
    """(candidates kept, trials that each then has): halved and doubled until the finalists have theirs."""
    rounds, keep, target = [], settings.batch // 2, 2
    while keep > settings.finalists and target < settings.final_trials:
        rounds.append((keep, target))
        keep, target = keep // 2, 2 * target
    return [*rounds, (settings.finalists, settings.final_trials)]


def _interleaved(groups: Sequence[Sequence[_Item]]) -> list[_Item]:
    """The first of every group, then the second of every group, and so on: a cut budget is shared."""
    longest = max((len(group) for group in groups), default=0)
    return [group[k] for k in range(longest) for group in groups if k < len(group)]


def _explain(tracks: Sequence[_Track], succeeded: set[int]) -> dict[int, Ungrasped]:
    """For every object whose candidates were tried in vain, or not at all, what happened, most frequent first."""
    reasons = {}
    for index in sorted({track.index for track in tracks} - succeeded):
        counts = Counter(outcome for track in tracks if track.index == index for outcome in track.outcomes)
        told = ", ".join(f"{count} x {outcome.value}" for outcome, count in counts.most_common())
        if counts:
            reasons[index] = Ungrasped(NoGrasp.ALL_TRIALS_FAILED, f"none of {sum(counts.values())} trials succeeded: {told}")
        else:
            reasons[index] = Ungrasped(NoGrasp.NOT_TRIED, NoGrasp.NOT_TRIED.value)
    return reasons
