"""The motors of the Mia stand-in: limited speed, end stops, and obstacles that hold them up."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

_LIMITS = {"j_thumb_fle": (0.0, 255.0), "j_mrl_fle": (0.0, 255.0), "j_index_fle": (-255.0, 255.0)}
_COUNTS_PER_SHAFT_RADIAN = {"j_thumb_fle": 1 / 11.3895, "j_mrl_fle": 1 / 7.0074, "j_index_fle": 1 / 8.673}
_SHAFT_RADIANS_PER_SPEED = 65.4167
_FULL_SPEED = 90.0
_LOAD_SECONDS = 0.05
"""Time in which a held up motor comes to press as hard as it may."""


@dataclass(frozen=True)
class Drive:
    """What a motor is told: to a target, or at a speed."""

    target: float | None = None
    """Counts."""
    speed: float | None = None
    """Of the wire, -90 to 90, where there is no target."""
    percent: float = 50.0
    """Of full speed (for a target) and of full force."""

    def reversed(self, counts: float) -> "Drive":
        """The same the wrong way, for a motor that stands at `counts`."""
        if self.target is None:
            return replace(self, speed=-(self.speed or 0.0))
        return replace(self, target=2 * counts - self.target)


@dataclass(frozen=True)
class MotorState:
    """Where a motor stands."""

    counts: float
    speed: float = 0.0
    """Of the wire, -90 to 90."""
    load: float = 0.0
    """How hard it presses against what holds it up, as a share of full force."""


class BlockableMotors:
    """Three motors that go where they are told, as fast as they may, as far as they can."""

    def __init__(self, counts: Mapping[str, float] | None = None):
        """`counts` is where they start; zero unless given."""
        self._states = {name: MotorState((counts or {}).get(name, 0.0)) for name in _LIMITS}
        self._blocks: dict[str, float] = {}

    def block(self, motor: str, at: float | int) -> None:
        """Something stands in a motor's way at a position (counts), in the direction away from zero."""
        self._blocks[motor] = float(at)

    def advance(self, seconds: float, drives: Mapping[str, Drive]) -> Mapping[str, MotorState]:
        """Moves every motor for some seconds."""
        for name, state in self._states.items():
            self._states[name] = self._moved(name, state, drives.get(name), seconds)
        return dict(self._states)

    def _moved(self, name: str, state: MotorState, drive: Drive | None, seconds: float) -> MotorState:
        if drive is None or seconds == 0.0:
            return replace(state, speed=0.0)
        full = _FULL_SPEED * _SHAFT_RADIANS_PER_SPEED * _COUNTS_PER_SHAFT_RADIAN[name]
        if drive.target is None:
            wanted = state.counts + full * (drive.speed or 0.0) / _FULL_SPEED * seconds
        else:
            step = full * drive.percent / 100 * seconds
            wanted = state.counts + min(max(drive.target - state.counts, -step), step)
        lowest, highest = self._range(name)
        counts = min(max(wanted, lowest), highest)
        goal = drive.percent / 100 if counts != wanted and abs(wanted) > abs(counts) else 0.0
        load = state.load + (goal - state.load) * min(seconds / _LOAD_SECONDS, 1.0)
        return MotorState(counts, speed=(counts - state.counts) / seconds / full * _FULL_SPEED, load=load)

    def _range(self, name: str) -> tuple[float, float]:
        lowest, highest = _LIMITS[name]
        at = self._blocks.get(name)
        if at is None:
            return lowest, highest
        return (max(lowest, at), highest) if at < 0 else (lowest, min(highest, at))
