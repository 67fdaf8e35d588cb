"""Grasps: the interval of a success rate against published values, and files that give back what was written."""

from pathlib import Path

import numpy as np
import pytest

from invgraphics.grasp import Grasp, load_grasps, save_grasps


def make_grasp(successes: int, trials: int) -> Grasp:
    rate = successes / trials if trials else float("nan")
    return Grasp("parallel_jaw", 0, np.eye(4), {"a": 0.04}, {"a": 0.0}, 0.05, rate, trials, {"a": 12.0})


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert make_grasp(successes, trials).success_interval == pytest.approx((low, high), abs=1e-4)


def test_before_any_trial_nothing_is_known() -> None:
    assert make_grasp(0, 0).success_interval == (0.0, 1.0)


def test_grasps_come_back_from_their_file(tmp_path: Path) -> None:
    save_grasps([make_grasp(3, 4)], tmp_path / "grasps.json")
    (back,) = load_grasps(tmp_path / "grasps.json")
    assert (back.success_rate, back.trials, back.efforts, back.preshape) == (0.75, 4, {"a": 12.0}, {"a": 0.04})
