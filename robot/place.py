"""From the end of a lift to a place beside the scene or in a bin: where the hand goes, how it gets there with what it holds, and home."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from robot.bin import Bin
from robot.kinematics import configurations_near, inverse_kinematics
from robot.motion import (
    CollisionChecker,
    MotionSettings,
    PickPlan,
    PickTask,
    PlacePlan,
    Reason,
    Unreachable,
    linear_path,
    plan_free_motion,
)
from robot.trajectory import Trajectory, time_path

BELOW = 0.008
"""Metres by which the hand would go on below where the object should stand, if nothing stopped it."""
_YAWS = np.deg2rad([0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0])
"""Turns about the vertical from how the object was picked, in the order in which they are tried."""
_BRANCHES = 4
"""Configurations of the arm that are tried at each."""
_OVER_RIM = 0.03
"""Metres between the rim of a bin and the underside of what is carried, where the way down begins."""
NEAR_FLOOR = 0.01
"""Metres above where it should stand below which what is carried may come near to what it is put on."""


@runtime_checkable
class CarryingChecker(CollisionChecker, Protocol):
    """A collision checker whose arm can carry an object."""

    def carry(self, body: int | None, q_grasp: Float[np.ndarray, "6"] | None = None) -> None:
        """From now on a body moves with the hand that holds it in `q_grasp`, and is checked, too; None puts it back where it was."""
        ...


@dataclass(frozen=True)
class PlaceTask:
    """What is to be put down where."""

    spots: Sequence[Float[np.ndarray, "2"]]
    """Free places on the table for the object's watched point, best first: x, y in the base frame, metres; none with a bin."""
    point: Float[np.ndarray, "3"]
    """The watched point where the object was picked, base frame, metres."""
    q_home: Float[np.ndarray, "6"]
    """Where the arm waits, radians."""
    body: int
    """The object, in the checker's world."""
    bin: Bin | None = None
    """What it is to be put into."""


@dataclass(frozen=True)
class _Goal:
    """One way to let go of an object."""

    turn: Float[np.ndarray, "3 3"]
    """About the vertical, from how it was picked."""
    point: Float[np.ndarray, "3"]
    """Where its watched point is then, base frame, metres."""
    above: float
    """Metres above that at which the carrying ends and the way straight down begins."""
    below: float
    """Metres by which the hand goes on below that, to find what the object is to stand on."""


@dataclass(frozen=True)
class _StraightWays:
    """Configurations (radians) on the straight ways of one way to let go."""

    down: Float[np.ndarray, "n 6"]
    """To where the object is let go."""
    below: Float[np.ndarray, "m 6"]
    """From there on down."""
    back: Float[np.ndarray, "k 6"]
    """From there back along the hand."""


def plan_place(
    pick: PickTask, plan: PickPlan, task: PlaceTask, checker: CarryingChecker, generator: np.random.Generator, settings: MotionSettings
) -> PlacePlan | Unreachable:
    """Motions that put down what `plan` lifts, standing as it stood, where that can be done first; or why it cannot be.

    In a bin it is let go as near above the floor as the walls allow the hand to come.
    """
    q_lift = plan.lift.positions[-1]
    give_up = plan_free_motion(q_lift, task.q_home, checker, generator, settings, ignoring=pick.target)
    if give_up is None:
        return Unreachable(Reason.NO_PATH, f"{Reason.NO_PATH.value}: home from the end of the lift")
    try:
        for goal in _goals(task, plan.lift_height):
            planned = _plan_at(goal, give_up, pick, plan, task, checker, generator, settings)
            if planned is not None:
                return planned
    finally:
        checker.carry(None)
    return Unreachable(Reason.NO_PLACE, Reason.NO_PLACE.value)


def _goals(task: PlaceTask, lift_height: float) -> Iterator[_Goal]:
    """What is tried, best first."""
    if task.bin is None:
        places = [(np.array([*spot, task.point[2]]), lift_height, BELOW) for spot in task.spots]
    else:
        places = list(_places_in_bin(task.bin, task.point[2], lift_height))
    for point, above, below in places:
        for yaw in _YAWS:
            yield _Goal(Rotation.from_euler("z", yaw).as_matrix(), point, above, below)


def _places_in_bin(bin_: Bin, height: float, lift_height: float) -> Iterator[tuple[Float[np.ndarray, "3"], float, float]]:
    """A goal's point, `above` and `below`, from the floor up; `height` is that of the watched point where the object was picked."""
    for drop in bin_.drops():
        underside = bin_.wall + drop
        point = np.array([bin_.x, bin_.y, height + underside])
        yield point, max(lift_height, bin_.height + _OVER_RIM - underside), BELOW if drop == 0 else 0.0


def _plan_at(
    goal: _Goal,
    give_up: Trajectory,
    pick: PickTask,
    plan: PickPlan,
    task: PlaceTask,
    checker: CarryingChecker,
    generator: np.random.Generator,
    settings: MotionSettings,
) -> PlacePlan | None:
    """The plan for one way to let go, if there is one."""
    turn = goal.turn
    T_base_down = pick.T_base_grasp.copy()
    T_base_down[:3, :3] = turn @ T_base_down[:3, :3]
    T_base_down[:3, 3] = goal.point + turn @ (pick.T_base_grasp[:3, 3] - task.point)
    T_base_back = T_base_down.copy()
    T_base_back[:3, 3] -= settings.approach_distance * turn @ pick.approach_direction
    q_lift, q_grasp = plan.lift.positions[-1], plan.lift.positions[0]
    if not _has_room(T_base_down, q_grasp, q_lift, task, pick.target, checker, settings):
        return None
    for q_above in _configurations(_raised(T_base_down, goal.above), q_lift, settings):
        straight = _plan_straight(goal, T_base_down, T_base_back, q_above, settings)
        if straight is None or not _is_free([*straight.down[::-1], *straight.back], checker, pick.target):
            continue
        checker.carry(task.body, q_grasp)
        free = _is_free([*_before_floor(straight.down, settings)], checker, pick.target)
        carry = plan_free_motion(q_lift, q_above, checker, generator, settings, ignoring=pick.target) if free else None
        checker.carry(None)
        if carry is None:
            continue
        home = plan_free_motion(straight.back[-1], task.q_home, checker, generator, settings, ignoring=pick.target)
        if home is None:
            continue
        lowered, speed = np.concatenate([straight.down, straight.below[1:]]), settings.straight_speed_scale
        lower = time_path(lowered, settings.limits, speed_scale=0.5 * speed)
        retreat = time_path(straight.back, settings.limits, speed_scale=speed)
        return PlacePlan(carry, lower, retreat, home, give_up, goal.point, task.bin)
    return None


def _has_room(
    T_base_down: np.ndarray,
    q_grasp: np.ndarray,
    q_lift: np.ndarray,
    task: PlaceTask,
    target: frozenset[int],
    checker: CarryingChecker,
    settings: MotionSettings,
) -> bool:
    """Whether the hand, and the object in it, fit between what is there just before the object is let go; far quicker than a plan."""
    checker.carry(task.body, q_grasp)
    near = _configurations(_raised(T_base_down, NEAR_FLOOR), q_lift, settings)
    free = any(checker.collision(q, ignoring=target) is None for q in near)
    checker.carry(None)
    return free


def _plan_straight(
    goal: _Goal, T_base_down: np.ndarray, T_base_back: np.ndarray, q_above: np.ndarray, settings: MotionSettings
) -> _StraightWays | None:
    """None where the arm cannot follow one of them."""
    down = linear_path(_raised(T_base_down, goal.above), T_base_down, q_above, settings)
    if down is None:
        return None
    below = linear_path(T_base_down, _raised(T_base_down, -goal.below), down[-1], settings)
    back = linear_path(T_base_down, T_base_back, down[-1], settings)
    return None if below is None or back is None else _StraightWays(down, below, back)


def _before_floor(down: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """The part of a way straight down on which what is carried is not yet meant to come near to what it is put on."""
    return down[: -int(np.ceil(NEAR_FLOOR / settings.cartesian_step))]


def _is_free(path: Sequence[np.ndarray], checker: CollisionChecker, target: frozenset[int]) -> bool:
    return all(checker.collision(q, ignoring=target) is None for q in path)


def _configurations(T_base_flange: np.ndarray, q_near: np.ndarray, settings: MotionSettings) -> list[Float[np.ndarray, "6"]]:
    """The nearest few within the limits."""
    solutions = inverse_kinematics(T_base_flange, settings.geometry, free_wrist_3=float(q_near[5]))
    nearest = [configurations_near(q, q_near, settings.limits)[:1] for q in solutions]
    return sorted((q[0] for q in nearest if len(q)), key=lambda q: float(np.linalg.norm(q - q_near)))[:_BRANCHES]


def _raised(T: np.ndarray, height: float) -> Float[np.ndarray, "4 4"]:
    raised = T.copy()
    raised[2, 3] += height
    return raised
