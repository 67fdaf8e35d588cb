"""The grasp as a guarded sequence: reach, approach, close, lift, hold; and putting down. It speaks to arm and hand through protocols."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from robot.kinematics import UR5_LIMITS, JointLimits, forward_kinematics
from robot.motion import PickPlan, PlacePlan
from robot.stops import HAND_REASONS, MotionStoppedError
from robot.trajectory import Trajectory, resume


@runtime_checkable
class Arm(Protocol):
    """An arm that follows timed trajectories."""

    def joint_positions(self) -> Float[np.ndarray, "6"]:
        """Radians."""
        ...

    def follow(self, trajectory: Trajectory, until: Callable[[], bool] | None = None) -> bool:
        """Moves, and returns when it is done: whether the arm went all the way, or stopped for `until`, asked many times a second.

        Raises `MotionStoppedError` where the arm was stopped: it left the trajectory, lost its connection, met something.
        """
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
        """Moves motors towards targets by name (radians), and returns when they stand still: there, or blocked.

        Raises `MotionStoppedError` where the hand does not answer or answers what makes no sense.
        """
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
    ROLLED_AWAY = "the object rolled away"
    ARM_STOPPED = "the arm was stopped"
    HAND_STOPPED = "the hand failed, and everything was stopped"
    UNREACHABLE = "no motion of the arm to any grasp was found"
    NOTHING_GRASPABLE = "no grasp of any object held in simulation"
    PLACED = "lifted, carried and put down at its place"
    LOST_ON_THE_WAY = "lifted, then lost on the way to its place"
    MISPLACED = "put down, but not at its place"


class Phase(Enum):
    """What the sequence has just done when it tells the observer."""

    START = "start"
    PREGRASP = "pre-grasp"
    GRASP = "at the grasp"
    CLOSED = "closed"
    LIFTED = "lifted"
    HELD = "held"
    CARRIED = "above its place"
    LOWERED = "put down"
    RETREATED = "let go"
    HOME = "home"


@dataclass(frozen=True)
class ExecutionReport:
    """What happened."""

    outcome: Outcome
    message: str
    """One sentence for a person."""
    rise: float
    """How far the object had come up at the end, metres; not a number after a stop, for then nobody knows."""
    pushed: float
    """How far it had moved before the hand closed, metres."""
    reached: Phase = Phase.START
    """The last phase that was done."""


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
    largest_slip: float = 0.03
    """An object that has moved so far relative to the flange since the hand closed slips, metres."""
    largest_closing: float = 0.25
    """Motors that have all gone on closing by so much since the object stopped them have nothing to hold any more, radians. One alone
    may: fingers find their places as the weight comes on. Those with less than that left to their targets do not count."""
    contact_lag: float = 0.003
    """An object that stays behind so far at the end of a lowering stands on something, metres."""
    contact_range: float = 0.03
    """That end: so far above where the lowering ends, metres. Before it, an object that moves is one that settles in the hand."""
    largest_misplacement: float = 0.06
    """Horizontal distance from its place at which an object counts as put down there, metres."""


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
    pushed, reached = 0.0, Phase.START

    def done(phase: Phase) -> None:
        nonlocal reached
        reached = phase
        observer(phase)

    def report(outcome: Outcome, detail: str = "") -> ExecutionReport:
        return _report(outcome, start, watch, pushed, reached, detail)

    done(Phase.START)
    try:
        hand.move_to(preshape)
        arm.follow(plan.reach)
        done(Phase.PREGRASP)
        if _distance(watch, start) > settings.largest_push:
            return report(Outcome.ROLLED_AWAY, f"it was {1000 * _distance(watch, start):.0f} mm away before the hand came near")
        arm.follow(plan.approach)
        done(Phase.GRASP)
        pushed = _distance(watch, start)
        if pushed > settings.largest_push:
            return report(Outcome.PUSHED_AWAY)
        hand.move_to(closed)
        done(Phase.CLOSED)
        if _distance(watch, start) > settings.largest_push + pushed:
            return report(Outcome.ROLLED_AWAY, f"it was {1000 * _distance(watch, start):.0f} mm away once the hand had closed")
        grip = Grip(arm, hand, watch, closed, settings)
        if not arm.follow(plan.lift, lambda: grip.slipped() is not None):
            risen = watch.position()[2] - start[2]
            outcome = Outcome.SLIPPED if risen >= settings.lifted_share * plan.lift_height else Outcome.NEVER_LIFTED
            return report(outcome, grip.reason)
        done(Phase.LIFTED)
        highest = watch.position()[2] - start[2]
        arm.wait(settings.hold_seconds)
        done(Phase.HELD)
    except MotionStoppedError as stop:
        return report_stop(stop, reached, pushed)
    return report(_judged(start, highest, watch, plan.lift_height, settings))


def execute_place(
    plan: PlacePlan,
    opened: Mapping[str, float],
    closed: Mapping[str, float],
    arm: Arm,
    hand: Hand,
    watch: ObjectWatch,
    *,
    settings: ExecutionSettings | None = None,
    observer: Callable[[Phase], None] = lambda phase: None,
    limits: JointLimits = UR5_LIMITS,
    lower: Callable[[Trajectory], object] | None = None,
) -> ExecutionReport:
    """Carries what was lifted to its place, lowers it until it stands on something or the motion ends, lets go, retreats, and goes home.

    `opened` and `closed` are the hand's motor targets, `limits` those of motions that are timed anew on the way. `lower` follows a
    trajectory until the object stands on something; without it the arm does, and the watch tells, by the object staying behind. An object
    that is lost on the way ends the carrying; the arm still goes home.
    """
    settings = settings or ExecutionSettings()
    start = watch.position()
    reached = Phase.HELD

    def done(phase: Phase) -> None:
        nonlocal reached
        reached = phase
        observer(phase)

    try:
        grip = Grip(arm, hand, watch, closed, settings)
        if not arm.follow(plan.carry, lambda: grip.slipped() is not None):
            _go_home_empty(plan, resume(plan.carry.reversed(), arm.joint_positions(), limits), opened, arm, hand)
            return _report(Outcome.LOST_ON_THE_WAY, start, watch, 0.0, reached, grip.reason)
        done(Phase.CARRIED)
        if lower is not None:
            lower(plan.lower)
        else:
            arm.follow(plan.lower, Footing(arm, watch, plan.lower, settings).felt)
        done(Phase.LOWERED)
        hand.move_to(opened)
        arm.follow(resume(plan.retreat, arm.joint_positions(), limits, speed_scale=0.5))
        done(Phase.RETREATED)
        arm.follow(plan.home)
        done(Phase.HOME)
    except MotionStoppedError as stop:
        return report_stop(stop, reached)
    outcome, words = _judge_place(plan, watch.position(), settings)
    return _report(outcome, start, watch, 0.0, reached, words)


def return_home(
    pick: PickPlan,
    place: PlacePlan,
    reached: Phase,
    preshape: Mapping[str, float],
    arm: Arm,
    hand: Hand,
    *,
    limits: JointLimits = UR5_LIMITS,
) -> ExecutionReport | None:
    """After a grasp that failed with `reached` as its last phase: opens the hand and goes home the way that was planned.

    `limits` are those of motions that are timed anew. None where that went well, else how it ended.
    """
    try:
        if reached in (Phase.PREGRASP, Phase.GRASP):
            if reached is Phase.GRASP:
                arm.follow(pick.approach.reversed())
            arm.follow(pick.reach.reversed())
        elif reached is not Phase.START:
            rest = resume(pick.lift, arm.joint_positions(), limits, speed_scale=0.5)
            _go_home_empty(place, rest, preshape, arm, hand)
    except MotionStoppedError as stop:
        return report_stop(stop, reached)
    return None


def report_stop(stop: MotionStoppedError, reached: Phase, pushed: float = 0.0) -> ExecutionReport:
    """Of a sequence that arm or hand broke off after the phase `reached`; asks no device, for what has failed would fail again.

    `pushed`: how far the object had moved before the hand closed, metres.
    """
    outcome = Outcome.HAND_STOPPED if stop.reason in HAND_REASONS else Outcome.ARM_STOPPED
    return ExecutionReport(outcome, f"{outcome.value}: {stop}", float("nan"), pushed, reached)


def _go_home_empty(plan: PlacePlan, to_lift: Trajectory, opened: Mapping[str, float], arm: Arm, hand: Hand) -> None:
    """Opens, goes to the end of the lift, and home from there."""
    hand.move_to(opened)
    arm.follow(to_lift)
    arm.follow(plan.give_up)


class Grip:
    """Tells whether what a closed hand holds is slipping: it moves relative to the flange, or the fingers go on closing."""

    def __init__(self, arm: Arm, hand: Hand, watch: ObjectWatch, closed: Mapping[str, float], settings: ExecutionSettings):
        """How things stand now is how they should stay."""
        self._arm, self._hand, self._watch, self._settings = arm, hand, watch, settings
        positions = {name: position for name, position in hand.motor_positions().items() if name in closed}
        self._motors = {name: at for name, at in positions.items() if abs(closed[name] - at) > settings.largest_closing}
        self._ways = {name: float(np.sign(closed[name] - position)) for name, position in self._motors.items()}
        self._offset = self._object_in_flange()
        self.reason = ""
        """What was seen when it slipped."""

    def slipped(self) -> str | None:
        """What is amiss, in words; None where nothing is."""
        moved = float(np.linalg.norm(self._object_in_flange() - self._offset))
        if moved > self._settings.largest_slip:
            self.reason = f"it moved by {1000 * moved:.0f} mm in the hand"
            return self.reason
        now = self._hand.motor_positions()
        closed = [(now[name] - before) * self._ways[name] for name, before in self._motors.items()]
        if closed and min(closed) > self._settings.largest_closing:
            self.reason = f"the fingers went on closing, each by {np.degrees(min(closed)):.0f} degrees or more"
            return self.reason
        return None

    def _object_in_flange(self) -> Float[np.ndarray, "3"]:
        T_base_flange = forward_kinematics(self._arm.joint_positions())
        return T_base_flange[:3, :3].T @ (self._watch.position() - T_base_flange[:3, 3])


class Footing:
    """Tells whether an object that is being lowered stands on something: near the end it stays behind the flange."""

    def __init__(self, arm: Arm, watch: ObjectWatch, lower: Trajectory, settings: ExecutionSettings):
        """`lower` is the motion that lowers it."""
        self._arm, self._watch, self._lag = arm, watch, settings.contact_lag
        self._begin = float(forward_kinematics(lower.positions[-1])[2, 3]) + settings.contact_range
        self._over_flange: float | None = None

    def felt(self) -> bool:
        """Whether it has stayed behind by more than the lag since the end began."""
        flange = float(forward_kinematics(self._arm.joint_positions())[2, 3])
        if flange > self._begin:
            return False
        over_flange = float(self._watch.position()[2]) - flange
        if self._over_flange is None:
            self._over_flange = over_flange
        return over_flange - self._over_flange > self._lag


def _judge_place(plan: PlacePlan, point: np.ndarray, settings: ExecutionSettings) -> tuple[Outcome, str]:
    """Whether an object whose watched point is there at the end was put where it should be, and where it is, in words."""
    away = float(np.linalg.norm((point - plan.goal)[:2]))
    if plan.bin is not None:
        inside = plan.bin.is_above_floor(point)
        words = f"it lies {'in' if inside else 'beside'} the bin, {1000 * away:.0f} mm from its middle"
        return Outcome.PLACED if inside else Outcome.MISPLACED, words
    outcome = Outcome.PLACED if away <= settings.largest_misplacement else Outcome.MISPLACED
    return outcome, f"it lies {1000 * away:.0f} mm from where it was to be put"


def _distance(watch: ObjectWatch, start: np.ndarray) -> float:
    return float(np.linalg.norm(watch.position() - start))


def _judged(start: np.ndarray, highest: float, watch: ObjectWatch, lift_height: float, settings: ExecutionSettings) -> Outcome:
    rise = watch.position()[2] - start[2]
    if rise >= settings.held_share * lift_height:
        return Outcome.HELD
    return Outcome.SLIPPED if max(highest, rise) >= settings.lifted_share * lift_height else Outcome.NEVER_LIFTED


def _report(outcome: Outcome, start: np.ndarray, watch: ObjectWatch, pushed: float, reached: Phase, detail: str = "") -> ExecutionReport:
    rise = float(watch.position()[2] - start[2])
    words = detail or f"it rose {1000 * rise:.0f} mm and had been pushed {1000 * pushed:.0f} mm before the hand closed"
    return ExecutionReport(outcome, f"{outcome.value}: {words}", rise, pushed, reached)
