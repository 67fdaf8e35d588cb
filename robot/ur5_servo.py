"""The servo process of the UR5 driver: `python -m robot.ur5_servo FILE_DESCRIPTOR`, started by `robot.ur5.UR5`.

It alone talks to the controller, through ur-rtde: one setpoint for every state that arrives, 125 times a second. It is a process of its
own because ur-rtde reconnects by itself after a lost connection, uploads its script again and repeats the command that was under way: here
the process ends instead, at the first sign of anything amiss, and with it every command that has not been sent. Nor can a slow main
program (planning, pictures) delay a setpoint. If this process dies, the controller's watchdog stops the arm; if the main program dies or
hangs, this process does.
"""

import math
import os
import select
import socket
import struct
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np

from robot.rtde_wire import PROTOCOL_VERSION, RTDE_PORT, PacketType, pack_packet
from robot.stops import MotionStoppedError, StopReason
from robot.ur5_messages import CYCLE, Brake, Done, Follow, MoveJoints, MoveStraight, Quit, ServoSettings, State, Stopped
from robot.ur_states import RuntimeState, find_hindrance, is_known_state

_FIELDS = (
    *("timestamp", "actual_q", "actual_qd", "actual_TCP_pose", "actual_TCP_force"),
    *("robot_mode", "safety_status_bits", "runtime_state", "robot_status_bits", "payload"),
)
_OLDEST_POLYSCOPE = (3, 11)
"""The first of the CB series that tells the payload."""
_POLL = 0.0005
"""Seconds between two looks for a new state."""
_SETTLED_ANGLE, _SETTLED_SPEED = 0.005, 0.01
"""A joint so near to its last setpoint (rad) and so slow (rad/s) has arrived."""
_SETTLING_SECONDS = 3.0
"""In which it must."""
_LAG_SECONDS = 0.2
"""By so much of its motion a joint may trail its setpoint, on top of the largest lag."""
_BRAKING = 5.0
"""Deceleration of a motion that is broken off, rad/s^2, where this takes no longer than `ServoSettings.braking_seconds`."""
_SEND_OFF_SECONDS = 0.6
"""For ending the program on the controller, before the process ends anyway."""


class Link:
    """ur-rtde's three clients."""

    def __init__(self, settings: ServoSettings):
        """Connects and uploads the control script. Raises `MotionStoppedError`."""
        from dashboard_client import DashboardClient
        from rtde_control import RTDEControlInterface
        from rtde_receive import RTDEReceiveInterface

        _check_protocol(settings.host)
        self.dashboard = DashboardClient(settings.host)
        self._check_controller(settings)
        self.receive = RTDEReceiveInterface(settings.host, 1 / CYCLE, list(_FIELDS))
        if not self.receive.isConnected() or not is_known_state(self.receive.getRobotMode(), self.receive.getSafetyStatusBits()):
            raise MotionStoppedError(f"{settings.host} sends no state", StopReason.CONNECTION_LOST)
        hindrance = find_hindrance(self.receive.getRobotMode(), self.receive.getSafetyStatusBits(), RuntimeState.PLAYING)
        if hindrance is not None:
            raise MotionStoppedError(hindrance.words, hindrance.reason)
        self.control = RTDEControlInterface(settings.host, 1 / CYCLE)

    def _check_controller(self, settings: ServoSettings) -> None:
        try:
            self.dashboard.connect()
            model, words = self.dashboard.getRobotModel().strip(), self.dashboard.polyscopeVersion()
        except RuntimeError as error:
            words = f"the dashboard server of {settings.host} (port 29999) does not answer: {error}"
            raise MotionStoppedError(words, StopReason.CONNECTION_LOST) from None
        if model != settings.model:
            raise MotionStoppedError(
                f"the controller at {settings.host} says it drives a {model}, not a {settings.model}", StopReason.SETUP
            )
        version = tuple(int(part) for part in words.split(".")[:2])
        if version < _OLDEST_POLYSCOPE:
            raise MotionStoppedError(f"PolyScope {version[0]}.{version[1]} is too old; 3.11 or newer is needed", StopReason.SETUP)

    def set_up(self, settings: ServoSettings) -> None:
        """Tells the controller of tool and watchdog. Raises `MotionStoppedError` where it does not take them."""
        done = (
            self.control.setPayload(settings.payload, list(settings.centre_of_gravity)),
            self.control.setTcp(list(settings.tcp)),
            self.control.setWatchdog(settings.watchdog_frequency),
        )
        if not all(done):
            raise MotionStoppedError("the controller did not take payload, tool centre point and watchdog", StopReason.SETUP)
        tcp = self.control.getTCPOffset()
        if not np.allclose(tcp, settings.tcp, atol=1e-4):
            raise MotionStoppedError(f"the controller has the tool centre point {tcp}", StopReason.SETUP)

    def is_alive(self) -> bool:
        """Whether all connections that carry state and commands stand."""
        return self.receive.isConnected() and self.control.isConnected()

    def read(self, timestamp: float) -> State:
        """The newest state; what forbids motion is read last, so that it is never older than the rest."""
        receive = self.receive
        numbers = (receive.getActualQ(), receive.getActualQd(), receive.getActualTCPPose(), receive.getActualTCPForce())
        q, qd, pose, force = (tuple(values) for values in numbers)
        payload = receive.getPayload()
        modes = (receive.getRobotMode(), receive.getSafetyStatusBits(), receive.getRuntimeState())
        return State(time.monotonic(), timestamp, q, qd, pose, force, *modes, payload)


class Monitor:
    """Watches connections and the main loop from a thread, and ends the process where the loop cannot."""

    def __init__(self, link: Link, settings: ServoSettings, tell: "Teller"):
        self.beat = time.monotonic()
        """When the main loop last went round."""
        self.patience = settings.stale_after + 0.1
        """Seconds for which it may not."""
        self._link, self._tell = link, tell
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            if not self._link.is_alive():
                self._tell.leave(Stopped(StopReason.CONNECTION_LOST, "the controller closed it or the network is down"))
            if time.monotonic() - self.beat > self.patience:
                self._tell.leave(Stopped(StopReason.STALE_STREAM, f"no answer for {self.patience:.2f} s"))
            time.sleep(2 * _POLL)


class Teller:
    """Sends to the main program; the last word is said once."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._lock = threading.Lock()
        self._left = False

    def send(self, message: object) -> None:
        """Any message but the last."""
        with self._lock:
            if not self._left:
                self._connection.send(message)

    def send_state(self, state: State) -> None:
        """A state, or nothing where the main program has so many to read that it would have to be waited for."""
        if select.select([], [self._connection], [], 0.0)[1]:
            self.send(state)

    def say_stopped(self, stopped: Stopped) -> None:
        """The last word; later ones are dropped."""
        with self._lock:
            if not self._left:
                self._left = True
                try:
                    self._connection.send(stopped)
                except (BrokenPipeError, ConnectionResetError):
                    return

    def leave(self, stopped: Stopped) -> None:
        """The last word, and the end of the process, whatever any other thread is doing."""
        self.say_stopped(stopped)
        os._exit(1)


class PathMotion:
    """Setpoints along a list, one a cycle; braking slows the progress along the list down to none, a slow motion's in less time."""

    def __init__(self, request: Follow, braking_seconds: float):
        self.number = request.number
        self._positions = request.positions
        self._place, self._rate = 0.0, 1.0
        self._slowing = 0.0
        self._braking_seconds = braking_seconds
        self._touch = request.touch
        self._free: float | None = None

    @property
    def complete(self) -> bool:
        """Whether the last setpoint has been reached."""
        return self._place >= len(self._positions) - 1

    @property
    def over(self) -> bool:
        """Whether there is no further setpoint."""
        return self.complete or self._rate <= 0

    def feels(self, push: float) -> bool:
        """Whether the tool, pushed up by so many newtons now, has met what ends the motion; at first it is free."""
        if self._free is None:
            self._free = push
        return push - self._free > self._touch

    def turn_back(self, q: np.ndarray, largest_step: float) -> None:
        """Ends where the arm stands: on the path, as near to `q` (radians) as one step of a setpoint goes back.

        Setpoints lead the arm by the controller's lookahead; one that stayed ahead would press on.
        """
        behind = self._positions[: int(self._place) + 1]
        within = abs(behind - self._interpolate()).max(axis=1) <= largest_step
        self._place = float(np.where(within, abs(behind - q).max(axis=1), math.inf).argmin())
        self._rate = 0.0

    def brake(self) -> None:
        """From now on slower and slower."""
        k = min(int(self._place), max(len(self._positions) - 2, 0))
        speed = float(abs(self._positions[min(k + 1, len(self._positions) - 1)] - self._positions[k]).max()) / CYCLE
        self._slowing = CYCLE / min(max(speed / _BRAKING, CYCLE), self._braking_seconds)

    def next(self) -> np.ndarray:
        """The next setpoint, radians."""
        self._rate = max(self._rate - self._slowing, 0.0)
        self._place = min(self._place + self._rate, len(self._positions) - 1)
        return self._interpolate()

    def _interpolate(self) -> np.ndarray:
        k = min(int(self._place), max(len(self._positions) - 2, 0))
        following = self._positions[min(k + 1, len(self._positions) - 1)]
        return self._positions[k] + (self._place - k) * (following - self._positions[k])


class Servo:
    """The loop."""

    def __init__(self, link: Link, settings: ServoSettings, connection: Connection, tell: Teller):
        self._link, self._settings, self._connection, self._tell = link, settings, connection, tell
        self._monitor = Monitor(link, settings, tell)
        self._last: State | None = None
        self._motion: PathMotion | MoveJoints | MoveStraight | None = None
        self._setpoint: np.ndarray | None = None
        self._setpoint_speed = np.zeros(6)
        self._settling_since = 0.0
        self._heard = time.monotonic()
        self._broken_off = False
        self._servoing = False

    def run(self) -> None:
        """Until it is told to quit; raises `MotionStoppedError` where anything is amiss."""
        while True:
            state = self._next_state()
            self._check(state)
            sent = self._command(state)
            self._last = state
            self._tell.send_state(state if sent is None else replace(state, setpoint=tuple(sent.tolist())))
            self._finish_motion(state)
            if not self._take_messages():
                return

    def _next_state(self) -> State:
        """Waits for a state that is newer than the last."""
        since = time.monotonic()
        before = self._last.timestamp if self._last else -math.inf
        while True:
            self._monitor.beat = time.monotonic()
            timestamp = self._link.receive.getTimestamp()
            if timestamp != before and not math.isnan(timestamp):
                break
            if time.monotonic() - since > self._settings.stale_after:
                raise MotionStoppedError(
                    f"the controller's state is {1000 * self._settings.stale_after:.0f} ms old", StopReason.STALE_STREAM
                )
            time.sleep(_POLL)
        if not self._link.is_alive():
            raise MotionStoppedError("the controller closed it or the network is down", StopReason.CONNECTION_LOST)
        return self._link.read(timestamp)

    def _check(self, state: State) -> None:
        """What the state says against going on."""
        q, qd, settings = np.array(state.q), np.array(state.qd), self._settings
        self._check_sense(state, q, qd)
        hindrance = find_hindrance(state.robot_mode, state.safety_bits, state.runtime_state)
        if hindrance is not None:
            raise MotionStoppedError(hindrance.words, hindrance.reason)
        if (q < settings.lower).any() or (q > settings.upper).any():
            raise MotionStoppedError(f"joints at {_degrees(q)} degrees", StopReason.OUT_OF_LIMITS)
        if (abs(qd) > settings.fastest).any():
            raise MotionStoppedError(f"joint speeds {_degrees(qd)} degrees/s", StopReason.OVERSPEED)
        force = float(np.linalg.norm(state.force[:3]))
        if force > settings.largest_force:
            raise MotionStoppedError(f"{force:.0f} N at the tool, {settings.largest_force:.0f} N are allowed", StopReason.FORCE)
        if abs(state.payload - settings.payload) > 0.01:
            raise MotionStoppedError(f"the controller counts on a payload of {state.payload:.2f} kg", StopReason.SETUP)
        if isinstance(self._motion, PathMotion) and self._setpoint is not None:
            lag = abs(q - self._setpoint) - _LAG_SECONDS * abs(self._setpoint_speed)
            if lag.max() > settings.largest_lag:
                raise MotionStoppedError(f"joint {int(lag.argmax()) + 1} is {np.degrees(lag.max()):.1f} degrees behind", StopReason.LAG)

    def _check_sense(self, state: State, q: np.ndarray, qd: np.ndarray) -> None:
        """Whether these can be the numbers of an arm."""
        numbers = np.concatenate([q, qd, state.tcp_pose, state.force])
        if not np.isfinite(numbers).all() or abs(numbers).max() > 1e4 or not is_known_state(state.robot_mode, state.safety_bits):
            raise MotionStoppedError("numbers that no arm can have", StopReason.BAD_DATA)
        if self._last is None:
            return
        passed = state.timestamp - self._last.timestamp
        if not 0 < passed < 10 * self._settings.stale_after:
            raise MotionStoppedError(f"the controller's clock went on by {passed:.3f} s", StopReason.BAD_DATA)
        jump = abs(q - self._last.q)
        if (jump > 0.02 + 2 * passed * np.array(self._settings.fastest)).any():
            raise MotionStoppedError(f"the joints jumped by {_degrees(jump)} degrees in {1000 * passed:.0f} ms", StopReason.BAD_DATA)

    def _command(self, state: State) -> np.ndarray | None:
        """Sends the next setpoint, or only a sign of life; the setpoint."""
        if isinstance(self._motion, PathMotion):
            if not self._broken_off and self._motion.feels(state.force[2]):
                self._broken_off = True
                self._motion.turn_back(np.array(state.q), self._settings.largest_setpoint_step)
            setpoint = self._motion.next()
            before = np.array(state.q) if self._setpoint is None else self._setpoint
            if abs(setpoint - before).max() > self._settings.largest_setpoint_step:
                raise MotionStoppedError(f"a setpoint {np.degrees(abs(setpoint - before).max()):.1f} degrees away", StopReason.OVERSPEED)
            self._setpoint_speed = (setpoint - before) / CYCLE
            self._setpoint, self._servoing = setpoint, True
            self._call(self._link.control.servoJ(setpoint.tolist(), 0.0, 0.0, CYCLE, self._settings.lookahead, self._settings.gain))
            return setpoint
        self._call(self._link.control.kickWatchdog())
        return None

    def _call(self, taken: bool) -> None:
        """ur-rtde's answer to a command: where it was not taken, a newer state may say why."""
        if taken:
            return
        timestamp = self._link.receive.getTimestamp()
        if self._last is None or timestamp != self._last.timestamp:
            self._check(self._link.read(timestamp))
        raise MotionStoppedError("the controller did not take a command", StopReason.PROGRAM_STOPPED)

    def _finish_motion(self, state: State) -> None:
        """Tells of a motion that is over once the arm stands."""
        if self._motion is None or (isinstance(self._motion, PathMotion) and not self._motion.over):
            self._settling_since = time.monotonic()
            return
        target = self._setpoint if isinstance(self._motion, PathMotion) else np.array(self._motion.q)
        stands = max(abs(speed) for speed in state.qd) < _SETTLED_SPEED
        there = abs(np.array(state.q) - target).max() < _SETTLED_ANGLE
        if stands and (there or (self._broken_off and not isinstance(self._motion, PathMotion))):
            self._tell.send(Done(self._motion.number, there and not self._broken_off))
            self._motion, self._setpoint, self._broken_off = None, None, False
        elif not stands and not isinstance(self._motion, PathMotion):
            self._settling_since = time.monotonic()
        elif time.monotonic() - self._settling_since > _SETTLING_SECONDS:
            away = np.degrees(abs(np.array(state.q) - target).max())
            raise MotionStoppedError(f"it came to rest {away:.1f} degrees from its target", StopReason.LAG)

    def _take_messages(self) -> bool:
        """What the main program wants; false where it wants us to quit."""
        while self._connection.poll():
            message = self._connection.recv()
            self._heard = time.monotonic()
            if isinstance(message, Quit):
                return False
            self._obey(message)
        if self._motion is not None and time.monotonic() - self._heard > self._settings.silence_allowed:
            raise MotionStoppedError("nothing was heard of it during a motion", StopReason.COMMANDER_LOST)
        return True

    def _obey(self, message: object) -> None:
        control, settings = self._link.control, self._settings
        if isinstance(message, Follow):
            self._motion = PathMotion(message, settings.braking_seconds)
        elif isinstance(message, MoveJoints):
            self._leave_servo_mode()
            self._motion = message
            self._call(control.moveJ(list(message.q), message.speed, message.acceleration, True))
        elif isinstance(message, MoveStraight):
            self._leave_servo_mode()
            self._motion = message
            self._call(control.moveL(list(message.pose), message.speed, message.acceleration, True))
        elif isinstance(message, Brake) and isinstance(self._motion, PathMotion):
            self._broken_off = True
            self._motion.brake()
        elif isinstance(message, Brake) and self._motion is not None:
            self._broken_off = True
            control.stopJ(2.0, True)

    def _leave_servo_mode(self) -> None:
        """The controller's own motions need its servo loop ended."""
        if self._servoing:
            self._servoing = False
            self._call(self._link.control.servoStop(2.0))


def main() -> None:
    """Settings are the first message; the last is `Stopped`, unless it was told to quit."""
    connection = Connection(int(sys.argv[1]))
    tell = Teller(connection)
    settings = connection.recv()
    link: Link | None = None
    try:
        link = Link(settings)
        link.set_up(settings)
        Servo(link, settings, connection, tell).run()
        stopped = Stopped(StopReason.BY_PERSON, "the connection was closed")
    except MotionStoppedError as stop:
        stopped = Stopped(stop.reason, str(stop))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        stopped = Stopped(StopReason.COMMANDER_LOST, "it has ended")
    except (RuntimeError, ValueError, OSError) as error:
        stopped = Stopped(StopReason.CONNECTION_LOST if link else StopReason.SETUP, " ".join(str(error).split()) or type(error).__name__)
    tell.say_stopped(stopped)
    if link is not None:
        _end_program(link)
    os._exit(0)


def _end_program(link: Link) -> None:
    """Ends the program on the controller, so that nothing resumes by itself after a person has unlocked a stop; gives up after a while."""
    threading.Timer(_SEND_OFF_SECONDS, os._exit, (1,)).start()
    try:
        link.dashboard.stop()
    except RuntimeError:
        return


def _check_protocol(host: str) -> None:
    """Whether the controller speaks RTDE version 2, which ur-rtde takes for granted."""
    try:
        with socket.create_connection((host, RTDE_PORT), timeout=2.0) as connection:
            connection.sendall(pack_packet(PacketType.REQUEST_PROTOCOL_VERSION, struct.pack(">H", PROTOCOL_VERSION)))
            answer = connection.recv(16)
    except OSError as error:
        raise MotionStoppedError(f"no controller answers at {host}, port {RTDE_PORT}: {error}", StopReason.CONNECTION_LOST) from None
    if answer != pack_packet(PacketType.REQUEST_PROTOCOL_VERSION, b"\x01"):
        raise MotionStoppedError(f"{host} does not speak RTDE version {PROTOCOL_VERSION}", StopReason.SETUP)


def _degrees(angles: np.ndarray) -> str:
    return " ".join(f"{angle:.1f}" for angle in np.degrees(angles))


if __name__ == "__main__":
    main()
