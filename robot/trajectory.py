"""Timed joint motions that never exceed the joints' speed and acceleration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from robot.kinematics import JointLimits

_CHECKED_POINTS = 400
"""Along a curve, at which its speed and acceleration are compared with the limits."""
_SAFETY = 0.99
"""Share of the limits that is used, for what lies between those points."""
_LEAST_SAMPLES = 20
"""Of a motion, however short."""
_RESUMED_EVERY = 10
"""Samples of a motion that is gone on with, of which one is kept as a waypoint."""


@dataclass(frozen=True)
class Trajectory:
    """Joint motion at increasing times, from rest to rest; cubic between the samples."""

    times: Float[np.ndarray, " n"]
    """Seconds; the first is 0."""
    positions: Float[np.ndarray, "n 6"]
    """Radians."""
    velocities: Float[np.ndarray, "n 6"]
    """Radians a second."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.times[-1])

    def sample(self, time: float) -> tuple[Float[np.ndarray, "6"], Float[np.ndarray, "6"]]:
        """Position and velocity at a time; before the start and after the end it stands still."""
        if time >= self.duration:
            return self.positions[-1], np.zeros(6)
        if time <= 0:
            return self.positions[0], self.velocities[0]
        k = int(np.searchsorted(self.times, time, side="right")) - 1
        seconds = float(self.times[k + 1] - self.times[k])
        return _hermite((time - float(self.times[k])) / seconds, seconds, self.positions[k : k + 2], self.velocities[k : k + 2])

    def reversed(self) -> "Trajectory":
        """The same way back."""
        return Trajectory(self.duration - self.times[::-1], self.positions[::-1], -self.velocities[::-1])


def time_path(waypoints: Float[np.ndarray, "n 6"], limits: JointLimits, *, period: float = 0.008, speed_scale: float = 1.0) -> Trajectory:
    """The fastest minimum-jerk motion along a smooth curve through the waypoints that respects the limits.

    The curve is a cubic spline (a straight line for two waypoints). Progress along it is s(u) = 10u^3 - 15u^4 + 6u^5, u = t / T (Flash
    and Hogan 1985): at rest at both ends, in speed and in acceleration. Joint speeds scale with 1 / T, accelerations with 1 / T^2, so the
    least T follows from the curve at T = 1. `speed_scale` in (0, 1] slows everything down; samples are `period` seconds apart.
    """
    waypoints = _without_repeats(waypoints)
    if len(waypoints) == 1:
        return Trajectory(np.zeros(1), waypoints, np.zeros((1, 6)))
    curve = _curve(waypoints)
    _, velocity, acceleration = _unit_motion(curve, np.linspace(0.0, 1.0, _CHECKED_POINTS))
    by_speed = (abs(velocity) / limits.velocity).max()
    by_acceleration = np.sqrt((abs(acceleration) / limits.acceleration).max())
    duration = max(by_speed, by_acceleration) / (_SAFETY * speed_scale)
    u = np.linspace(0.0, 1.0, max(int(np.ceil(duration / period)), _LEAST_SAMPLES) + 1)
    position, velocity, _ = _unit_motion(curve, u)
    return Trajectory(duration * u, position, velocity / duration)


def concatenate(parts: Sequence[Trajectory]) -> Trajectory:
    """One motion after the other; each starts where the one before ended."""
    times, positions, velocities = [parts[0].times], [parts[0].positions], [parts[0].velocities]
    end = parts[0].duration
    for part in parts[1:]:
        if part.duration == 0:
            continue
        times.append(part.times[1:] + end)
        positions.append(part.positions[1:])
        velocities.append(part.velocities[1:])
        end += part.duration
    return Trajectory(np.concatenate(times), np.concatenate(positions), np.concatenate(velocities))


def resume(trajectory: Trajectory, q: Float[np.ndarray, "6"], limits: JointLimits, *, speed_scale: float = 1.0) -> Trajectory:
    """The rest of a motion, from rest, for an arm that stands at `q` near a configuration on its way; radians."""
    nearest = int(np.linalg.norm(trajectory.positions - q, axis=1).argmin())
    rest = trajectory.positions[nearest + 1 :: _RESUMED_EVERY]
    return time_path(np.concatenate([q[None], rest, trajectory.positions[-1:]]), limits, speed_scale=speed_scale)


def _hermite(s: float, seconds: float, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity at a share `s` of a piece `seconds` long: the cubic with these positions and velocities at its ends."""
    (start, end), (leaving, arriving) = positions, seconds * velocities
    way = end - start
    position = start + s * leaving + s**2 * (3 * way - 2 * leaving - arriving) + s**3 * (leaving + arriving - 2 * way)
    velocity = leaving + 2 * s * (3 * way - 2 * leaving - arriving) + 3 * s**2 * (leaving + arriving - 2 * way)
    return position, velocity / seconds


def _without_repeats(waypoints: np.ndarray) -> np.ndarray:
    moved = np.linalg.norm(np.diff(waypoints, axis=0), axis=1) > 1e-9
    return waypoints[np.concatenate([[True], moved])]


def _curve(waypoints: np.ndarray) -> CubicSpline:
    """Through the waypoints, its parameter going from 0 to 1 with the joint-space distance between them."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(waypoints, axis=0), axis=1))])
    return CubicSpline(length / length[-1], waypoints, bc_type="natural" if len(waypoints) > 2 else "not-a-knot")


def _unit_motion(curve: CubicSpline, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, velocity and acceleration along the curve when the whole motion takes one second."""
    progress = u**3 * (10 - 15 * u + 6 * u**2)
    speed = (30 * u**2 * (1 - u) ** 2)[:, None]
    change = (60 * u * (1 - u) * (1 - 2 * u))[:, None]
    slope = curve(progress, 1)
    return curve(progress), slope * speed, curve(progress, 2) * speed**2 + slope * change
