"""What a Universal Robots controller says about itself: modes, safety bits, and what of it lets the arm move.

Source: the RTDE guide (robot_mode, runtime_state, robot_status_bits, safety_status_bits).
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from robot.stops import StopReason


class RobotMode(IntEnum):
    """`robot_mode`."""

    NO_CONTROLLER = -1
    DISCONNECTED = 0
    CONFIRM_SAFETY = 1
    BOOTING = 2
    POWER_OFF = 3
    POWER_ON = 4
    IDLE = 5
    BACKDRIVE = 6
    RUNNING = 7
    UPDATING_FIRMWARE = 8


class RuntimeState(IntEnum):
    """`runtime_state`, of the program on the controller."""

    STOPPING = 0
    STOPPED = 1
    PLAYING = 2
    PAUSING = 3
    PAUSED = 4
    RESUMING = 5


class SafetyBits(IntFlag):
    """`safety_status_bits`."""

    NORMAL = 1 << 0
    REDUCED = 1 << 1
    PROTECTIVE_STOPPED = 1 << 2
    RECOVERY = 1 << 3
    SAFEGUARD_STOPPED = 1 << 4
    SYSTEM_EMERGENCY_STOPPED = 1 << 5
    ROBOT_EMERGENCY_STOPPED = 1 << 6
    EMERGENCY_STOPPED = 1 << 7
    VIOLATION = 1 << 8
    FAULT = 1 << 9
    STOPPED_DUE_TO_SAFETY = 1 << 10


class StatusBits(IntFlag):
    """`robot_status_bits`."""

    POWER_ON = 1 << 0
    PROGRAM_RUNNING = 1 << 1
    TEACH_BUTTON_PRESSED = 1 << 2
    POWER_BUTTON_PRESSED = 1 << 3


_EMERGENCY = SafetyBits.SYSTEM_EMERGENCY_STOPPED | SafetyBits.ROBOT_EMERGENCY_STOPPED | SafetyBits.EMERGENCY_STOPPED


@dataclass(frozen=True)
class Hindrance:
    """Why the arm must not move."""

    reason: StopReason
    words: str
    """For a person."""


def find_hindrance(robot_mode: int, safety_bits: int, runtime_state: int) -> Hindrance | None:
    """What of the controller's state (one that `is_known_state`) forbids motion, the gravest first; None where it may move."""
    safety = SafetyBits(safety_bits)
    if safety & _EMERGENCY:
        return Hindrance(StopReason.EMERGENCY_STOP, "an emergency stop button is pressed")
    if safety & (SafetyBits.VIOLATION | SafetyBits.FAULT):
        return Hindrance(StopReason.SAFETY_FAULT, "read the log on the pendant before anything else")
    if safety & SafetyBits.PROTECTIVE_STOPPED:
        return Hindrance(StopReason.PROTECTIVE_STOP, "the arm met something or was asked for too much; look, then unlock it on the pendant")
    if safety & SafetyBits.SAFEGUARD_STOPPED:
        return Hindrance(StopReason.SAFEGUARD_STOP, "a safeguard (door, light curtain) is open")
    if safety & SafetyBits.STOPPED_DUE_TO_SAFETY or not safety & (SafetyBits.NORMAL | SafetyBits.REDUCED):
        return Hindrance(StopReason.SAFETY_FAULT, f"safety status {safety.name or int(safety)}")
    if robot_mode != RobotMode.RUNNING:
        return Hindrance(
            StopReason.NOT_RUNNING, f"robot mode {_name(RobotMode, robot_mode)}; power it on and release the brakes on the pendant"
        )
    if runtime_state != RuntimeState.PLAYING:
        return Hindrance(StopReason.PROGRAM_STOPPED, f"the program is {_name(RuntimeState, runtime_state)}")
    return None


def is_known_state(robot_mode: int, safety_bits: int) -> bool:
    """Whether these are numbers that a controller can send."""
    return 0 < safety_bits < 2 * SafetyBits.STOPPED_DUE_TO_SAFETY and robot_mode in frozenset(RobotMode)


def _name(kind: type[IntEnum], number: int) -> str:
    return next((member.name for member in kind if member == number), str(number))
