"""The UR5 of the CB series on the network: the `Arm` of `robot.execute`, over ur-rtde in a servo process of its own (`robot.ur5_servo`).

Before anything moves a trajectory is checked against the joints' ranges, speeds and where the arm stands (whether it meets something is
for `robot.guards.check_motions`). Whatever is amiss afterwards (a stop of the safety system, a lost connection, a state that is late or
makes no sense, a joint that does not follow, too much force) ends the servo process within a control cycle of the news, and with it every
command. From then on every motion is refused with the first stop's reason, until a person calls `reset`.
"""

import contextlib
import math
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe

import numpy as np
from jaxtyping import Float

from invgraphics.errors import MissingDependencyError
from robot.guards import SpeedLimits, find_violation
from robot.kinematics import UR5_GEOMETRY, UR5_LIMITS, JointLimits, URGeometry, forward_kinematics
from robot.log import RobotLog
from robot.stops import MotionStoppedError, StopReason
from robot.trajectory import Trajectory, time_path
from robot.ur5_messages import CYCLE, Alive, Brake, Done, Follow, MoveJoints, MoveStraight, Quit, ServoSettings, State, Stopped
from robot.ur_pose import matrix_to_pose, pose_to_matrix

_OVERSPEED = 1.5
"""Share of the allowed joint speed at which a measured one stops the arm."""
_POSE_TOLERANCE, _TURN_TOLERANCE = 0.01, 0.05
"""Metres and radians by which the controller's tool pose may differ from ours; a controller knows its arm's calibration."""
_LEAST_JOINT_SPEED, _LEAST_TOOL_SPEED = 0.01, 0.005
"""rad/s and m/s of the controller's own motions, where there is hardly any way to go."""
_TOOL_ACCELERATION = 0.25
"""Of a `movel`, m/s^2."""
_IDLE_LOG_SECONDS = 0.1
"""Between two states in the log while the arm is told nothing; otherwise every state is in it that this
process has had the time to take."""
_LEAST_SILENCE = 0.5
"""Seconds for which the servo process never minds hearing nothing of this one."""
_LOOK_SECONDS = 0.01
"""Between two questions to `until`."""
_EXCEPTION = re.compile(r"\w+(\.\w+)*(Error|Exception)\b")
"""A traceback's last line; ur-rtde writes lines of its own beside it."""
_GRACE_SECONDS = 3.0
"""For a broken-off motion to come to rest."""


@dataclass(frozen=True)
class UR5Settings:
    """What the driver is told."""

    host: str
    """Address of the controller."""
    limits: JointLimits = UR5_LIMITS
    """The joints' ranges, and what 100 % of speed and acceleration are."""
    geometry: URGeometry = UR5_GEOMETRY
    """Of the arm, to check that the controller drives the same one."""
    speed: SpeedLimits = field(default_factory=SpeedLimits)
    """What no motion may exceed."""
    payload: float = 0.0
    """What the flange carries, kilograms."""
    centre_of_gravity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the payload in the flange frame, metres."""
    T_flange_tcp: Float[np.ndarray, "4 4"] | None = None
    """Tool centre point; the flange where not given."""
    largest_force: float = 80.0
    """At the tool, newtons."""
    stale_after: float = 0.1
    """Seconds without a fresh state after which everything stops."""
    watchdog_frequency: float = 10.0
    """Hertz at which the controller must hear of us, or it stops by itself."""
    connect_seconds: float = 8.0
    """For the controller's first state after the start."""

    def for_servo(self) -> ServoSettings:
        """In the words of the servo process."""
        return ServoSettings(
            self.host,
            stale_after=self.stale_after,
            watchdog_frequency=self.watchdog_frequency,
            silence_allowed=max(_LEAST_SILENCE, self.stale_after),
            largest_force=self.largest_force,
            lower=tuple(self.limits.lower.tolist()),
            upper=tuple(self.limits.upper.tolist()),
            fastest=tuple((_OVERSPEED * self.speed.joint_share * self.limits.velocity + 0.05).tolist()),
            payload=self.payload,
            centre_of_gravity=self.centre_of_gravity,
            tcp=tuple(matrix_to_pose(np.eye(4) if self.T_flange_tcp is None else self.T_flange_tcp).tolist()),
        )


class UR5:
    """The arm; a context manager. Methods are for one thread."""

    def __init__(self, settings: UR5Settings, log: RobotLog | None = None):
        """Connects, and checks that the controller drives the arm that is meant; nothing moves. Raises `MotionStoppedError`."""
        _require_ur_rtde()
        self.settings = settings
        self._log = log
        self._number = 0
        self._servo: _ServoProcess | None = None
        self._stop: MotionStoppedError | None = None
        self._last_state: State | None = None
        self._connect()

    def __enter__(self) -> "UR5":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def stopped(self) -> MotionStoppedError | None:
        """The stop that forbids every motion until `reset`; None where there is none."""
        self._notice()
        return self._stop

    @property
    def servo_process_id(self) -> int:
        """Of the process that talks to the controller."""
        return self._servo.process_id

    def state(self) -> State:
        """The newest state; raises `MotionStoppedError` after a stop."""
        self._require_no_stop()
        return self._servo.latest

    def joint_positions(self) -> Float[np.ndarray, "6"]:
        """Radians, as last told by the controller, after a stop, too: the arm's place is known to the last state."""
        self._last_state = self._servo.latest or self._last_state
        return np.array(self._last_state.q)

    def follow(self, trajectory: Trajectory, until: Callable[[], bool] | None = None, touch: float = math.inf) -> bool:
        """Moves along a timed trajectory that starts where the arm stands, and returns when the arm stands again.

        With a `touch` (newtons) the motion is broken off within a cycle once the tool is pushed up by so much more than at its start,
        however busy this process is. True where the arm went all the way, false where it stopped on its path for `until` or `touch`.
        Raises `ValueError` for a trajectory that is not allowed (nothing moves then), `MotionStoppedError` where the arm was stopped.
        """
        self._require_no_stop()
        violation = find_violation(trajectory, self.settings.limits, self.settings.speed, self.joint_positions(), self.settings.geometry)
        if violation is not None:
            raise ValueError(f"the arm was not moved: {violation}")
        return self._carry_out(Follow(self._next_number(), _sample(trajectory), touch), until)

    def move_joints(self, q: Float[np.ndarray, "6"], until: Callable[[], bool] | None = None) -> bool:
        """The controller's own `movej` at the allowed speed; otherwise as `follow`."""
        self._require_no_stop()
        share, limits = self.settings.speed.joint_share, self.settings.limits
        line = time_path(np.stack([self.joint_positions(), q]), limits, speed_scale=share)
        slowed = self.settings.speed.slow_down(line, limits, self.settings.geometry)
        violation = find_violation(slowed, limits, self.settings.speed, self.joint_positions(), self.settings.geometry)
        if violation is not None:
            raise ValueError(f"the arm was not moved: {violation}")
        speed = max(float(abs(slowed.velocities).max()), _LEAST_JOINT_SPEED)
        return self._carry_out(MoveJoints(self._next_number(), tuple(q.tolist()), speed, share * float(limits.acceleration.min())), until)

    def move_straight(self, trajectory: Trajectory, until: Callable[[], bool] | None = None) -> bool:
        """The controller's own `movel` to the end of a trajectory whose flange moves on a straight line; otherwise as `follow`."""
        self._require_no_stop()
        violation = find_violation(trajectory, self.settings.limits, self.settings.speed, self.joint_positions(), self.settings.geometry)
        if violation is not None:
            raise ValueError(f"the arm was not moved: {violation}")
        q = trajectory.positions[-1]
        T_base_tcp = forward_kinematics(q, self.settings.geometry) @ self._T_flange_tcp
        distance = float(np.linalg.norm(T_base_tcp[:3, 3] - pose_to_matrix(np.array(self.state().tcp_pose))[:3, 3]))
        speed = float(np.clip(distance / max(trajectory.duration, CYCLE), _LEAST_TOOL_SPEED, self.settings.speed.tool))
        pose = tuple(matrix_to_pose(T_base_tcp).tolist())
        return self._carry_out(MoveStraight(self._next_number(), pose, tuple(q.tolist()), speed, _TOOL_ACCELERATION), until)

    def wait(self, seconds: float) -> None:
        """Holds its place; raises `MotionStoppedError` where something stops it meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._require_no_stop()
            time.sleep(_LOOK_SECONDS)
        self._require_no_stop()

    def stop(self, words: str, reason: StopReason = StopReason.BY_PERSON) -> None:
        """Brakes, and refuses every motion from now on; for a person, or for a program that has found something amiss elsewhere."""
        if self.stopped is None:
            self._break_off()
            self._notice()
            self._latch(MotionStoppedError(words, reason))

    def reset(self, person: str) -> None:
        """Connects anew after a stop, once `person` has looked at the arm and made it ready.

        Raises `MotionStoppedError` where it is not.
        """
        self._note("reset", by=person, after=str(self._stop or ""))
        self._last_state = self._servo.latest or self._last_state
        self.close()
        self._stop = None
        self._connect()

    def close(self) -> None:
        """Ends the program on the controller; the arm stands."""
        if self._servo is not None:
            self._servo.close()

    @property
    def _T_flange_tcp(self) -> np.ndarray:
        return np.eye(4) if self.settings.T_flange_tcp is None else self.settings.T_flange_tcp

    def _connect(self) -> None:
        self._note("connect", host=self.settings.host, speed_share=self.settings.speed.joint_share, tool_speed=self.settings.speed.tool)
        self._servo = _ServoProcess(self.settings.for_servo(), self._log)
        try:
            self._servo.wait_for_state(self.settings.connect_seconds)
            self._check_geometry()
        except MotionStoppedError as stop:
            self._latch(stop)
            self._servo.close()
            raise

    def _check_geometry(self) -> None:
        """Raises `MotionStoppedError` where the controller's tool pose is not that of our arm with our tool."""
        state = self._servo.latest
        T_ours = forward_kinematics(np.array(state.q), self.settings.geometry) @ self._T_flange_tcp
        T_difference = np.linalg.inv(T_ours) @ pose_to_matrix(np.array(state.tcp_pose))
        away, turned = np.linalg.norm(T_difference[:3, 3]), np.linalg.norm(matrix_to_pose(T_difference)[3:])
        if away > _POSE_TOLERANCE or turned > _TURN_TOLERANCE:
            words = f"the controller's tool is {1000 * away:.0f} mm and {np.degrees(turned):.1f} degrees from where this arm's would be"
            raise MotionStoppedError(words, StopReason.SETUP)

    def _carry_out(self, request: Follow | MoveJoints | MoveStraight, until: Callable[[], bool] | None) -> bool:
        """Sends a motion and waits for its end; Ctrl-C brakes."""
        self._note("command", motion=type(request).__name__, number=request.number, **_describe(request))
        try:
            self._send(request)
            return self._await_end(request.number, until)
        except KeyboardInterrupt:
            self._break_off()
            self._latch(MotionStoppedError("stopped by a person (Ctrl-C)", StopReason.BY_PERSON))
            raise MotionStoppedError(str(self._stop), self._stop.reason) from None
        except BaseException:
            if self._stop is None:
                self._break_off()
            raise

    def _await_end(self, number: int, until: Callable[[], bool] | None) -> bool:
        while True:
            self._require_no_stop()
            done = self._servo.done
            if done is not None and done.number == number:
                self._note("done", number=number, complete=done.complete)
                return done.complete
            if until is not None and until():
                until = None
                self._send(Brake())
            self._send(Alive())
            time.sleep(_LOOK_SECONDS)

    def _break_off(self) -> None:
        """Brakes and waits until the arm stands, or the servo process has ended, or the time is up."""
        with contextlib.suppress(MotionStoppedError):
            self._send(Brake())
            end = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < end and self._servo.done is None and self._servo.stopped is None:
                self._send(Alive())
                time.sleep(_LOOK_SECONDS)

    def _send(self, message: object) -> None:
        try:
            self._servo.send(message)
        except OSError:
            self._servo.wait_for_end()
            self._require_no_stop()

    def _notice(self) -> None:
        if self._stop is None and self._servo is not None and self._servo.stopped is not None:
            stopped = self._servo.stopped
            self._latch(MotionStoppedError(f"{stopped.reason.value}: {stopped.words}", stopped.reason))

    def _require_no_stop(self) -> None:
        self._notice()
        if self._stop is not None:
            raise MotionStoppedError(str(self._stop), self._stop.reason)

    def _latch(self, stop: MotionStoppedError) -> None:
        """Keeps a stop, unless there was one before: the first is the cause."""
        if self._stop is not None:
            return
        self._stop = stop
        self._note("stop", reason=stop.reason, message=str(stop))
        if self._servo is not None:
            self._servo.close()

    def _next_number(self) -> int:
        self._number += 1
        self._servo.done = None
        return self._number

    def _note(self, kind: str, **entries: object) -> None:
        if self._log is not None:
            self._log.write(kind, device="ur5", **entries)


class _ServoProcess:
    """The process, and a thread that listens to it."""

    def __init__(self, settings: ServoSettings, log: RobotLog | None):
        self.latest: State | None = None
        self.done: Done | None = Done(0, True)
        """Of the last motion, number 0 before the first; None while one runs."""
        self.stopped: Stopped | None = None
        self._log = log
        self._logged = 0.0
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "robot.ur5_servo", str(theirs.fileno())]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": self._errors}
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, **streams)
        theirs.close()
        self._connection.send(settings)
        self._thread = threading.Thread(target=self._listen, args=(self._connection,), daemon=True)
        self._thread.start()

    def wait_for_state(self, seconds: float) -> None:
        """Until the controller's first state has come; raises `MotionStoppedError` where it does not."""
        end = time.monotonic() + seconds
        while self.latest is None and self.stopped is None:
            if time.monotonic() > end:
                self.kill()
                self.stopped = Stopped(StopReason.CONNECTION_LOST, f"the controller did not answer within {seconds:.0f} s")
            time.sleep(_LOOK_SECONDS / 2)
        if self.stopped is not None:
            raise MotionStoppedError(f"{self.stopped.reason.value}: {self.stopped.words}", self.stopped.reason)

    @property
    def process_id(self) -> int:
        """As the system knows it."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Raises `OSError` where the process has ended."""
        self._connection.send(message)

    def wait_for_end(self) -> None:
        """Until its last word has been heard."""
        self._thread.join(_GRACE_SECONDS)

    def close(self) -> None:
        """Asks it to end the program on the controller and to leave, and makes sure that it has."""
        with contextlib.suppress(OSError):
            self._connection.send(Quit())
        self.kill(patience=1.5)

    def kill(self, patience: float = 0.0) -> None:
        """Ends it."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(_GRACE_SECONDS)
        self._connection.close()
        self._errors.close()

    def _listen(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._hear(connection.recv())
        finally:
            if self.stopped is None:
                self.stopped = Stopped(StopReason.CONNECTION_LOST, f"the servo process has ended {self._find_error()}")

    def _find_error(self) -> str:
        """How a process that has ended without having said why broke down."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        error = next((line for line in reversed(lines) if _EXCEPTION.match(line)), None)
        return "without a word" if error is None else f"by an error of its own: {error}"

    def _hear(self, message: object) -> None:
        if isinstance(message, State):
            self.latest = message
            if self._log is not None and (message.setpoint is not None or message.clock > self._logged + _IDLE_LOG_SECONDS):
                self._logged = message.clock
                entries = {name: value for name, value in vars(message).items() if name != "clock"}
                self._log.write("state", clock=message.clock, device="ur5", **entries)
        elif isinstance(message, Done):
            self.done = message
        elif isinstance(message, Stopped):
            self.stopped = message


def _sample(trajectory: Trajectory) -> Float[np.ndarray, "n 6"]:
    """A setpoint for every cycle, the last one where the trajectory ends."""
    times = np.arange(0.0, trajectory.duration + CYCLE, CYCLE)
    return np.array([trajectory.sample(float(time))[0] for time in times])


def _describe(request: Follow | MoveJoints | MoveStraight) -> dict[str, object]:
    if isinstance(request, Follow):
        return {"seconds": round(len(request.positions) * CYCLE, 3), "q_from": request.positions[0], "q_to": request.positions[-1]}
    return {name: value for name, value in vars(request).items() if name != "number"}


def _require_ur_rtde() -> None:
    from importlib.util import find_spec

    if find_spec("rtde_control") is None:
        raise MissingDependencyError("the arm needs ur-rtde, which is not installed: pip install 'invgraphics[robot]'")
