"""What the control script that ur-rtde uploads does on the controller, cycle by cycle: commands come in input registers, answers go out.

`input_int_register_0` holds the command's number, 0 when there is none; its arguments stand in the double registers and further integer
registers. `output_int_register_0` says 1 (ready) or 2 (done). The numbers and arguments are those of ur-rtde 1.5 and 1.6. URScript itself
is not interpreted: the stand-in knows the script by its name and by the register offset at its top.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from jaxtyping import Float

from robot.kinematics import UR5_LIMITS
from robot.standins.ur_arm import ArmModel
from robot.ur_pose import matrix_to_pose, pose_to_matrix

READY, DONE = 1, 2
_SCRIPT_START_CYCLES = 2
_ASYNC_RUNNING = 1 << 15
_REACH = 0.8
"""Metres of lever by which `stopl`'s m/s^2 become the joints' rad/s^2."""


class Command(IntEnum):
    """Numbers in `input_int_register_0`."""

    NONE = 0
    MOVEJ = 1
    MOVEJ_IK = 2
    MOVEL = 3
    MOVEL_FK = 4
    SPEEDJ = 9
    SPEEDL = 10
    SERVOJ = 11
    SERVOC = 12
    SERVO_STOP = 16
    SET_PAYLOAD = 17
    SERVOL = 24
    SET_TCP = 29
    PROTECTIVE_STOP = 31
    STOPL = 33
    STOPJ = 34
    SET_WATCHDOG = 35
    IS_JOINTS_WITHIN_SAFETY_LIMITS = 37
    GET_TCP_OFFSET = 40
    JOG_START = 41
    MOVE_PATH = 45
    IS_STEADY = 47
    MOVE_UNTIL_CONTACT = 51
    STOP_SCRIPT = 255


MOTION_COMMANDS = frozenset(
    {
        *(Command.MOVEJ, Command.MOVEJ_IK, Command.MOVEL, Command.MOVEL_FK, Command.MOVE_PATH, Command.MOVE_UNTIL_CONTACT),
        *(Command.SERVOJ, Command.SERVOC, Command.SERVOL, Command.SPEEDJ, Command.SPEEDL, Command.JOG_START),
    }
)
"""Numbers of commands that move the arm."""
_CONTINUOUS = frozenset({Command.SERVOJ})
"""Commands of which one follows the other without waiting for an answer."""


@dataclass
class Registers:
    """The general-purpose registers."""

    int_in: list[int] = field(default_factory=lambda: [0] * 48)
    double_in: list[float] = field(default_factory=lambda: [0.0] * 48)
    int_out: list[int] = field(default_factory=lambda: [0] * 48)
    double_out: list[float] = field(default_factory=lambda: [0.0] * 48)


@dataclass
class ToolSetup:
    """What the controller assumes of the tool."""

    payload: float = 0.0
    """Kilograms."""
    centre_of_gravity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the flange frame, metres."""
    T_flange_tcp: Float[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))


class UnsupportedCommandError(Exception):
    """A command that the stand-in does not model."""


class ControlScript:
    """The running script."""

    def __init__(self, registers: Registers, arm: ArmModel, tool: ToolSetup, offset: int, protective_stop: Callable[[], None]):
        """`offset` is that of the registers, 0 or 24."""
        self.watchdog_period: float | None = None
        """Seconds without a new command register after which the controller stops the program; None while there is no watchdog."""
        self._registers, self._arm, self._tool, self._offset, self._protective_stop = registers, arm, tool, offset, protective_stop
        self._starting = _SCRIPT_START_CYCLES
        self._executed = False
        self._waiting_for: Callable[[], bool] | None = None
        self._writes, self._operation, self._operation_runs = 0, 0, False
        registers.int_out[offset] = 0
        self._tell_progress(-1)

    @property
    def command_register(self) -> int:
        """Index of the integer register that holds the command."""
        return self._offset

    @property
    def servoing(self) -> bool:
        """Whether the last command was a setpoint, after which the next one is due in the next cycle."""
        return self._registers.int_in[self._offset] in _CONTINUOUS

    def cycle(self) -> bool:
        """One cycle; whether the script goes on. Raises `UnsupportedCommandError`."""
        if self._starting > 0:
            self._starting -= 1
            return True
        if self._operation_runs and self._arm.standing:
            self._tell_progress(-1)
        if self._waiting_for is not None:
            if self._waiting_for():
                self._waiting_for = None
                self._answer(DONE)
            return True
        number = self._registers.int_in[self._offset]
        if number == Command.STOP_SCRIPT:
            return False
        if number in _CONTINUOUS:
            self._process(number)
            self._answer(READY)
        elif number == Command.NONE:
            self._executed = False
            self._answer(READY)
        elif not self._executed:
            self._executed = True
            self._waiting_for = self._process(number)
            if self._waiting_for is None:
                self._answer(DONE)
        return True

    def _process(self, number: int) -> Callable[[], bool] | None:
        """Carries a command out; a condition to wait for where it takes longer than the cycle."""
        actions: dict[int, Callable[[], Callable[[], bool] | None]] = {
            Command.SERVOJ: self._servo,
            Command.MOVEJ: self._move_joints,
            Command.MOVEL: self._move_straight,
            Command.SERVO_STOP: lambda: self._stop(self._double(0) / _REACH, waits=True),
            Command.STOPJ: lambda: self._stop(self._double(0), waits=self._int(1) == 0),
            Command.STOPL: lambda: self._stop(self._double(0) / _REACH, waits=self._int(1) == 0),
            Command.SET_PAYLOAD: self._set_payload,
            Command.SET_TCP: self._set_tcp,
            Command.GET_TCP_OFFSET: self._get_tcp,
            Command.SET_WATCHDOG: self._set_watchdog,
            Command.IS_STEADY: lambda: self._say(self._arm.standing),
            Command.IS_JOINTS_WITHIN_SAFETY_LIMITS: lambda: self._say(UR5_LIMITS.contain(self._vector(0))),
            Command.PROTECTIVE_STOP: self._protective_stop,
        }
        if number not in actions:
            raise UnsupportedCommandError(f"command {number} of ur-rtde's control script is not modelled by the stand-in")
        return actions[number]()

    def _servo(self) -> None:
        self._arm.servo(self._vector(0), lookahead=self._double(9), gain=self._double(10))

    def _move_joints(self) -> Callable[[], bool] | None:
        self._arm.move_joints(self._vector(0), speed=self._double(6), acceleration=self._double(7))
        return self._started_motion()

    def _move_straight(self) -> Callable[[], bool] | None:
        T_base_flange = pose_to_matrix(self._vector(0)) @ np.linalg.inv(self._tool.T_flange_tcp)
        if not self._arm.move_straight(T_base_flange, speed=self._double(6), acceleration=self._double(7)):
            self._protective_stop()
        return self._started_motion()

    def _started_motion(self) -> Callable[[], bool] | None:
        if self._int(1) == 0:
            return lambda: self._arm.standing
        self._operation = (self._operation + 1) % 128
        self._tell_progress(0)
        return None

    def _stop(self, deceleration: float, waits: bool) -> Callable[[], bool] | None:
        self._arm.stop(deceleration)
        return (lambda: self._arm.standing) if waits else None

    def _set_payload(self) -> None:
        self._tool.payload = self._double(0)
        self._tool.centre_of_gravity = (self._double(1), self._double(2), self._double(3))

    def _set_tcp(self) -> None:
        self._tool.T_flange_tcp = pose_to_matrix(self._vector(0))

    def _get_tcp(self) -> None:
        self._registers.double_out[self._offset : self._offset + 6] = matrix_to_pose(self._tool.T_flange_tcp).tolist()

    def _set_watchdog(self) -> None:
        self.watchdog_period = 1.0 / self._double(0)

    def _say(self, answer: bool) -> None:
        self._registers.int_out[self._offset + 1] = int(answer)

    def _answer(self, state: int) -> None:
        self._registers.int_out[self._offset] = state

    def _tell_progress(self, progress: int) -> None:
        """The register of asynchronous motions: bit 15 while one runs, bits 16 to 22 count writes, bits 24 to 30 name the motion."""
        self._operation_runs = progress >= 0
        self._writes = (self._writes + 1) % 128
        running = _ASYNC_RUNNING + progress if progress >= 0 else 0
        self._registers.int_out[self._offset + 2] = (self._operation << 24) + (self._writes << 16) + running

    def _double(self, index: int) -> float:
        return self._registers.double_in[self._offset + index]

    def _int(self, index: int) -> int:
        return self._registers.int_in[self._offset + index]

    def _vector(self, index: int) -> Float[np.ndarray, "6"]:
        return np.array(self._registers.double_in[self._offset + index : self._offset + index + 6])
