"""The plan on the machine: UR5, Mia hand, and nothing else that moves. Whatever is amiss stops everything and says in what state it is."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from invgraphics.execution.plan import ExecutionPlan
from invgraphics.execution.setup import Setup, compute_payload
from robot.execute import ExecutionReport, Outcome, Phase, execute_pick, execute_place, report_stop, return_home
from robot.interlock import InterlockedArm, PresumedWatch
from robot.log import RobotLog
from robot.mia_hand import MiaHand, MiaSettings
from robot.stops import MotionStoppedError, StopReason
from robot.ur5 import UR5, UR5Settings

_LEAST_OPEN = 0.5
"""Share of a grasp's width that must be left between the two sides of a hand that holds something: fingers that press on each other also
stop early."""
TOUCH_FORCE = 15.0
"""Newtons by which the tool is pushed up when what is lowered stands on the table."""


@dataclass(frozen=True)
class Machine:
    """The connected devices."""

    arm: UR5
    hand: MiaHand


@contextlib.contextmanager
def connect_arm(setup: Setup, host: str, stale_after: float, log: RobotLog) -> Iterator[UR5]:
    """The arm, told of the hand that it carries; nothing moves. Raises `MotionStoppedError` where it is not ready."""
    payload, centre = compute_payload(setup.cell)
    patience = {"stale_after": stale_after, "watchdog_frequency": 1 / stale_after}
    with UR5(UR5Settings(host, speed=setup.speed, payload=round(payload, 3), centre_of_gravity=centre, **patience), log) as arm:
        yield arm


@contextlib.contextmanager
def connect_hand(setup: Setup, plan: ExecutionPlan, port: str, patience: float, log: RobotLog) -> Iterator[MiaHand]:
    """The hand, its motors as strong to each other as the grasp wants them, lost when it is silent for `patience` seconds; nothing moves.

    Raises `MotionStoppedError` where it does not answer.
    """
    motors = setup.cell.hand.motors
    shares = {name: min(effort / motors[name].effort, 1.0) for name, effort in plan.grasp.efforts.items()}

    def observe(kind: str, text: str) -> None:
        log.write("line" if kind != "received" else "state", device="mia", way=kind, text=text)

    with MiaHand(port, MiaSettings(percent=setup.hand_percent, shares=shares).patient(patience), observe) as hand:
        yield hand


def carry_out(setup: Setup, plan: ExecutionPlan, machine: Machine, log: RobotLog, tell: Callable[[str], None]) -> ExecutionReport:
    """Picks and places; `tell` hears of every phase. Where anything stops it, arm and hand stand still when this returns."""
    reached = [Phase.START]

    def observe(phase: Phase) -> None:
        reached.append(phase)
        log.write("phase", device="cell", phase=phase)
        tell(phase.value)

    try:
        report = _pick_and_place(setup, plan, machine, observe)
    except MotionStoppedError as stop:
        report = report_stop(stop, reached[-1])
    except BaseException:
        stop_all(machine, "interrupted")
        log.write("safe state", device="cell", state=describe_safe_state(machine))
        raise
    if report.outcome in (Outcome.ARM_STOPPED, Outcome.HAND_STOPPED):
        stop_all(machine, report.message)
    log.write("safe state", device="cell", state=describe_safe_state(machine))
    log.write("outcome", device="cell", outcome=report.outcome, message=report.message)
    return report


def _pick_and_place(setup: Setup, plan: ExecutionPlan, machine: Machine, observe: Callable[[Phase], None]) -> ExecutionReport:
    """Also goes home after a grasp that failed without anything being amiss."""
    arm, hand, grasp = machine.arm, machine.hand, plan.grasp
    paced = InterlockedArm(arm, setup.speed, (hand.check,))
    start = (plan.target.T_world_body @ plan.target.solid.T_body_inertial)[:3, 3]
    template = setup.cell.hand.template_of(grasp)

    def holds() -> bool:
        opening = setup.cell.hand.opening(template, hand.motor_positions())
        return opening > _LEAST_OPEN * grasp.width and hand.detect_grasp(grasp.closed).holds

    watch = PresumedWatch(arm, holds, start)
    report = execute_pick(plan.pick, grasp.preshape, grasp.closed, paced, hand, watch, observer=observe)
    if report.outcome is Outcome.HELD:
        options = {"observer": observe, "limits": plan.limits, "lower": partial(paced.follow, touch=TOUCH_FORCE)}
        return execute_place(plan.place, grasp.preshape, grasp.closed, paced, hand, watch, **options)
    if report.outcome in (Outcome.ARM_STOPPED, Outcome.HAND_STOPPED):
        return report
    return return_home(plan.pick, plan.place, report.reached, grasp.preshape, paced, hand, limits=plan.limits) or report


def describe_safe_state(machine: Machine) -> str:
    """In which state arm and hand are, for a person who is about to walk up to them."""
    stop = machine.arm.stopped
    q = " ".join(f"{angle:.0f}" for angle in np.degrees(machine.arm.joint_positions()))
    arm = f"the arm stands at {q} degrees" + ("" if stop is None else f" and takes no motion ({stop.reason.value})")
    failure = machine.hand.failure
    hand = "the hand holds its position" if failure is None else f"the hand takes no motion ({failure})"
    return f"{arm}; {hand}; what is in the hand may fall when it is opened or loses power"


def stop_all(machine: Machine, words: str) -> None:
    """Brakes the arm and stops the hand's motors, and refuses every motion from then on.

    A hand that cannot be told so keeps that as its `failure`, of which `describe_safe_state` tells.
    """
    failure = machine.hand.failure
    machine.arm.stop(words, StopReason.BY_PERSON if failure is None else failure.reason)
    with contextlib.suppress(MotionStoppedError):
        machine.hand.stop()
