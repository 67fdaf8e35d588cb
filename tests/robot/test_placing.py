"""Putting down: its verdicts on every way to end, when it lets go, and that a lost object ends the carrying with the arm at home."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from robot.bin import Bin
from robot.execute import ExecutionSettings, Footing, Outcome, Phase, execute_place
from robot.kinematics import UR5_LIMITS, forward_kinematics
from robot.motion import MotionSettings, PlacePlan, linear_path
from robot.stops import MotionStoppedError, StopReason
from robot.trajectory import Trajectory, time_path

HOME = np.array([np.pi, -np.pi / 2, np.pi / 2, -np.pi / 2, -np.pi / 2, 0.0])
GOAL = np.array([0.1, 0.5, 0.02])
CARRY, LOWER, RETREAT = 1, 2, 3
"""Moves of the arm in their order."""


class ScriptedCell:
    """Arm, hand and object in one: the object moves by `offsets` from the given move of the arm on, the thumb by `closing`.

    The finger moves with the thumb unless it is `idle`.
    """

    def __init__(self, offsets: Mapping[int, tuple[float, float, float]], closing: float = 0.0, stops_at: int = 0, idle: bool = False):
        self._offsets, self._closing, self._stops_at, self._idle = offsets, closing, stops_at, idle
        self._moves = 0
        self.followed: list[Trajectory] = []
        self.opened = False

    def joint_positions(self) -> np.ndarray:
        return HOME

    def motor_positions(self) -> dict[str, float]:
        moved = self._closing if self._moves >= CARRY else 0.0
        return {"thumb": 0.5 + moved, "finger": 0.7 + (0.0 if self._idle else moved)}

    def follow(self, trajectory: Trajectory, until: Callable[[], bool] | None = None) -> bool:
        self._moves += 1
        self.followed.append(trajectory)
        if self._moves == self._stops_at:
            raise MotionStoppedError("elbow_joint was 20 degrees behind")
        return not (until is not None and until())

    def wait(self, seconds: float) -> None:
        """Nothing happens meanwhile."""

    def move_to(self, targets: Mapping[str, float]) -> None:
        self.opened = True

    def position(self) -> np.ndarray:
        passed = [offset for move, offset in self._offsets.items() if self._moves >= move]
        return GOAL + (np.array(passed[-1]) if passed else 0.0)


def make_plan() -> PlacePlan:
    carry, lower, retreat, home, give_up = (time_path(np.array([HOME, HOME]), UR5_LIMITS) for _ in range(5))
    return PlacePlan(carry, lower, retreat, home, give_up, GOAL)


@pytest.mark.parametrize(
    ("cell", "outcome", "reached", "told"),
    [
        (ScriptedCell({}), Outcome.PLACED, Phase.HOME, "0 mm from where it was to be put"),
        (ScriptedCell({RETREAT: (0.04, 0.0, 0.0)}), Outcome.PLACED, Phase.HOME, "40 mm"),
        (ScriptedCell({RETREAT: (0.06, 0.06, 0.0)}), Outcome.MISPLACED, Phase.HOME, "85 mm"),
        (ScriptedCell({CARRY: (0.0, 0.0, -0.2)}), Outcome.LOST_ON_THE_WAY, Phase.HELD, "200 mm in the hand"),
        (ScriptedCell({}, closing=0.4), Outcome.LOST_ON_THE_WAY, Phase.HELD, "went on closing, each by 23 degrees"),
        (ScriptedCell({}, closing=0.4, idle=True), Outcome.PLACED, Phase.HOME, "0 mm"),
        (ScriptedCell({}, stops_at=CARRY), Outcome.ARM_STOPPED, Phase.HELD, "20 degrees behind"),
        (ScriptedCell({}, stops_at=RETREAT), Outcome.ARM_STOPPED, Phase.LOWERED, "20 degrees behind"),
    ],
)
def test_every_way_to_put_down_gets_its_own_verdict(cell: ScriptedCell, outcome: Outcome, reached: Phase, told: str) -> None:
    report = execute_place(make_plan(), {"thumb": 0.0, "finger": 0.0}, {"thumb": 1.0, "finger": 1.5}, cell, cell, cell)
    assert (report.outcome, report.reached) == (outcome, reached)
    assert outcome.value in report.message
    assert told in report.message


@pytest.mark.parametrize(
    ("offset", "outcome", "told"),
    [
        ((0.14, 0.0, 0.0), Outcome.PLACED, "in the bin, 140 mm from its middle"),
        ((0.0, 0.14, 0.0), Outcome.MISPLACED, "beside the bin, 140 mm from its middle"),
    ],
)
def test_what_was_to_be_put_into_a_bin_is_judged_by_its_walls(offset: tuple[float, float, float], outcome: Outcome, told: str) -> None:
    plan = replace(make_plan(), bin=Bin(GOAL[0], GOAL[1], length=0.3, width=0.2, height=0.06))
    cell = ScriptedCell({RETREAT: offset})
    report = execute_place(plan, {"thumb": 0.0, "finger": 0.0}, {"thumb": 1.0, "finger": 1.5}, cell, cell, cell)
    assert report.outcome is outcome
    assert told in report.message


class BlindCell(ScriptedCell):
    """Once the hand has failed, it cannot be asked what it holds, either."""

    def move_to(self, targets: Mapping[str, float]) -> None:
        self.opened = True
        raise MotionStoppedError("the hand has not answered", StopReason.HAND_SILENT)

    def position(self) -> np.ndarray:
        if self.opened:
            raise MotionStoppedError("the hand has not answered", StopReason.HAND_SILENT)
        return super().position()


def test_a_hand_that_fails_is_told_of_without_asking_it_again() -> None:
    cell = BlindCell({})
    report = execute_place(make_plan(), {"thumb": 0.0, "finger": 0.0}, {"thumb": 1.0, "finger": 1.5}, cell, cell, cell)
    assert (report.outcome, report.reached) == (Outcome.HAND_STOPPED, Phase.LOWERED)
    assert "the hand has not answered" in report.message
    assert np.isnan(report.rise)


def test_after_a_loss_the_hand_opens_and_the_arm_goes_home_the_way_that_was_planned() -> None:
    cell, plan = ScriptedCell({CARRY: (0.0, 0.0, -0.2)}), make_plan()
    execute_place(plan, {"thumb": 0.0, "finger": 0.0}, {"thumb": 1.0, "finger": 1.5}, cell, cell, cell)
    assert cell.opened
    assert cell.followed[0] is plan.carry
    assert cell.followed[-1] is plan.give_up
    assert not any(trajectory is plan.lower for trajectory in cell.followed)


class DescendingCell(ScriptedCell):
    """An arm on its way straight down, and an object in its hand that has moved by `settled` in the hand and stands at `ground` at last."""

    def __init__(self, path: np.ndarray, ground: float, settled: float):
        super().__init__({})
        self._path, self._ground, self._settled = path, ground, settled
        self.place = 0

    def joint_positions(self) -> np.ndarray:
        return self._path[self.place]

    def position(self) -> np.ndarray:
        height = forward_kinematics(self._path[self.place])[2, 3] + (self._settled if self.place else 0.0)
        return np.array([0.0, 0.0, max(height, self._ground)])


@pytest.mark.parametrize("settled", [0.0, 0.006])
def test_an_object_is_felt_to_stand_where_it_stands_and_not_where_it_settles_in_the_hand(settled: float) -> None:
    T_base_flange = forward_kinematics(HOME)
    T_base_end = T_base_flange.copy()
    T_base_end[2, 3] -= 0.1
    path = linear_path(T_base_flange, T_base_end, HOME, MotionSettings(cartesian_step=0.001))
    ground = T_base_end[2, 3] + 0.008 + settled
    cell = DescendingCell(path, ground, settled)
    footing = Footing(cell, cell, time_path(path, UR5_LIMITS), ExecutionSettings())
    felt = []
    for cell.place in range(len(path)):
        felt.append(footing.felt())
    heights = forward_kinematics(path)[:, 2, 3]
    assert heights[felt.index(True)] == pytest.approx(ground - settled - 0.003, abs=0.0015)
