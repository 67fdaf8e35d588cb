"""The Mia hand's serial line, byte by byte: commands of 16 characters and what ends them, replies line by line.

Facts: Prensilia's drivers for ROS (github.com/Prensilia-srl/mia_hand_ros_pkgs-release, `mia_hand_driver`) and ROS 2
(bitbucket.org/prensiliasrl/mia_hand_ros2_pkgs). A command starts with `@`; a newer hand acknowledges every command with `<`, the
command's characters after its `@`, and a line feed, an older one only the keep-alive. A stream's line is, for positions,

    enc : +00120 ; +00085 ; -00030 ; ...

that is six characters and then a sign and five digits every nine characters. Numbers are the motors' own: positions in counts
(0 to 255, the index from -255), speeds in turns of the motor a 96 ms (-90 to 90), currents and strain gauges as raw readings.
"""

import re
from dataclasses import dataclass
from enum import Enum

BAUD_RATE = 115_200
COMMAND_LENGTH = 16
COMMAND_END = b"*\r"
KEEP_ALIVE = "@?AreYouPlugged?"

THUMB, FINGERS, INDEX = "j_thumb_fle", "j_mrl_fle", "j_index_fle"
MOTORS = (THUMB, FINGERS, INDEX)
"""Motors in the order of their numbers on the wire (1, 2, 3) and in the streams. The names are those of the hand's description."""
COUNT_LIMITS = {THUMB: (0, 255), FINGERS: (0, 255), INDEX: (-255, 255)}
SPEED_LIMIT = 90
CURRENT_LIMIT_PERCENT = 80

GRASPS = {"cylindrical": "C", "pinch": "P", "lateral": "L", "spherical": "S", "tridigital": "T"}
GAUGES = ("mrl_a", "index_a", "index_b", "thumb_a", "thumb_b", "mrl_b")
"""Strain gauges in the order of their stream, two a finger.

Prensilia's two drivers agree on the places but not on which of a finger's two is the normal and which the tangential one; so they are
only `a` and `b` here, and what is judged is their length together.
"""

_FIRST_FIELD, _FIELD_STEP = 6, 9
_FIELD = re.compile(rb"[+-][ 0-9][0-9]{4}")
_ECHOED = slice(1, 15)


class Stream(Enum):
    """What the hand can send all the time; the value is the stream's letter in a command."""

    POSITION = "P"
    SPEED = "S"
    CURRENT = "C"
    GAUGE = "A"


_STREAMS = {ord("e"): Stream.POSITION, ord("s"): Stream.SPEED, ord("c"): Stream.CURRENT, ord("a"): Stream.GAUGE}


class GarbledLineError(ValueError):
    """A line that no hand sends. The message shows it."""


@dataclass(frozen=True)
class Acknowledgement:
    """The hand has got a command."""

    echo: str
    """The command's characters 1 to 14."""

    def answers(self, command: str) -> bool:
        """Whether it is for that command."""
        return self.echo == command[_ECHOED]


@dataclass(frozen=True)
class Reading:
    """One line of a stream."""

    stream: Stream
    values: tuple[int, ...]
    """In the order of `MOTORS`, or of `GAUGES`."""


def position_command(motor: str, counts: int, percent: int) -> str:
    """Go to a position (counts) at a percentage (1 to 99) of full speed, which is also that of full force once something is in the way."""
    number = _number(motor)
    _require_between("position of " + motor, counts, *COUNT_LIMITS[motor])
    _require_between("speed and force", percent, 1, 99)
    return f"@{number}P{_sign(counts)}0{abs(counts):03d}{percent:02d}......"


def speed_command(motor: str, speed: int, current_percent: int = 50) -> str:
    """Turn at a speed (-90 to 90, positive closes) until told otherwise, with at most a percentage (0 to 80) of the current."""
    _require_between("speed of " + motor, speed, -SPEED_LIMIT, SPEED_LIMIT)
    _require_between("current", current_percent, 0, CURRENT_LIMIT_PERCENT)
    return f"@{_number(motor)}S{_sign(speed)}....{abs(speed):02d}{current_percent:02d}...."


def force_command(motor: str, force: int, percent: int = 80) -> str:
    """Press with a force (0 to 99, the hand's own unit) at a percentage (1 to 99) of full speed."""
    _require_between("force of " + motor, force, 0, 99)
    _require_between("speed", percent, 1, 99)
    return f"@{_number(motor)}F+....{force:02d}{percent:02d}...."


def open_grasp_command(grasp: str, percent: int = 50) -> str:
    """All motors to the rest positions of a grasp, at a percentage (1 to 99) of full speed and force."""
    return _grasp_command(grasp, "a100", percent)


def close_grasp_command(grasp: str, percent: int = 50) -> str:
    """All motors to the closed positions of a grasp."""
    return _grasp_command(grasp, "A100", percent)


def part_grasp_command(grasp: str, closing_percent: int, percent: int = 50) -> str:
    """All motors to a part (0 to 100 percent) of the way from the rest positions of a grasp to its closed ones."""
    _require_between("closing", closing_percent, 0, 100)
    return _grasp_command(grasp, f"M{closing_percent:03d}", percent)


def grasp_reference_command(grasp: str, motor: str, rest: int, closed: int, delay_percent: int = 0) -> str:
    """Sets where a motor rests and closes in a grasp (counts), and the part of the grasp's time that it waits before it moves.

    The hand forgets it when switched off.
    """
    number = _number(motor)
    for name, counts in (("rest", rest), ("closed", closed)):
        _require_between(f"{name} position of {motor}", counts, *COUNT_LIMITS[motor])
    _require_between("delay", delay_percent, 0, 100)
    return f"@{number}G{_letter(grasp)}{_sign(rest)}{abs(rest):03d}{_sign(closed)}{abs(closed):03d}+{delay_percent:03d}"


def stream_command(stream: Stream, on: bool) -> str:
    """Switches a stream."""
    return f"@AD{stream.value}{int(on)}..........."


def encode(command: str) -> bytes:
    """The bytes of a command on the wire."""
    if len(command) != COMMAND_LENGTH or not command.isascii() or not command.startswith("@"):
        raise ValueError(f"{command!r} is not a command of {COMMAND_LENGTH} characters that starts with @")
    return command.encode("ascii") + COMMAND_END


def decode(line: bytes) -> Acknowledgement | Reading:
    """What a line says, without its line feed.

    Raises:
        GarbledLineError: it is neither an acknowledgement nor a line of a stream.
    """
    line = line.rstrip(b"\r")
    if line[:1] == b"<" and len(line) == COMMAND_LENGTH and line.isascii():
        return Acknowledgement(line[_ECHOED].decode("ascii"))
    stream = _STREAMS.get(line[0]) if line else None
    if stream is None:
        raise GarbledLineError(f"no line of the hand starts like {line[:40]!r}")
    count = len(GAUGES) if stream is Stream.GAUGE else len(MOTORS)
    return Reading(stream, tuple(_field(line, k) for k in range(count)))


def _field(line: bytes, place: int) -> int:
    start = _FIRST_FIELD + _FIELD_STEP * place
    text = line[start : start + 6]
    if not _FIELD.fullmatch(text):
        raise GarbledLineError(f"field {place} of {line[:80]!r} is not a sign and five digits")
    return int(text.replace(b" ", b""))


def _grasp_command(grasp: str, how: str, percent: int) -> str:
    _require_between("speed and force", percent, 1, 99)
    return f"@AG{_letter(grasp)}{how}{percent:02d}......"


def _number(motor: str) -> int:
    if motor not in MOTORS:
        raise ValueError(f"the hand has no motor {motor!r}; it has {', '.join(MOTORS)}")
    return MOTORS.index(motor) + 1


def _letter(grasp: str) -> str:
    if grasp not in GRASPS:
        raise ValueError(f"the hand knows no grasp {grasp!r}; it knows {', '.join(GRASPS)}")
    return GRASPS[grasp]


def _sign(value: int) -> str:
    return "-" if value < 0 else "+"


def _require_between(what: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ValueError(f"{what} is {value}; it must lie between {lowest} and {highest}")
