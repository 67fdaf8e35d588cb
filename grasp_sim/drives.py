"""Joints that one motor moves together: finger mimics, a thumb that follows the index finger, the two fingers of a jaw."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_FULL_LOAD = 0.98
"""Share of the effort limit at which a motor stands still: below 1, so that a saturated servo is felt."""
_EASING = 0.1
"""Share of the effort limit over which a motor slows down before that."""
_LEAD = 2.0
"""Time steps of full speed by which a command may lead the slowest of its joints: enough for a servo to give all its force."""


@dataclass(frozen=True)
class Coupling:
    """A joint that a mechanism drives from another one: `follower = clip(multiplier * driver + offset, lower, upper)`."""

    follower: str
    driver: str
    multiplier: float = 1.0
    offset: float = 0.0
    """Radians or metres."""
    lower: float = -np.inf
    """Radians or metres."""
    upper: float = np.inf
    """Radians or metres."""

    def position(self, driver_position: float) -> float:
        """Where the follower belongs when the driver is there."""
        return float(np.clip(self.multiplier * driver_position + self.offset, self.lower, self.upper))

    def slope(self, driver_position: float) -> float:
        """How far the follower moves with the driver there: the multiplier, or 0 beyond the bounds."""
        return self.multiplier if self.lower < self.multiplier * driver_position + self.offset < self.upper else 0.0


@dataclass
class Drive:
    """A driving joint with the joints that it moves along."""

    followers: dict[str, Coupling]
    target: float
    """Where the driver shall go."""
    command: float
    """Where its servo stands now."""
    effort: float
    """What all joints may give together, as seen at the driver."""
    velocity: float

    def advance(self, effort: float, lag: float, time_step: float) -> None:
        """Moves the command on by one time step, as a current-limited gear motor would.

        `effort` is what all joints give, seen at the driver: near the limit the motor slows down, beyond it it gives way. `lag` is how
        far the slowest joint is behind the command (in the driver's unit, positive towards the target): the mechanism is stiff, so the
        command waits for it.
        """
        ahead = self.target - self.command
        largest = self.velocity * time_step
        load = effort * np.sign(ahead) / self.effort
        share = min((_FULL_LOAD - load) / _EASING, _LEAD - lag / largest, 1.0)
        self.command += float(np.clip(ahead, -largest, largest)) * max(share, -1.0)

    def lag(self, driver_position: float, follower_positions: Mapping[str, float]) -> float:
        """How far the slowest joint is behind the command, in the driver's unit, positive towards the target."""
        lags = [self.command - driver_position]
        for name, coupling in self.followers.items():
            slope = coupling.slope(self.command)
            if slope != 0:
                lags.append((coupling.position(self.command) - follower_positions[name]) / slope)
        return max(lag * np.sign(self.target - self.command) for lag in lags)

    def total_effort(self, driver_effort: float, follower_efforts: Mapping[str, float]) -> float:
        """What all joints give together, as seen at the driver (by their powers at a common motion)."""
        return driver_effort + sum(coupling.slope(self.command) * follower_efforts[name] for name, coupling in self.followers.items())
