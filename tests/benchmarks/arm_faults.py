"""Faults of a UR5 on the network, each injected into the stand-in of its controller while the driver is at work, and what came of it."""

import _thread
import contextlib
import itertools
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from robot.guards import SpeedLimits
from robot.kinematics import UR5_LIMITS
from robot.rtde_wire import RTDE_PORT
from robot.standins.ur import URStandIn
from robot.standins.ur_arm import ArmModel
from robot.standins.ur_controller import Controller, Identity
from robot.stops import MotionStoppedError, StopReason
from robot.trajectory import Trajectory, time_path
from robot.ur5 import UR5, UR5Settings
from robot.ur_states import RobotMode, SafetyBits

Q_START = np.array([np.pi, -1.9, 1.9, -np.pi / 2, -np.pi / 2, 6.27])
SPEED = SpeedLimits(joint_share=0.3, tool=0.5)
PAYLOAD = 0.6
_INJECTED_AFTER = 30
"""Setpoints before the fault."""
_MOVES_WITHIN = 10.0
"""Seconds in which a motion must have begun."""
_WATCHED_AFTER = 0.2
"""Seconds for which commands are looked for after the driver has given up."""
_STILL = 0.01
"""rad/s."""


@dataclass
class Bench:
    """A stand-in, and the driver once there is one."""

    stand_in: URStandIn
    driver: UR5 | None = None
    over: bool = False
    """Nothing will be moved any more."""
    other_clients: list[subprocess.Popen] = field(default_factory=list)
    """Programs that a fault has set on the stand-in; ended with the bench."""

    @property
    def controller(self) -> Controller:
        """Of the stand-in."""
        return self.stand_in.controller


@dataclass(frozen=True)
class ArmFault:
    """One fault."""

    name: str
    reasons: frozenset[StopReason]
    """Of the stops that are right; empty where the motion is to go on."""
    inject: Callable[[Bench], None] | None = None
    """In the middle of a motion, between two cycles of the controller; None where it is there from the start."""
    prepare: Callable[[Bench], None] = lambda bench: None
    """Before the driver connects."""
    identity: Identity = field(default_factory=Identity)
    elsewhere: Callable[[Bench], None] | None = None
    """In the middle of a motion, outside of the controller."""
    until: Callable[[], bool] | None = None
    """Asked by the driver during the motion."""


class TooBusyError(Exception):
    """This machine is so busy that the driver stopped by itself."""


@dataclass(frozen=True)
class ArmOutcome:
    """What came of a fault; times are seconds from the injection."""

    reason: StopReason | None
    message: str
    noticed: float | None
    """When the driver raised; None for faults that are there from the start."""
    last_command: float | None
    """When the last motion command arrived; negative is before."""
    still: float | None
    """When the arm stood."""
    commands_after_injection: int
    commands_after_stop: int
    """Motion commands after the driver had raised, although it was asked to move again."""


def plan_motion(q_from: np.ndarray = Q_START, scale: float = 1.0) -> Trajectory:
    """A second (times `scale`, or so) of all joints, the last one away from its limit."""
    path = time_path(np.stack([q_from, q_from + scale * np.array([0.14, 0.1, -0.1, 0.1, 0.1, -0.14])]), UR5_LIMITS)
    return SPEED.slow_down(path, UR5_LIMITS)


def settings_for(address: str, patient: bool = True) -> UR5Settings:
    """Of the driver; `patient` with a machine that is so busy that it misses deadlines by itself."""
    patience = {"stale_after": 0.6, "watchdog_frequency": 1.5, "connect_seconds": 4.0} if patient else {"connect_seconds": 4.0}
    return UR5Settings(address, speed=SPEED, payload=PAYLOAD, centre_of_gravity=(0.0, 0.0, 0.06), **patience)


@contextlib.contextmanager
def open_bench(identity: Identity | None = None, patience: float = 0.0) -> Iterator[Bench]:
    """A stand-in whose arm stands at the start; `patience` is the stand-in's."""
    with URStandIn(Controller(ArmModel(Q_START), identity or Identity()), patience=patience) as stand_in:
        bench = Bench(stand_in)
        try:
            yield bench
        finally:
            if bench.driver is not None:
                bench.driver.close()
            for client in bench.other_clients:
                client.kill()
                client.wait()


def run_fault(fault: ArmFault, patient: bool = True) -> ArmOutcome:
    """Connects, moves, injects, and watches what the stand-in receives and how the arm moves."""
    with open_bench(fault.identity) as bench:
        fault.prepare(bench)
        injected: list[float] = []
        stop: MotionStoppedError | None = None
        injector = threading.Thread(target=_inject, args=(fault, bench, injected), daemon=True)
        try:
            bench.driver = UR5(settings_for(bench.stand_in.address, patient))
            injector.start()
            bench.driver.follow(plan_motion(), fault.until)
        except MotionStoppedError as caught:
            stop = caught
        gave_up, bench.over = time.monotonic(), True
        if bench.driver is not None and not injected:
            raise TooBusyError(f"{fault.name}: the driver stopped before the fault: {stop}")
        _try_again(bench)
        time.sleep(_WATCHED_AFTER)
        return _describe(bench.controller, injected[0] if injected else None, gave_up, stop)


def wait_for_motion(bench: Bench) -> bool:
    """Until the arm is on its way; false where it is not, or was stopped before."""
    end = time.monotonic() + _MOVES_WITHIN
    while sum(record.kind == "motion" for record in bench.controller.records) < _INJECTED_AFTER:
        if time.monotonic() > end or bench.over:
            return False
        time.sleep(0.005)
    return True


def _inject(fault: ArmFault, bench: Bench, injected: list[float]) -> None:
    if not wait_for_motion(bench):
        return
    if fault.inject is not None:
        inject = fault.inject
        injected.append(bench.stand_in.inject(lambda: inject(bench)))
    elif fault.elsewhere is not None:
        injected.append(time.monotonic())
        fault.elsewhere(bench)
    else:
        injected.append(time.monotonic())


def _try_again(bench: Bench) -> None:
    """A program that does not understand that it is over."""
    if bench.driver is not None and bench.driver.stopped is not None:
        with contextlib.suppress(MotionStoppedError, ValueError):
            bench.driver.follow(plan_motion(bench.driver.joint_positions()))


def _describe(controller: Controller, injected: float | None, gave_up: float, stop: MotionStoppedError | None) -> ArmOutcome:
    motions = [record.clock for record in controller.records if record.kind == "motion"]
    after_stop = sum(clock > gave_up for clock in motions) if stop is not None else 0
    reason, message = (None, "the motion went on") if stop is None else (stop.reason, str(stop))
    if injected is None:
        return ArmOutcome(reason, message, None, None, None, len(motions), after_stop)
    moving = [moment.clock for moment in controller.moments if moment.clock > injected and abs(moment.qd).max() > _STILL]
    still = moving[-1] - injected if moving else 0.0
    after = sum(clock > injected for clock in motions)
    return ArmOutcome(reason, message, gave_up - injected, motions[-1] - injected, still, after, after_stop)


def _truncated(bench: Bench) -> None:
    def cut(packet: bytes) -> bytes:
        bench.stand_in.link.mangle = None
        return packet[: len(packet) // 2]

    bench.stand_in.link.mangle = cut


def _spoilt(place: int, with_bytes: bytes) -> Callable[[Bench], None]:
    def inject(bench: Bench) -> None:
        bench.stand_in.link.mangle = lambda packet: packet[:place] + with_bytes + packet[place + len(with_bytes) :]

    return inject


def _creep(bench: Bench) -> None:
    """The last joint is told to turn towards its limit, a little further every cycle."""
    offsets = itertools.count(0.0, 0.003)
    bench.controller.lies["actual_q"] = lambda q: (*q[:5], q[5] + next(offsets))


def _lie(name: str, lie: Callable) -> Callable[[Bench], None]:
    return lambda bench: bench.controller.lies.update({name: lie})


def _set_link(**entries: object) -> Callable[[Bench], None]:
    return lambda bench: bench.stand_in.link.__dict__.update(entries)


def _hold(bench: Bench) -> None:
    bench.controller.arm.blocked = True


def _violate(bench: Bench) -> None:
    bench.controller.safety = SafetyBits.VIOLATION | SafetyBits.STOPPED_DUE_TO_SAFETY
    bench.controller.stop_program("violation")


def _push(bench: Bench) -> None:
    bench.controller.tool_force = np.array([0.0, 0.0, 150.0, 0.0, 0.0, 0.0])


def _freeze(bench: Bench) -> None:
    bench.stand_in.link.frozen = bench.controller.snapshot()


def _close_server(bench: Bench) -> None:
    bench.stand_in.stop_listening()
    bench.stand_in.close_connections()


def _kill_servo(bench: Bench) -> None:
    os.kill(bench.driver.servo_process_id, signal.SIGKILL)


def _hang() -> bool:
    time.sleep(1.2)
    return False


def _seize_registers(bench: Bench) -> None:
    """Another client writes the registers that ur-rtde uses."""
    code = (
        "import socket,struct,sys,time\n"
        f"s=socket.create_connection(({bench.stand_in.address!r},{RTDE_PORT}))\n"
        "n=b'input_int_register_0';s.sendall(struct.pack('>HB',3+len(n),73)+n);s.recv(64);print('ready',flush=True);time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    bench.other_clients.append(process)


def _off(bench: Bench) -> None:
    bench.controller.robot_mode = RobotMode.POWER_OFF


_NAN = struct.pack(">d", float("nan"))
_Q_PLACE = 3 + 1 + 8
"""Where the joints' positions begin in a data package of the driver: header, recipe, timestamp."""


def _fault(name: str, *reasons: StopReason, **entries) -> ArmFault:
    return ArmFault(name, frozenset(reasons), **entries)


ARM_FAULTS = (
    _fault("protective stop", StopReason.PROTECTIVE_STOP, inject=lambda bench: bench.controller.protective_stop()),
    _fault("emergency stop", StopReason.EMERGENCY_STOP, inject=lambda bench: bench.controller.emergency_stop()),
    _fault("safeguard stop (door)", StopReason.SAFEGUARD_STOP, inject=lambda bench: bench.controller.safeguard_stop()),
    _fault("safety violation", StopReason.SAFETY_FAULT, inject=_violate),
    _fault("joints powered off", StopReason.NOT_RUNNING, inject=lambda bench: bench.controller.power_off()),
    _fault("program stopped on the pendant", StopReason.PROGRAM_STOPPED, inject=lambda bench: bench.controller.stop_program("pendant")),
    _fault("program paused on the pendant", StopReason.PROGRAM_STOPPED, inject=lambda bench: bench.controller.pause_program()),
    _fault("state stream falls silent", StopReason.STALE_STREAM, inject=_set_link(silent=True)),
    _fault("state stream repeats itself", StopReason.STALE_STREAM, inject=_freeze),
    _fault("states arrive 0.9 s late", StopReason.STALE_STREAM, inject=_set_link(delay=0.9)),
    _fault("every second state is lost", inject=_set_link(drop_every=2)),
    _fault("a state is cut in half", StopReason.BAD_DATA, StopReason.STALE_STREAM, inject=_truncated),
    _fault("a joint position is no number", StopReason.BAD_DATA, inject=_spoilt(_Q_PLACE, _NAN)),
    _fault("a joint position has a wrong exponent", StopReason.BAD_DATA, StopReason.OUT_OF_LIMITS, inject=_spoilt(_Q_PLACE, b"\x40\x60")),
    _fault("a state's length is wrong", StopReason.STALE_STREAM, StopReason.CONNECTION_LOST, inject=_spoilt(0, b"\xff\xff")),
    _fault("connections are reset", StopReason.CONNECTION_LOST, inject=lambda bench: bench.stand_in.reset_connections()),
    _fault("the controller shuts down", StopReason.CONNECTION_LOST, inject=_close_server),
    _fault(
        "a joint's encoder jumps by 17 degrees", StopReason.BAD_DATA, inject=lambda bench: bench.controller.arm.displace(np.full(6, 0.3))
    ),
    _fault("a joint creeps out of its range", StopReason.OUT_OF_LIMITS, StopReason.LAG, inject=_creep),
    _fault("the arm is held fast", StopReason.LAG, inject=_hold),
    _fault("a joint is told to turn too fast", StopReason.OVERSPEED, inject=_lie("actual_qd", lambda qd: (2.0, *qd[1:]))),
    _fault("150 N at the tool", StopReason.FORCE, inject=_push),
    _fault("another payload is set on the pendant", StopReason.SETUP, inject=lambda bench: setattr(bench.controller.tool, "payload", 2.0)),
    _fault("the servo process is killed", StopReason.CONNECTION_LOST, elsewhere=_kill_servo),
    _fault("the main program hangs", StopReason.COMMANDER_LOST, until=_hang),
    _fault("Ctrl-C", StopReason.BY_PERSON, elsewhere=lambda bench: _thread.interrupt_main()),
    _fault("nobody at the address", StopReason.CONNECTION_LOST, prepare=_close_server),
    _fault("the dashboard server says nothing", StopReason.CONNECTION_LOST, prepare=_set_link(dashboard_silent=True)),
    _fault("RTDE version 2 is refused", StopReason.SETUP, prepare=_set_link(refuse_version=True)),
    _fault("no state ever comes", StopReason.CONNECTION_LOST, prepare=_set_link(silent=True)),
    _fault("the control script does not start", StopReason.SETUP, StopReason.CONNECTION_LOST, prepare=_set_link(drop_scripts=True)),
    _fault("it is a UR10", StopReason.SETUP, identity=Identity(model="UR10")),
    _fault("PolyScope 3.4", StopReason.SETUP, identity=Identity(version=(3, 4, 0, 1))),
    _fault("e-Series in local control", StopReason.SETUP, identity=Identity(version=(5, 11, 0, 1), remote_control=False)),
    _fault("powered off from the start", StopReason.NOT_RUNNING, prepare=_off),
    _fault("protective stop from the start", StopReason.PROTECTIVE_STOP, prepare=lambda bench: bench.controller.protective_stop()),
    _fault("the tool is elsewhere", StopReason.SETUP, prepare=_lie("actual_TCP_pose", lambda pose: (pose[0] + 0.05, *pose[1:]))),
    _fault("the payload is not taken", StopReason.SETUP, prepare=_lie("payload", lambda payload: 0.0)),
    _fault("another client holds the registers", StopReason.SETUP, StopReason.CONNECTION_LOST, prepare=_seize_registers),
)
