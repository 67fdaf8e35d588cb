"""Clutter removal as VGN and GIGA measure it: see the table once from the side, grasp, take the object away, until it is clear.

A round ends when nothing is left, no grasp is found, or two grasps in a row failed. GSR is successes / attempts, DR removed / all objects.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from grasp_sim.candidates import CandidateSettings
from grasp_sim.clutter import Model, Protocol, Table, View, calibrate_depth, photograph, set_table, world_points
from grasp_sim.convex import solid_from_surface
from grasp_sim.floating import FloatingHand
from grasp_sim.hands import Hand
from grasp_sim.occlusion import Occlusion
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchSettings, search_grasps
from grasp_sim.solids import PlacedSolid, build_solid
from grasp_sim.trial import GraspOutcome, Spread, TrialSettings
from grasp_sim.world import World
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, load_mesh
from invgraphics.grasp import Grasp, Ungrasped


@dataclass(frozen=True)
class Percept:
    """What was made of a view."""

    objects: Sequence[PlacedSolid]
    """World frame."""
    occlusion: Occlusion | None = None
    """Space that the view did not show; None where nothing is guessed."""


Perception = Callable[[View, int], Percept]
"""From a view and a seed. A module's function, for it runs in other processes."""

_MESH_FILES = (".ply", ".obj", ".stl", ".off", ".glb")
_OPEN_SHARE = 0.1
"""Share of a one-motor hand's opening that must be left when it holds something."""
_MOST_FAILURES = 2
"""In a row."""
_SUSPECT = 0.03
"""Metres from the middle between the fingers that failed within which an object is taken for what they failed at."""
_FEWEST_POINTS = 50
"""Visible points for a hull."""


def _default_search() -> SearchSettings:
    """Walls so thin that the protocol would take the closed hand for empty are not worth trying (jaw: a tenth of 80 mm).

    Where the hand stands and how near the neighbours are is only known to a few millimetres, the noise being 5.
    """
    return SearchSettings(
        batch=16,
        batches=4,
        finalists=4,
        final_trials=8,
        together=True,
        trial=TrialSettings(touch_force=0.0),
        spread=Spread(position=0.004),
        candidate=CandidateSettings(narrowest=0.009, side_room=0.012, clearance=0.005, plane_clearance=0.0055),
    )


@dataclass(frozen=True)
class ClutterSettings:
    """One benchmark."""

    protocol: Protocol
    objects: int = 5
    """On the table at the start of a round."""
    search: SearchSettings = field(default_factory=_default_search)
    trial: TrialSettings = field(default_factory=lambda: TrialSettings(touch_force=0.0))
    """How a grasp is carried out: any touch on the way in is a failure, as in VGN."""


@dataclass(frozen=True)
class Attempt:
    """One executed grasp."""

    outcome: str
    """In words."""
    success: bool
    removed: str | None
    """Name of the object that was taken away."""
    predicted: float
    """Success rate in the search."""
    trials: int
    """Behind that rate."""


@dataclass(frozen=True)
class Round:
    """What happened in one round."""

    number: int
    objects: int
    """On the table at the start."""
    attempts: tuple[Attempt, ...]
    ended: str
    """Why, in words."""

    @property
    def successes(self) -> int:
        """How many attempts succeeded, each of which removed one object."""
        return sum(attempt.success for attempt in self.attempts)


def load_models(folder: Path, unit_m: float, largest_m: float, pool: TrialPool) -> tuple[list[Model], dict[str, str]]:
    """The meshes of a folder, by name, no longer than `largest_m` at full size; and what was changed or left out, with the reason.

    A surface that is not closed is replaced by its convex hull. `InputError` where nothing usable is there.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of meshes")
    meshes, notes = {}, {}
    for path in sorted(file for file in folder.iterdir() if file.suffix.lower() in _MESH_FILES):
        mesh = load_mesh(path, unit_m)
        longest = float((mesh.vertices.max(0).values - mesh.vertices.min(0).values).max())
        if longest > largest_m:
            notes[path.name] = f"left out: {100 * longest:.1f} cm long"
            continue
        closed = closed_or_hull(mesh)
        if closed is not mesh:
            notes[path.name] = "not closed: its convex hull is used"
        meshes[path.stem] = closed
    if not meshes:
        kinds = ", ".join(_MESH_FILES)
        raise InputError(f"{folder}: no mesh ({kinds}) of at most {100 * largest_m:.0f} cm; is --unit right?")
    solids = pool.map(build_solid, [(mesh,) for mesh in meshes.values()])
    return [Model(name, solid) for name, solid in zip(meshes, solids, strict=True)], notes


def closed_or_hull(mesh: Mesh) -> Mesh:
    """The mesh if it bounds a solid, else its convex hull."""
    if solid_from_surface(mesh.vertices.double().numpy(), mesh.faces.numpy()) is not None:
        return mesh
    hull = trimesh.convex.convex_hull(mesh.vertices.double().numpy())
    return Mesh(torch.tensor(np.array(hull.vertices), dtype=mesh.vertices.dtype), torch.tensor(np.array(hull.faces), dtype=torch.int64))


def play_round(models: Sequence[Model], hand: Hand, perceive: Perception, settings: ClutterSettings, seed: int, number: int) -> Round:
    """One round; the same for the same seed and number."""
    generator = np.random.default_rng([seed, number])
    attempts: list[Attempt] = []
    failed: list[np.ndarray] = []
    with World() as world, TrialPool(1) as pool:
        table = set_table(world, models, settings.protocol, settings.objects, generator)
        count = len(table.solids)
        while table.solids and len(failed) < _MOST_FAILURES:
            view = photograph(table, generator, f"round {number}, view {len(attempts)}")
            draw = int(generator.integers(2**31))
            grasp = _decide(perceive(view, seed), hand, settings.search, draw, pool, failed)
            if isinstance(grasp, str):
                return Round(number, count, tuple(attempts), grasp)
            attempts.append(_execute(table, hand, grasp, settings.trial))
            failed = [] if attempts[-1].success else [*failed, grasp.T_world_hand[:3, 3]]
            world.settle(table.solids, max_seconds=2.0)
            table.drop_outsiders()
    return Round(number, count, tuple(attempts), "two failures in a row" if table.solids else "nothing is left on the table")


def _decide(
    percept: Percept, hand: Hand, settings: SearchSettings, seed: int, pool: TrialPool, failed: Sequence[np.ndarray]
) -> Grasp | str:
    """The best grasp, or why there is none.

    It is looked for with less and less room (`_tightening`). What a grasp has just `failed` at (x y z of the hand, m) is tried again only
    if nothing else can be.
    """
    objects = percept.objects
    if not objects:
        return "no object was seen"
    suspects = {k for k, item in enumerate(objects) if any(_is_near(item, place) for place in failed)}
    reasons: dict[int, Ungrasped] = {}
    for indices in (set(range(len(objects))) - suspects, suspects):
        for shapes, how in _tightening(objects, settings) if indices else ():
            options = {"indices": sorted(indices), "seed": seed, "settings": how, "pool": pool, "occlusion": percept.occlusion}
            result = search_grasps(shapes, hand, **options)
            if result.ranked:
                return result.grasps[0]
            reasons = result.failures | reasons
    return "no grasp was found: " + "; ".join(f"{objects[k].name}: {why.message}" for k, why in sorted(reasons.items()))


def _tightening(objects: Sequence[PlacedSolid], settings: SearchSettings) -> Iterator[tuple[Sequence[PlacedSolid], SearchSettings]]:
    """Shapes to look for grasps on, and how, one after the other where nothing is found.

    With room around the hand; closer to the neighbours; so on the objects' convex hulls, for what was not seen leaves hollows that are
    not there; with no room at all.
    """
    usual = CandidateSettings()
    nearer = {"side_room": usual.side_room, "clearance": usual.clearance, "plane_clearance": 0.0025}
    close = replace(settings, candidate=replace(settings.candidate, **nearer))
    yield objects, settings
    yield objects, close
    yield [item.hulled() for item in objects], close
    yield objects, replace(settings, candidate=replace(settings.candidate, side_room=0.0, clearance=0.0, plane_clearance=0.001))


def _is_near(item: PlacedSolid, place: np.ndarray) -> bool:
    """Whether an object comes within `_SUSPECT` of a place."""
    local = item.T_world_body[:3, :3].T @ (place - item.T_world_body[:3, 3])
    return bool(np.linalg.norm(item.solid.coarse.vertices - local, axis=1).min() < _SUSPECT)


def _execute(table: Table, hand: Hand, grasp: Grasp, settings: TrialSettings) -> Attempt:
    """Carries out a grasp on the true objects; takes away what it holds."""
    start = grasp.T_world_hand.copy()
    way_in = settings.approach_distance * start[:3, 2]
    start[:3, 3] -= way_in
    floating = FloatingHand(table.world, hand, grasp, start)
    outcome, held = _grasp_blindly(table, floating, way_in, settings)
    floating.leave()
    name = None
    if held is not None:
        name = table.solids[held][0]
        table.remove(held)
    return Attempt(outcome, held is not None, name, grasp.success_rate, grasp.trials)


def _grasp_blindly(table: Table, floating: FloatingHand, way_in: np.ndarray, settings: TrialSettings) -> tuple[str, int | None]:
    """In, close, back out by 10 cm (straight up for grasps from the side); in words what came of it, and what is held, if anything."""
    world = table.world
    if floating.overlaps((*table.solids, world.plane)):
        return GraspOutcome.BLOCKED.value, None
    if not floating.move(way_in, settings.speed, settings.touch_force):
        return GraspOutcome.COLLISION.value, None
    floating.close(settings.closing_time, settings.stall_time)
    if not any(world.contacts(floating.body, body) for body in table.solids):
        return GraspOutcome.NO_CONTACT.value, None
    approach = way_in / np.linalg.norm(way_in)
    back = -approach if approach[2] < -np.cos(np.pi / 3) else np.array([0.0, 0.0, 1.0])
    floating.move(settings.lift_height * back, settings.speed)
    touching = [body for body in table.solids if world.contacts(floating.body, body)]
    if not touching:
        return GraspOutcome.SLIPPED.value, None
    if not _is_open(floating):
        return "the hand touches something but is less than a tenth open, which counts as empty", None
    return GraspOutcome.SUCCESS.value, max(touching, key=lambda body: world.centre_of_mass(body)[2])


def _is_open(floating: FloatingHand) -> bool:
    """Whether a one-motor hand is more than a tenth open (VGN's test). Hands with more motors close around things."""
    motors = floating.hand.motors
    if len(motors) > 1:
        return True
    ((name, position),) = floating.motor_joints().items()
    closed, opened = floating.grasp.closed[name], floating.hand.templates[0].opened[name]
    return abs(position - closed) > _OPEN_SHARE * abs(opened - closed)


@dataclass(frozen=True)
class Score:
    """A ratio in percent with its 95 % interval."""

    percent: float
    low: float
    high: float


def score_rounds(rounds: Sequence[Round], seed: int) -> tuple[Score, Score]:
    """GSR and DR; intervals by drawing rounds with replacement (percentiles of 2000 bootstrap samples)."""
    table = np.array([[each.successes, len(each.attempts), each.objects] for each in rounds], dtype=float)
    drawn = table[np.random.default_rng(seed).integers(len(table), size=(2000, len(table)))].sum(1)
    return _score(table.sum(0), drawn, 1), _score(table.sum(0), drawn, 2)


def _score(total: np.ndarray, drawn: np.ndarray, column: int) -> Score:
    ratios = 100 * drawn[:, 0] / np.maximum(drawn[:, column], 1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Score(float(100 * total[0] / max(total[column], 1)), float(low), float(high))


def run_clutter(
    models: Sequence[Model],
    hand: Hand,
    perceive: Perception,
    settings: ClutterSettings,
    *,
    rounds: int,
    seed: int,
    pool: TrialPool,
    done: Sequence[Round] = (),
    finished: Callable[[Round], None] = lambda played: None,
) -> list[Round]:
    """All rounds, spread over the pool's processes; the same for any number of them.

    Rounds that are `done` are not played again. `finished` is told each that was played.
    """
    rounds_by_number = {each.number: each for each in done if each.number < rounds}
    missing = [number for number in range(rounds) if number not in rounds_by_number]
    for each in pool.map(play_round, [(tuple(models), hand, perceive, settings, seed, number) for number in missing]):
        rounds_by_number[each.number] = each
        finished(each)
    return [rounds_by_number[number] for number in range(rounds)]


def describe_rounds(rounds: Sequence[Round]) -> list[dict]:
    """As JSON takes them."""
    return [asdict(each) for each in rounds]


def read_round(entries: dict) -> Round:
    """What `describe_rounds` said of a round."""
    return Round(**(entries | {"attempts": tuple(Attempt(**attempt) for attempt in entries["attempts"])}))


def see_truth(view: View, seed: int) -> Percept:
    """The upper bound: perception without error."""
    return Percept(view.truth)


def see_hulls(view: View, seed: int) -> Percept:
    """The lower bound: the convex hull of each object's visible points, with the true segmentation."""
    observation = calibrate_depth(view.observation)
    points = world_points(observation)
    solids = []
    for k, item in enumerate(view.truth):
        mine = points[(view.seen == k) & view.observation.valid.numpy()]
        if len(mine) >= _FEWEST_POINTS:
            hull = trimesh.convex.convex_hull(mine)
            mesh = Mesh(torch.tensor(np.array(hull.vertices)), torch.tensor(np.array(hull.faces), dtype=torch.int64))
            solids.append(PlacedSolid(build_solid(mesh), np.eye(4), item.name))
    return Percept(solids, Occlusion.of(observation))
