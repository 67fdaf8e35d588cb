"""The search: the same whatever the number of processes, within its budget, honest where nothing can be grasped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from grasp_sim.hands import load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchResult, SearchSettings, search_grasps
from grasp_sim.solids import Solid
from grasp_sim.trial import GraspOutcome
from invgraphics.grasp import NoGrasp
from tests.grasp_sim.shapes import make_box, place

JAW = load_hand("parallel_jaw")
QUICK = SearchSettings(batch=6, batches=1, finalists=2, final_trials=4)


def scene() -> list:
    return [place(make_box(0.04, 0.05, 0.08), name="graspable"), place(make_box(0.2, 0.2, 0.2), x=0.3, name="too large")]


@pytest.fixture(scope="module")
def result() -> SearchResult:
    with TrialPool(1) as pool:
        return search_grasps(scene(), JAW, seed=3, settings=QUICK, pool=pool)


def test_found_grasps_are_ranked_and_counted(result: SearchResult) -> None:
    assert {grasp.object_index for grasp in result.grasps} == {0}
    best = result.ranked[0]
    assert best.grasp.trials == 4
    assert best.grasp.success_rate >= 0.75
    for tried in result.ranked:
        assert sum(tried.outcomes.values()) == tried.grasp.trials
        assert tried.outcomes[GraspOutcome.SUCCESS] == round(tried.grasp.success_rate * tried.grasp.trials)
    ranks = [(tried.outcomes[GraspOutcome.SUCCESS] + 1) / (tried.grasp.trials + 2) for tried in result.ranked]
    assert ranks == sorted(ranks, reverse=True)


def test_an_object_that_does_not_fit_gets_its_reason(result: SearchResult) -> None:
    assert list(result.failures) == [1]
    assert "the hand opens to 80 mm" in result.failures[1].message
    assert result.failures[1].reason is NoGrasp.HAND_TOO_SMALL


def test_more_processes_give_the_same_result(result: SearchResult) -> None:
    told = []
    with TrialPool(2) as pool:
        again = search_grasps(
            scene(), JAW, seed=3, settings=QUICK, pool=pool, progress=lambda done, expected: told.append((done, expected))
        )
    assert again.trials == result.trials == told[-1][0] == told[-1][1]
    for one, other in zip(result.ranked, again.ranked, strict=True):
        np.testing.assert_array_equal(one.grasp.T_world_hand, other.grasp.T_world_hand)
        assert (one.grasp.success_rate, one.grasp.trials, one.outcomes) == (other.grasp.success_rate, other.grasp.trials, other.outcomes)


def test_the_budget_is_kept_and_the_untried_are_told() -> None:
    objects = [place(make_box(0.04, 0.05, 0.08), x=0.3 * k) for k in range(3)]
    with TrialPool(1) as pool:
        result = search_grasps(objects, JAW, settings=replace(QUICK, max_trials=2), pool=pool)
    assert result.trials == 2
    assert result.failures[2].reason is NoGrasp.NOT_TRIED


def test_nothing_graspable_ends_with_reasons() -> None:
    with TrialPool(1) as pool:
        result = search_grasps([place(make_box(0.2, 0.2, 0.2))], JAW, settings=QUICK, pool=pool)
    assert result.grasps == []
    assert result.trials == 0
    assert {index: why.reason for index, why in result.failures.items()} == {0: NoGrasp.HAND_TOO_SMALL}


def test_only_the_asked_objects_are_searched() -> None:
    objects = [place(make_box(0.04, 0.05, 0.08), x=0.3 * k) for k in range(2)]
    with TrialPool(1) as pool:
        result = search_grasps(objects, JAW, indices=[1], settings=replace(QUICK, max_trials=2), pool=pool)
    assert {grasp.object_index for grasp in result.grasps} <= {1}
    assert 0 not in result.failures


def test_trials_vary_over_the_shape_samples() -> None:
    """In its other shape the object is wider than the hand opens: only the likeliest shape can be held."""
    thin = place(make_box(0.04, 0.05, 0.08), name="thin or wide")
    wide = replace(thin, samples=(make_wide_solid(),))
    settings = replace(QUICK, batch=2, finalists=1, final_trials=4)
    with TrialPool(1) as pool:
        certain = search_grasps([thin], JAW, settings=settings, pool=pool)
        doubtful = search_grasps([wide], JAW, settings=settings, pool=pool)
    assert certain.ranked[0].grasp.success_rate > 0.7
    assert doubtful.ranked[0].grasp.success_rate <= 0.5


def test_a_cut_budget_is_spread_over_shapes_and_candidates() -> None:
    """Four shapes and half the trials that two finalists want: each gets one of every shape."""
    thin = place(make_box(0.04, 0.05, 0.08))
    item = replace(thin, samples=(make_wide_solid(), thin.solid, thin.solid))
    settings = replace(QUICK, batch=2, finalists=2, final_trials=8, max_trials=8)
    with RecordingPool(1) as pool:
        result = search_grasps([item], JAW, settings=settings, pool=pool)
    assert result.trials == 8
    assert [tried.grasp.trials for tried in result.ranked] == [4, 4]
    assert pool.volumes[2:] == pytest.approx([make_wide_solid().volume, thin.solid.volume, thin.solid.volume])


class RecordingPool(TrialPool):
    """A pool that notes which shape each of its tasks is for."""

    def __init__(self, processes: int):
        super().__init__(processes)
        self.volumes: list[float] = []

    def map(self, function: Callable, tasks: Sequence[tuple]) -> Iterator:
        self.volumes += [objects[0].solid.volume for objects, *_ in tasks]
        return super().map(function, tasks)


def make_wide_solid() -> Solid:
    return place(make_box(0.12, 0.12, 0.08)).solid
