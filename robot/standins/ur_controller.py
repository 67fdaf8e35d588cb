"""A UR controller without its sockets: modes, safety, program, registers, dashboard, advanced in cycles of 8 ms."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from robot.kinematics import forward_kinematics
from robot.rtde_wire import OUTPUT_TYPES, Value
from robot.standins.ur_arm import BRAKING, ArmModel
from robot.standins.ur_script import MOTION_COMMANDS, ControlScript, Registers, ToolSetup
from robot.ur_pose import matrix_to_pose
from robot.ur_states import RobotMode, RuntimeState, SafetyBits, StatusBits

CYCLE = 0.008
"""Seconds of one cycle of the CB series."""
_SAFETY_MODES = (
    (SafetyBits.FAULT, 9, "FAULT"),
    (SafetyBits.VIOLATION, 8, "VIOLATION"),
    (SafetyBits.ROBOT_EMERGENCY_STOPPED, 7, "ROBOT_EMERGENCY_STOP"),
    (SafetyBits.SYSTEM_EMERGENCY_STOPPED, 6, "SYSTEM_EMERGENCY_STOP"),
    (SafetyBits.SAFEGUARD_STOPPED, 5, "SAFEGUARD_STOP"),
    (SafetyBits.PROTECTIVE_STOPPED, 3, "PROTECTIVE_STOP"),
    (SafetyBits.REDUCED, 2, "REDUCED"),
)
_MOTION_WORDS = re.compile(r"\b(move[jlpc]|servo[jlc]|speed[jl])\s*\(")
_PROGRAM_NAME = re.compile(r"^\s*def\s+(\w+)\s*\(", re.MULTILINE)
_OFFSET = re.compile(r"reg_offset_int = # int register offset\s*\n?\s*(\d+)")


@dataclass(frozen=True)
class Identity:
    """What the controller says it is."""

    model: str = "UR5"
    version: tuple[int, int, int, int] = (3, 15, 8, 106339)
    """PolyScope: major, minor, bugfix, build."""
    remote_control: bool = True
    """Of an e-Series controller; one of the CB series has no such mode."""

    @property
    def is_e_series(self) -> bool:
        """PolyScope 5."""
        return self.version[0] >= 5


@dataclass(frozen=True)
class Record:
    """Something that happened."""

    clock: float
    """`time.monotonic()`, seconds."""
    kind: str
    """`motion` for a command that moves the arm, `command` for any other, else what happened."""
    detail: str


@dataclass(frozen=True)
class Moment:
    """The arm at the end of a cycle."""

    clock: float
    """`time.monotonic()`, seconds."""
    q: Float[np.ndarray, "6"]
    """Radians."""
    qd: Float[np.ndarray, "6"]
    """Radians a second."""


@dataclass
class Controller:
    """State and what changes it; the stand-in's loop is the only thread that calls it."""

    arm: ArmModel
    identity: Identity = field(default_factory=Identity)
    tool: ToolSetup = field(default_factory=ToolSetup)
    registers: Registers = field(default_factory=Registers)
    robot_mode: RobotMode = RobotMode.RUNNING
    safety: SafetyBits = SafetyBits.NORMAL
    runtime: RuntimeState = RuntimeState.STOPPED
    tool_force: Float[np.ndarray, "6"] = field(default_factory=lambda: np.zeros(6))
    """What `actual_TCP_force` says, N and N m."""
    lies: dict[str, Callable[[Value], Value]] = field(default_factory=dict)
    """What is told of an output field instead of the truth, by its name."""
    timestamp: float = 0.0
    """Seconds since the controller was started."""
    records: list[Record] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    _script: ControlScript | None = None
    _last_write: float = 0.0

    @property
    def expects_setpoint(self) -> bool:
        """Whether a client steers the arm from cycle to cycle."""
        return self.runtime is RuntimeState.PLAYING and self._script is not None and self._script.servoing

    def cycle(self) -> None:
        """Program, arm, clock."""
        self.timestamp += CYCLE
        if self.runtime is RuntimeState.PLAYING and self._script is not None:
            self._run_script(self._script)
        self.arm.step(CYCLE)
        if self.robot_mode is RobotMode.RUNNING and SafetyBits.ROBOT_EMERGENCY_STOPPED in self.safety and self.arm.is_still:
            self.robot_mode = RobotMode.POWER_OFF
        self.moments.append(Moment(time.monotonic(), self.arm.q.copy(), self.arm.qd.copy()))

    def note(self, kind: str, detail: str = "") -> None:
        """Keeps a record."""
        self.records.append(Record(time.monotonic(), kind, detail))

    def write_input(self, name: str, value: Value) -> None:
        """What a client writes; registers only, the rest is accepted and has no effect."""
        match = re.fullmatch(r"input_(int|double)_register_(\d+)", name)
        if match is None:
            return
        registers = self.registers.int_in if match[1] == "int" else self.registers.double_in
        registers[int(match[2])] = value
        if match[1] == "int" and self._script is not None and int(match[2]) == self._script.command_register:
            self._last_write = time.monotonic()

    def note_command(self, number: int) -> None:
        """Keeps a record of a command that arrived, whether or not the script will take it."""
        if number:
            self.note("motion" if number in MOTION_COMMANDS else "command", str(number))

    def start_script(self, text: str) -> None:
        """What the script ports do with a program: it replaces the one that runs."""
        name = _PROGRAM_NAME.search(text)
        if name is None or name[1] != "rtde_control":
            self.note("motion" if _MOTION_WORDS.search(text) else "script", text.strip()[:80])
            return
        if self.robot_mode is not RobotMode.RUNNING or not self.safety & (SafetyBits.NORMAL | SafetyBits.REDUCED):
            self.note("script refused", self.robot_mode.name)
            return
        offset = _OFFSET.search(text)
        self._script = ControlScript(self.registers, self.arm, self.tool, int(offset[1]) if offset else 0, self.protective_stop)
        self._last_write = time.monotonic()
        self.runtime = RuntimeState.PLAYING
        self.note("program", name[1])

    def stop_program(self, why: str) -> None:
        """The arm slows down and the program is gone."""
        if self.runtime is not RuntimeState.STOPPED:
            self.note("program stopped", why)
        self.runtime, self._script = RuntimeState.STOPPED, None
        if not self.arm.standing:
            self.arm.stop(BRAKING / 3)

    def pause_program(self) -> None:
        """The arm slows down, the program stands."""
        self.runtime = RuntimeState.PAUSED
        self.arm.stop(BRAKING / 3)

    def protective_stop(self) -> None:
        """Something was met, or a limit; the program is paused."""
        self.safety = SafetyBits.PROTECTIVE_STOPPED | SafetyBits.STOPPED_DUE_TO_SAFETY
        self.runtime = RuntimeState.PAUSED if self._script is not None else RuntimeState.STOPPED
        self.arm.stop(BRAKING)
        self.note("protective stop")

    def emergency_stop(self) -> None:
        """A red button."""
        self.safety = SafetyBits.ROBOT_EMERGENCY_STOPPED | SafetyBits.EMERGENCY_STOPPED | SafetyBits.STOPPED_DUE_TO_SAFETY
        self.stop_program("emergency stop")
        self.arm.stop(BRAKING)
        self.note("emergency stop")

    def safeguard_stop(self) -> None:
        """A door."""
        self.safety = SafetyBits.SAFEGUARD_STOPPED | SafetyBits.STOPPED_DUE_TO_SAFETY
        self.runtime = RuntimeState.PAUSED if self._script is not None else RuntimeState.STOPPED
        self.arm.stop(BRAKING)
        self.note("safeguard stop")

    def power_off(self) -> None:
        """Of the joints."""
        self.robot_mode = RobotMode.POWER_OFF
        self.stop_program("power off")
        self.arm.stop(BRAKING)
        self.note("power off")

    def recover(self) -> None:
        """What a person does at the pendant after a stop."""
        self.safety, self.robot_mode = SafetyBits.NORMAL, RobotMode.RUNNING
        self.arm.blocked, self.tool_force = False, np.zeros(6)
        self.stop_program("recovery")

    def field(self, name: str) -> Value:
        """The value of an output field, as it is told."""
        value = self._fields[name]() if name in self._fields else _nothing(name, self.registers)
        return self.lies[name](value) if name in self.lies else value

    def snapshot(self) -> "Controller":
        """A copy whose fields stay as they are now, for a stream that is frozen."""
        arm = ArmModel(self.arm.q)
        arm.qd, arm.target = self.arm.qd.copy(), self.arm.target.copy()
        return replace(self, arm=arm, records=[], moments=[])

    def answer(self, line: str) -> str:
        """The dashboard server's answer to a line, without the end of line."""
        words = line.strip()
        answers: dict[str, Callable[[], str]] = {
            "PolyscopeVersion": lambda: f"URSoftware {'.'.join(map(str, self.identity.version))} (Oct 01 2022)",
            "get robot model": lambda: self.identity.model,
            "robotmode": lambda: f"Robotmode: {self.robot_mode.name}",
            "safetymode": lambda: f"Safetymode: {self._safety_mode()[1]}",
            "safetystatus": lambda: f"Safetystatus: {self._safety_mode()[1]}",
            "programState": lambda: f"{self.runtime.name} {'rtde_control' if self._script else '<unnamed>'}",
            "running": lambda: f"Program running: {str(self.runtime is RuntimeState.PLAYING).lower()}",
            "stop": self._dashboard_stop,
            "pause": lambda: (self.pause_program(), "Pausing program")[1],
            "quit": lambda: "Disconnected",
        }
        if self.identity.is_e_series:
            answers["is in remote control"] = lambda: str(self.identity.remote_control).lower()
            answers["get serial number"] = lambda: "20205500000"
        return answers[words]() if words in answers else f"could not understand: '{words}'"

    def _dashboard_stop(self) -> str:
        self.stop_program("dashboard")
        return "Stopped"

    def _run_script(self, script: ControlScript) -> None:
        period = script.watchdog_period
        if period is not None and time.monotonic() - self._last_write > period:
            self.stop_program("watchdog")
        elif not script.cycle():
            self.stop_program("stop script")

    def _safety_mode(self) -> tuple[int, str]:
        return next(((number, name) for bit, number, name in _SAFETY_MODES if bit in self.safety), (1, "NORMAL"))

    @property
    def _fields(self) -> dict[str, Callable[[], Value]]:
        arm = self.arm
        return {
            "timestamp": lambda: self.timestamp,
            "actual_q": lambda: tuple(arm.q),
            "actual_qd": lambda: tuple(arm.qd),
            "target_q": lambda: tuple(arm.target),
            "actual_TCP_pose": lambda: tuple(matrix_to_pose(forward_kinematics(arm.q) @ self.tool.T_flange_tcp)),
            "actual_TCP_speed": lambda: tuple(arm.flange_speed()),
            "actual_TCP_force": lambda: tuple(self.tool_force),
            "robot_mode": lambda: int(self.robot_mode),
            "safety_mode": lambda: self._safety_mode()[0],
            "safety_status_bits": lambda: int(self.safety),
            "runtime_state": lambda: int(self.runtime),
            "robot_status_bits": lambda: int(self._status()),
            "speed_scaling": lambda: 1.0,
            "target_speed_fraction": lambda: 1.0,
            "payload": lambda: self.tool.payload,
            "payload_cog": lambda: self.tool.centre_of_gravity,
            "joint_mode": lambda: (253,) * 6,
        }

    def _status(self) -> StatusBits:
        powered = StatusBits.POWER_ON if self.robot_mode is RobotMode.RUNNING else StatusBits(0)
        return powered | (StatusBits.PROGRAM_RUNNING if self.runtime is RuntimeState.PLAYING else StatusBits(0))


def _nothing(name: str, registers: Registers) -> Value:
    """An output register, or the zero of a field that the model has nothing to say about."""
    match = re.fullmatch(r"output_(int|double)_register_(\d+)", name)
    if match is not None:
        return (registers.int_out if match[1] == "int" else registers.double_out)[int(match[2])]
    kind = OUTPUT_TYPES[name]
    return (0.0,) * (3 if kind == "VECTOR3D" else 6) if kind.startswith("VECTOR") else 0
