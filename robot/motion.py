"""From a grasp to motions of the arm: branch choice, collision-checked paths, timed trajectories; or the reason why there are none."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from robot.bin import Bin
from robot.kinematics import (
    UR5_GEOMETRY,
    UR5_LIMITS,
    JointLimits,
    URGeometry,
    configurations_near,
    inverse_kinematics,
)
from robot.rrt import connect
from robot.trajectory import Trajectory, concatenate, time_path


@runtime_checkable
class CollisionChecker(Protocol):
    """Tells whether the arm with its hand may stand in a configuration."""

    def collision(self, q: Float[np.ndarray, "6"], *, ignoring: Collection[int] = ()) -> str | None:
        """What touches what, in words; None where nothing does. Bodies in `ignoring` may be touched."""
        ...


class Reason(Enum):
    """Why there is no motion, from the first hurdle to the last."""

    START_IN_COLLISION = "arm or hand touches something where it stands"
    OUT_OF_REACH = "the arm does not reach it"
    JOINT_LIMITS = "it would need a joint beyond its limits"
    GRASP_IN_COLLISION = "arm or hand would touch something at the grasp"
    APPROACH_SINGULAR = "the arm cannot follow the straight approach"
    APPROACH_BLOCKED = "the straight approach would touch something"
    LIFT_SINGULAR = "the arm cannot lift straight up from it"
    LIFT_BLOCKED = "the straight lift would touch something"
    NO_PATH = "no collision-free way from where the arm stands was found"
    NO_PLACE = "no collision-free way to a free place to put it down was found"


@dataclass(frozen=True)
class Unreachable:
    """A grasp that the arm cannot do."""

    reason: Reason
    message: str
    """One sentence for a person."""


@dataclass(frozen=True)
class PickPlan:
    """The arm's motions for one grasp; between `approach` and `lift` the hand closes."""

    reach: Trajectory
    """From where the arm stood to the pre-grasp, joint space."""
    approach: Trajectory
    """Straight along the hand to the grasp."""
    lift: Trajectory
    """Straight up."""
    lift_height: float
    """By so much, metres."""

    @property
    def duration(self) -> float:
        """Seconds of arm motion."""
        return self.reach.duration + self.approach.duration + self.lift.duration


@dataclass(frozen=True)
class PlacePlan:
    """The arm's motions from the end of a lift to where the object is put down, and home; the hand opens between `lower` and `retreat`."""

    carry: Trajectory
    """To above the place, joint space."""
    lower: Trajectory
    """Straight down, to a little below where the object should stand, or to where it is let go above the floor of a bin."""
    retreat: Trajectory
    """Straight back along the hand from where the object should be let go."""
    home: Trajectory
    """From there to where the arm waits."""
    give_up: Trajectory
    """From the end of the lift straight to where the arm waits, the hand empty."""
    goal: Float[np.ndarray, "3"]
    """Where the object's watched point should be when it is let go, base frame, metres."""
    bin: Bin | None = None
    """What the object is put into; None where it is put on the table."""


@dataclass(frozen=True)
class PickTask:
    """What is to be picked, as the arm sees it."""

    T_base_grasp: Float[np.ndarray, "4 4"]
    """The flange's pose at the grasp, metres."""
    approach_direction: Float[np.ndarray, "3"]
    """Unit vector in the base frame along which the hand moves in."""
    q_start: Float[np.ndarray, "6"]
    """Where the arm stands, radians."""
    target: frozenset[int]
    """Bodies that the hand may touch on the way in and carries on the way up."""


@dataclass(frozen=True)
class MotionSettings:
    """What the planner is told besides the grasp."""

    geometry: URGeometry = UR5_GEOMETRY
    limits: JointLimits = UR5_LIMITS
    approach_distance: float = 0.08
    """From the pre-grasp to the grasp, metres."""
    lift_height: float = 0.10
    """Metres."""
    straight_speed_scale: float = 0.5
    """Share of the joints' speed on the straight parts."""
    cartesian_step: float = 0.005
    """Metres between checked poses on the straight parts."""
    joint_step: float = 0.05
    """Largest joint motion between checked configurations, radians."""
    max_jump: float = 0.3
    """Joint motion over one `cartesian_step` that counts as a singularity, radians."""
    rrt_iterations: int = 300
    """Before the search for a way around gives up."""
    branches: int = 8
    """How many of the nearest grasp configurations are tried."""


def plan_pick(
    task: PickTask, checker: CollisionChecker, generator: np.random.Generator, settings: MotionSettings | None = None
) -> PickPlan | Unreachable:
    """Motions from where the arm stands to the grasp and up again, or why not.

    The inverse-kinematic branches are tried from the nearest on; if none works, the reason is that of the branch that came furthest.
    """
    settings = settings or MotionSettings()
    touching = checker.collision(task.q_start)
    if touching is not None:
        return _failure(Reason.START_IN_COLLISION, touching)
    candidates = _grasp_configurations(task, settings)
    if isinstance(candidates, Unreachable):
        return candidates
    furthest: Unreachable | None = None
    for q_grasp in candidates:
        planned = _plan_through(q_grasp, task, checker, generator, settings)
        if isinstance(planned, PickPlan):
            return planned
        furthest = max((furthest or planned, planned), key=lambda failure: _progress(failure.reason))
    return furthest


def linear_path(
    T_base_from: Float[np.ndarray, "4 4"],
    T_base_to: Float[np.ndarray, "4 4"],
    q_from: Float[np.ndarray, "6"],
    settings: MotionSettings | None = None,
) -> Float[np.ndarray, "n 6"] | None:
    """Configurations along a straight line of the flange, turning evenly, from `q_from` on; None where the arm cannot follow.

    `q_from` puts the flange at `T_base_from`. It cannot follow where a pose is out of reach, a limit is met, or a joint would move by
    more than `settings.max_jump` between neighbouring poses.
    """
    settings = settings or MotionSettings()
    path = [q_from]
    for T_base_flange in _interpolated_poses(T_base_from, T_base_to, settings.cartesian_step):
        q = _nearest_solution(T_base_flange, path[-1], settings)
        if q is None or abs(q - path[-1]).max() > settings.max_jump:
            return None
        path.append(q)
    return np.array(path)


def joint_line(q_from: Float[np.ndarray, "6"], q_to: Float[np.ndarray, "6"], step: float) -> Float[np.ndarray, "n 6"]:
    """Configurations on the straight joint-space line, ends included, no joint moving more than `step` between neighbours."""
    count = max(int(np.ceil(abs(q_to - q_from).max() / step)), 1)
    return q_from + np.linspace(0.0, 1.0, count + 1)[:, None] * (q_to - q_from)


def plan_free_motion(
    q_from: Float[np.ndarray, "6"],
    q_to: Float[np.ndarray, "6"],
    checker: CollisionChecker,
    generator: np.random.Generator,
    settings: MotionSettings | None = None,
    ignoring: Collection[int] = (),
) -> Trajectory | None:
    """A timed collision-free motion between two configurations: the straight joint-space line, else one around obstacles; else None."""
    settings = settings or MotionSettings()

    def is_free(q: np.ndarray) -> bool:
        return checker.collision(q, ignoring=ignoring) is None

    def line_is_free(start: np.ndarray, end: np.ndarray) -> bool:
        return all(is_free(q) for q in joint_line(start, end, settings.joint_step)[1:])

    corners = [q_from, q_to]
    if not line_is_free(q_from, q_to):
        limits = settings.limits
        corners = connect(q_from, q_to, limits.lower, limits.upper, line_is_free, generator, max_iterations=settings.rrt_iterations)
    if corners is None:
        return None
    return concatenate([time_path(np.array(pair), settings.limits) for pair in pairwise(corners)])


def _progress(reason: Reason) -> int:
    return list(Reason).index(reason)


def _grasp_configurations(task: PickTask, settings: MotionSettings) -> list[np.ndarray] | Unreachable:
    """Every configuration within the limits that holds the flange at the grasp, the nearest to where the arm stands first."""
    q_start = task.q_start
    solutions = inverse_kinematics(task.T_base_grasp, settings.geometry, free_wrist_3=float(q_start[5]))
    if len(solutions) == 0:
        distance = np.linalg.norm(task.T_base_grasp[:3, 3])
        return Unreachable(Reason.OUT_OF_REACH, f"{Reason.OUT_OF_REACH.value}: the flange would be {distance:.2f} m from the base")
    nearest = [configurations_near(q, q_start, settings.limits)[:1] for q in solutions]
    allowed = [q[0] for q in nearest if len(q)]
    if not allowed:
        return Unreachable(Reason.JOINT_LIMITS, Reason.JOINT_LIMITS.value)
    return sorted(allowed, key=lambda q: float(np.linalg.norm(q - q_start)))[: settings.branches]


def _plan_through(
    q_grasp: np.ndarray, task: PickTask, checker: CollisionChecker, generator: np.random.Generator, settings: MotionSettings
) -> PickPlan | Unreachable:
    """The plan that holds the grasp in one given configuration."""
    touching = checker.collision(q_grasp, ignoring=task.target)
    if touching is not None:
        return _failure(Reason.GRASP_IN_COLLISION, touching)
    away = -settings.approach_distance * task.approach_direction
    retreat = _straight_path(q_grasp, away, task, checker, settings, (Reason.APPROACH_SINGULAR, Reason.APPROACH_BLOCKED))
    if isinstance(retreat, Unreachable):
        return retreat
    touching = checker.collision(retreat[-1])
    if touching is not None:
        return _failure(Reason.APPROACH_BLOCKED, touching)
    up = np.array([0.0, 0.0, settings.lift_height])
    lift = _straight_path(q_grasp, up, task, checker, settings, (Reason.LIFT_SINGULAR, Reason.LIFT_BLOCKED))
    if isinstance(lift, Unreachable):
        return lift
    reach = plan_free_motion(task.q_start, retreat[-1], checker, generator, settings)
    if reach is None:
        return _failure(Reason.NO_PATH)
    approach, raised = (time_path(path, settings.limits, speed_scale=settings.straight_speed_scale) for path in (retreat[::-1], lift))
    return PickPlan(reach, approach, raised, settings.lift_height)


def _straight_path(
    q_grasp: np.ndarray,
    offset: np.ndarray,
    task: PickTask,
    checker: CollisionChecker,
    settings: MotionSettings,
    reasons: tuple[Reason, Reason],
) -> np.ndarray | Unreachable:
    """From the grasp straight along `offset`; else the reason: the first where the arm cannot follow, the second where it touches."""
    T_base_end = task.T_base_grasp.copy()
    T_base_end[:3, 3] += offset
    path = linear_path(task.T_base_grasp, T_base_end, q_grasp, settings)
    if path is None:
        return _failure(reasons[0])
    found = (checker.collision(q, ignoring=task.target) for q in path)
    touching = next((words for words in found if words is not None), None)
    return path if touching is None else _failure(reasons[1], touching)


def _failure(reason: Reason, touching: str | None = None) -> Unreachable:
    return Unreachable(reason, reason.value if touching is None else f"{reason.value}: {touching}")


def _interpolated_poses(T_base_from: np.ndarray, T_base_to: np.ndarray, step: float) -> Iterator[np.ndarray]:
    """Poses after the first, evenly along the line, at most `step` metres and five degrees apart."""
    turn = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([T_base_from[:3, :3], T_base_to[:3, :3]])))
    angle = (Rotation.from_matrix(T_base_from[:3, :3]).inv() * Rotation.from_matrix(T_base_to[:3, :3])).magnitude()
    distance = np.linalg.norm(T_base_to[:3, 3] - T_base_from[:3, 3])
    count = max(int(np.ceil(max(distance / step, angle / np.radians(5)))), 1)
    for share in np.linspace(0.0, 1.0, count + 1)[1:]:
        T_base_flange = np.eye(4)
        T_base_flange[:3, :3] = turn(share).as_matrix()
        T_base_flange[:3, 3] = (1 - share) * T_base_from[:3, 3] + share * T_base_to[:3, 3]
        yield T_base_flange


def _nearest_solution(T_base_flange: np.ndarray, q_near: np.ndarray, settings: MotionSettings) -> np.ndarray | None:
    """The configuration within the limits that is nearest to a given one."""
    solutions = inverse_kinematics(T_base_flange, settings.geometry, free_wrist_3=float(q_near[5]))
    nearest = [configurations_near(q, q_near, settings.limits)[:1] for q in solutions]
    allowed = [q[0] for q in nearest if len(q)]
    return min(allowed, key=lambda q: float(abs(q - q_near).max()), default=None)
