"""From the end of a lift to a place beside the scene: where the hand goes, how it gets there with what it holds, and home."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

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
from robot.trajectory import time_path

BELOW = 0.008
"""Metres by which the hand would go on below where the object should meet the table, if nothing stopped it."""
_YAWS = np.deg2rad([0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0])
"""Turns about the vertical from how the object was picked, in the order in which they are tried."""
_BRANCHES = 4
"""Configurations of the arm that are tried at each."""


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
    """Free places on the table for the object's watched point, best first: x, y in the base frame, metres."""
    point: Float[np.ndarray, "3"]
    """The watched point where the object was picked, base frame, metres."""
    q_home: Float[np.ndarray, "6"]
    """Where the arm waits, radians."""
    body: int
    """The object, in the checker's world."""


def plan_place(
    pick: PickTask, plan: PickPlan, task: PlaceTask, checker: CarryingChecker, generator: np.random.Generator, settings: MotionSettings
) -> PlacePlan | Unreachable:
    """Motions that put down at the first spot that can be reached what `plan` lifts, standing as it stood; or why not."""
    q_lift = plan.lift.positions[-1]
    give_up = plan_free_motion(q_lift, task.q_home, checker, generator, settings, ignoring=pick.target)
    if give_up is None:
        return Unreachable(Reason.NO_PATH, f"{Reason.NO_PATH.value}: home from the end of the lift")
    try:
        for turn, goal in _goals(task):
            planned = _plan_at(turn, goal, pick, plan, task, checker, generator, settings)
            if planned is not None:
                return replace(planned, give_up=give_up)
    finally:
        checker.carry(None)
    return Unreachable(Reason.NO_PLACE, Reason.NO_PLACE.value)


def _goals(task: PlaceTask) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A turn about the vertical and a point for each try."""
    for spot in task.spots:
        for yaw in _YAWS:
            yield Rotation.from_euler("z", yaw).as_matrix(), np.array([*spot, task.point[2]])


def _plan_at(
    turn: np.ndarray,
    goal: np.ndarray,
    pick: PickTask,
    plan: PickPlan,
    task: PlaceTask,
    checker: CarryingChecker,
    generator: np.random.Generator,
    settings: MotionSettings,
) -> PlacePlan | None:
    """The plan for one place and turn, if there is one."""
    T_base_down = pick.T_base_grasp.copy()
    T_base_down[:3, :3] = turn @ T_base_down[:3, :3]
    T_base_down[:3, 3] = goal + turn @ (pick.T_base_grasp[:3, 3] - task.point)
    T_base_above, T_base_below = _raised(T_base_down, plan.lift_height), _raised(T_base_down, -BELOW)
    T_base_back = T_base_down.copy()
    T_base_back[:3, 3] -= settings.approach_distance * turn @ pick.approach_direction
    q_lift = plan.lift.positions[-1]
    for q_above in _configurations(T_base_above, q_lift, settings):
        down = linear_path(T_base_above, T_base_down, q_above, settings)
        below = None if down is None else linear_path(T_base_down, T_base_below, down[-1], settings)
        back = None if down is None else linear_path(T_base_down, T_base_back, down[-1], settings)
        if down is None or below is None or back is None or not _is_free([*down, *back], checker, pick.target):
            continue
        checker.carry(task.body, plan.lift.positions[0])
        carry = plan_free_motion(q_lift, q_above, checker, generator, settings, ignoring=pick.target)
        checker.carry(None)
        home = None if carry is None else plan_free_motion(back[-1], task.q_home, checker, generator, settings, ignoring=pick.target)
        if carry is None or home is None:
            continue
        slow = {"limits": settings.limits, "speed_scale": settings.straight_speed_scale}
        lower = time_path(np.concatenate([down, below[1:]]), settings.limits, speed_scale=0.5 * settings.straight_speed_scale)
        return PlacePlan(carry, lower, time_path(back, **slow), home, home, goal)
    return None


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
