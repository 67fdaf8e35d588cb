"""The grasp as a guarded sequence: reach, approach, close, lift, hold. It speaks to arm and hand through small protocols."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from robot.motion import PickPlan
from robot.trajectory import Trajectory


class MotionStoppedError(Exception):
    """The arm was stopped because it did not do what it was told. The message says where."""


@runtime_checkable
class Arm(Protocol):
    """An arm that follows timed trajectories."""

    def joint_positions(self) -> Float[np.ndarray, "6"]:
        """Radians."""
        ...

    def follow(self, trajectory: Trajectory) -> None:
        """Moves, and returns when it is done. Raises `MotionStoppedError` where the arm left the trajectory and was stopped."""
        ...

    def wait(self, seconds: float) -> None:
        """Holds its place."""
        ...


@runtime_checkable
class Hand(Protocol):
    """A hand whose motors go to positions and stop where something blocks them."""

    def motor_positions(self) -> dict[str, float]:
        """Radians, by motor name."""
        ...

    def move_to(self, targets: Mapping[str, float]) -> None:
        """Moves motors towards targets by name (radians), and returns when they stand still: there, or blocked."""
        ...


@runtime_checkable
class ObjectWatch(Protocol):
    """Where the object is that is to be picked."""

    def position(self) -> Float[np.ndarray, "3"]:
        """Of its centre of mass, or another point fixed to it; base frame, metres."""
        ...


class Outcome(Enum):
    """How a grasp ended."""

    HELD = "lifted and held"
    SLIPPED = "lifted, then slipped out of the hand"
    NEVER_LIFTED = "the object was never lifted"
    PUSHED_AWAY = "the object was pushed away before the hand closed"
    ARM_STOPPED = "the arm could not follow its motion and was stopped"
    UNREACHABLE = "no motion of the arm to any grasp was found"


class Phase(Enum):
    """What the sequence has just done when it tells the observer."""

    START = "start"
    PREGRASP = "pre-grasp"
    GRASP = "at the grasp"
    CLOSED = "closed"
    LIFTED = "lifted"
    HELD = "held"


@dataclass(frozen=True)
class ExecutionReport:
    """What happened."""

    outcome: Outcome
    message: str
    """One sentence for a person."""
    rise: float
    """How far the object had come up at the end, metres."""
    pushed: float
    """How far it had moved before the hand closed, metres."""


@dataclass(frozen=True)
class ExecutionSettings:
    """What counts as what."""

    hold_seconds: float = 2.0
    """After the lift."""
    largest_push: float = 0.05
    """The object may move that far before the hand closes, metres."""
    lifted_share: float = 0.2
    """An object that has risen by less than this share of the lift was never lifted."""
    held_share: float = 0.7
    """Share of the lift that a held object must have made too; the rest is settling in the fingers."""


def execute_pick(
    plan: PickPlan,
    preshape: Mapping[str, float],
    closed: Mapping[str, float],
    arm: Arm,
    hand: Hand,
    watch: ObjectWatch,
    *,
    settings: ExecutionSettings | None = None,
    observer: Callable[[Phase], None] = lambda phase: None,
) -> ExecutionReport:
    """Carries out a plan and tells how it ended, judged by where the object is.

    `preshape` and `closed` are the hand's motor targets before and while closing (radians by motor name). The sequence stops where the
    arm is stopped or the object is pushed away. `observer` is told each phase that is done.
    """
    settings = settings or ExecutionSettings()
    start = watch.position()
    pushed = 0.0
    observer(Phase.START)
    try:
        hand.move_to(preshape)
        arm.follow(plan.reach)
        observer(Phase.PREGRASP)
        arm.follow(plan.approach)
        observer(Phase.GRASP)
        pushed = float(np.linalg.norm(watch.position() - start))
        if pushed > settings.largest_push:
            return _report(Outcome.PUSHED_AWAY, start, watch, pushed)
        hand.move_to(closed)
        observer(Phase.CLOSED)
        arm.follow(plan.lift)
        observer(Phase.LIFTED)
        highest = watch.position()[2] - start[2]
        arm.wait(settings.hold_seconds)
        observer(Phase.HELD)
    except MotionStoppedError as stop:
        return _report(Outcome.ARM_STOPPED, start, watch, pushed, str(stop))
    return _report(_judged(start, highest, watch, plan.lift_height, settings), start, watch, pushed)


def _judged(start: np.ndarray, highest: float, watch: ObjectWatch, lift_height: float, settings: ExecutionSettings) -> Outcome:
    rise = watch.position()[2] - start[2]
    if rise >= settings.held_share * lift_height:
        return Outcome.HELD
    return Outcome.SLIPPED if max(highest, rise) >= settings.lifted_share * lift_height else Outcome.NEVER_LIFTED


def _report(outcome: Outcome, start: np.ndarray, watch: ObjectWatch, pushed: float, detail: str = "") -> ExecutionReport:
    rise = float(watch.position()[2] - start[2])
    words = detail or f"it rose {1000 * rise:.0f} mm and had been pushed {1000 * pushed:.0f} mm before the hand closed"
    return ExecutionReport(outcome, f"{outcome.value}: {words}", rise, pushed)
