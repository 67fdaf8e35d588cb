"""Joints that one motor moves together: finger mimics, a thumb that follows the index finger, the two fingers of a jaw."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_FULL_LOAD = 0.98
"""Share of the effort limit at which a motor stands still: below 1, so that a saturated servo is felt."""
_EASING = 0.1
"""Share of the effort limit over which a motor slows down before that."""
_OVERLOAD = 1.05
"""Share of the effort limit beyond which its load drives a motor back: gears hold what the motor can no longer move. Without such a
band the command of a saturated motor trembles, and what is held creeps."""
_LEAD = 3.0
"""Time steps of full speed by which a motor may lead the slowest of its joints: enough for a servo to give all its force."""


@dataclass(frozen=True)
class Coupling:
    """How a motor moves one joint: `follower = clip(multiplier * driver + offset, lower, upper)`, or of `|driver|`.

    A motor goes by the name of the joint that it drives first; that joint follows it one to one unless a coupling says otherwise.
    """

    follower: str
    """A joint."""
    driver: str
    """The motor."""
    multiplier: float = 1.0
    offset: float = 0.0
    """Radians or metres."""
    lower: float = -math.inf
    """Radians or metres."""
    upper: float = math.inf
    """Radians or metres."""
    absolute: bool = False
    """Whether the motor's sign is dropped: it then flexes the joint both ways."""

    def position(self, driver_position: float) -> float:
        """Where the follower belongs when the driver is there."""
        return min(max(self._unclipped(driver_position), self.lower), self.upper)

    def slope(self, driver_position: float) -> float:
        """How far the follower moves with the driver there; 0 beyond the bounds."""
        if not self.lower < self._unclipped(driver_position) < self.upper:
            return 0.0
        return self.multiplier * (math.copysign(1.0, driver_position) if self.absolute else 1.0)

    def _unclipped(self, driver_position: float) -> float:
        return self.multiplier * (abs(driver_position) if self.absolute else driver_position) + self.offset


@dataclass
class Drive:
    """A motor with the joints that it moves."""

    followers: dict[str, Coupling]
    """By joint."""
    target: float
    """Where the motor shall go."""
    command: float
    """Where it stands now."""
    effort: float
    """What all joints may give together, as seen at the motor."""
    velocity: float
    """Largest speed."""

    def advance(self, positions: Mapping[str, float], efforts: Mapping[str, float], time_step: float) -> None:
        """Moves the command on by one time step, as a current-limited gear motor would.

        Near the effort limit the motor slows down and stalls, well beyond it it gives way. The mechanism is stiff, so the command waits
        for the slowest joint. `positions` and `efforts` are the joints', by name; efforts add up as seen at the motor, by their powers.
        """
        ahead = self.target - self.command
        towards = math.copysign(1.0, ahead)
        largest = self.velocity * time_step
        effort, lag = 0.0, 0.0
        for name, coupling in self.followers.items():
            slope = coupling.slope(self.command)
            if slope != 0.0:
                effort += slope * efforts[name]
                lag = max(lag, towards * (coupling.position(self.command) - positions[name]) / slope)
        load = towards * effort / self.effort
        reserve = max(_FULL_LOAD - load, 0.0) + min(_OVERLOAD - load, 0.0)
        share = min(reserve / _EASING, _LEAD - lag / largest, 1.0)
        self.command += min(max(ahead, -largest), largest) * max(share, -1.0)
