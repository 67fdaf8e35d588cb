"""The Mia hand's motors and joints: counts of the motors, radians of the joints that they drive, and the joints that follow those.

Facts: Prensilia's transmissions (github.com/Prensilia-srl/mia_hand_ros_pkgs-release, `mia_hand_ros_control`): gear ratios, the counts'
scale, and for the index, whose one motor flexes the finger and swings the thumb, a table of twelve straight pieces. The pieces do not
quite meet (they miss each other by at most 1.2 mrad) and the published inverse is another fit (8 counts off at worst); here the pieces
are joined at the middle of each gap, so that the way there and the way back are one function.
"""

from collections.abc import Mapping

import numpy as np

from robot.mia_protocol import COUNT_LIMITS, FINGERS, INDEX, MOTORS, THUMB

MOTOR_SPEED_UNIT = 65.4167
"""Radians a second of the motor's shaft for one unit of speed on the wire (a turn a 96 ms)."""

_REDUCTIONS = {THUMB: 2560.0, FINGERS: 1280.0, INDEX: 1280.0}
_SHAFT_PER_COUNT = {THUMB: 11.3895, FINGERS: 7.0074, INDEX: 8.673}
"""Radians of the motor's shaft for a count."""
_INDEX_SHAFT_OFFSET = 580.8284

_ALPHA_KNOTS = np.array([-0.85, -0.60, -0.28, -0.09, 0.04, 0.17, 0.58, 0.88, 1.16, 1.49, 1.88])
"""Angles of the index's crank (radians) at which one piece ends and the next begins."""
_PIECE_SLOPES = np.array(
    [-0.782148766, -1.030583742, -1.223687559, -1.168471422, -0.911231289, -0.601663029,
     -0.197880520, -0.520051295, -0.719741469, -0.839379324, -0.942927437, -1.084424530]
)  # fmt: skip
_PIECE_OFFSETS = np.array(
    [0.439866539, 0.227645537, 0.111052937, 0.126181750, 0.150182743, 0.138771586,
     0.071139840, 0.256841159, 0.431658129, 0.569988623, 0.723948799, 0.989586451]
)  # fmt: skip

OPPOSITION_MULTIPLIER, OPPOSITION_OFFSET = 0.95238, -0.0052884
OPPOSITION_LIMITS = (-0.6083, -0.02)
OVERRUN = 0.05
"""Radians by which a target may lie beyond what the counts reach: the description's limits are those of the joints."""


def _build_index_table() -> tuple[np.ndarray, np.ndarray]:
    """Counts, ascending, and the index's joint positions (radians, ascending) at the ends and at every knot."""
    lowest, highest = COUNT_LIMITS[INDEX]
    ends = (_INDEX_SHAFT_OFFSET - _SHAFT_PER_COUNT[INDEX] * np.array([highest, lowest])) / _REDUCTIONS[INDEX]
    lines = _PIECE_SLOPES[:, None] * _ALPHA_KNOTS + _PIECE_OFFSETS[:, None]
    joined = [(lines[k, k] + lines[k + 1, k]) / 2 for k in range(len(_ALPHA_KNOTS))]
    first = _PIECE_SLOPES[0] * ends[0] + _PIECE_OFFSETS[0]
    last = _PIECE_SLOPES[-1] * ends[1] + _PIECE_OFFSETS[-1]
    alpha = np.concatenate([ends[:1], _ALPHA_KNOTS, ends[1:]])
    counts = (_INDEX_SHAFT_OFFSET - alpha * _REDUCTIONS[INDEX]) / _SHAFT_PER_COUNT[INDEX]
    return counts[::-1], np.array([first, *joined, last])[::-1]


_INDEX_COUNTS, _INDEX_RADIANS = _build_index_table()


def radians_from_counts(motor: str, counts: float | int) -> float:
    """Where the driven joint stands; for the index negative where it flexes with the thumb opposed."""
    if motor == INDEX:
        return float(np.interp(counts, _INDEX_COUNTS, _INDEX_RADIANS))
    return _SHAFT_PER_COUNT[motor] * counts / _REDUCTIONS[motor]


def counts_from_radians(motor: str, radians: float | int) -> int:
    """The nearest count for a joint position.

    Raises:
        ValueError: the position lies more than `OVERRUN` beyond what the motor reaches.
    """
    lowest, highest = reach(motor)
    if not lowest - OVERRUN <= radians <= highest + OVERRUN:
        raise ValueError(f"{motor} cannot go to {radians:.3f} rad; it reaches {lowest:.3f} to {highest:.3f} rad")
    if motor == INDEX:
        return round(float(np.interp(radians, _INDEX_RADIANS, _INDEX_COUNTS)))
    least, most = COUNT_LIMITS[motor]
    return min(max(round(radians * _REDUCTIONS[motor] / _SHAFT_PER_COUNT[motor]), least), most)


def reach(motor: str) -> tuple[float, float]:
    """The least and the greatest joint position that a motor's counts stand for, radians."""
    lowest, highest = COUNT_LIMITS[motor]
    return radians_from_counts(motor, lowest), radians_from_counts(motor, highest)


def count_rate(speed: float | int, motor: str) -> float:
    """Counts a second at a speed of the wire (-90 to 90)."""
    return MOTOR_SPEED_UNIT * speed / _SHAFT_PER_COUNT[motor]


def joint_speed(motor: str, speed: float | int, counts: float | int) -> float:
    """Radians a second of the driven joint at a speed of the wire (-90 to 90); for the index it depends on where it stands (counts)."""
    return count_rate(speed, motor) * _radians_per_count(motor, counts)


def motor_speed(motor: str, radians_per_second: float | int, counts: float | int) -> float:
    """The speed of the wire that moves the driven joint so fast, from where it stands (counts); not rounded, not limited."""
    return radians_per_second / _radians_per_count(motor, counts) * _SHAFT_PER_COUNT[motor] / MOTOR_SPEED_UNIT


def _radians_per_count(motor: str, counts: float | int) -> float:
    if motor != INDEX:
        return _SHAFT_PER_COUNT[motor] / _REDUCTIONS[motor]
    piece = int(np.clip(np.searchsorted(_INDEX_COUNTS, counts, side="right") - 1, 0, len(_INDEX_COUNTS) - 2))
    rise, run = np.diff(_INDEX_RADIANS)[piece], np.diff(_INDEX_COUNTS)[piece]
    return float(rise / run)


def joints_from_motors(motors: Mapping[str, float]) -> dict[str, float]:
    """Every joint's position from the motors' (radians): what follows the index and the fingers comes along.

    The index joint flexes by the motor's magnitude; the thumb's opposition follows the motor with its sign.
    """
    index = motors[INDEX]
    opposition = float(np.clip(OPPOSITION_MULTIPLIER * index + OPPOSITION_OFFSET, *OPPOSITION_LIMITS))
    fingers = {name: motors[FINGERS] for name in (FINGERS, "j_ring_fle", "j_little_fle")}
    return {THUMB: motors[THUMB], INDEX: abs(index), "j_thumb_opp": opposition} | fingers


def motors_from_joints(joints: Mapping[str, float]) -> dict[str, float]:
    """The motors' positions (radians) for joint positions: the sign of the index motor is where the thumb is opposed.

    Within 0.016 rad below zero the thumb does not tell the sign, and the positive one is taken.
    """
    opposed = joints["j_thumb_opp"] < OPPOSITION_LIMITS[1] - 1e-9
    index = -joints[INDEX] if opposed else joints[INDEX]
    return {THUMB: joints[THUMB], FINGERS: joints[FINGERS], INDEX: index}


def describe_counts(counts: Mapping[str, int]) -> str:
    """Motor positions for a person, counts and radians."""
    return ", ".join(f"{name} {counts[name]} ({radians_from_counts(name, counts[name]):.2f} rad)" for name in MOTORS if name in counts)
