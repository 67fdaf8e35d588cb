"""The arm behind the stand-in of a UR controller: six joint servos with limits of speed and acceleration, advanced cycle by cycle."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from robot.kinematics import UR5_LIMITS, JointLimits, forward_kinematics, jacobian
from robot.motion import MotionSettings, linear_path

_FASTEST = np.full(6, np.pi)
"""Joint speeds that the drives of a UR5 reach, rad/s."""
_STRONGEST = np.full(6, 25.0)
"""Joint accelerations of the model's drives, rad/s^2."""
BRAKING = 15.0
"""Deceleration of a stop by the safety system, rad/s^2."""
_GAIN = 300.0
"""`servoj`'s default gain, at which the model's lag is the lookahead time."""
_STILL = 1e-3
"""Joint speed of an arm at rest, rad/s."""
_PATH_STEP = 0.01
"""Metres between the poses of a straight motion."""


@dataclass(frozen=True)
class PathMotion:
    """A motion of `movej` or `movel`: along waypoints, speed a trapezoid over time."""

    waypoints: Float[np.ndarray, "n 6"]
    """Evenly spaced, radians."""
    length: float
    """Radians of the joint that moves most (`movej`), or metres (`movel`)."""
    speed: float
    """Length units a second."""
    acceleration: float
    """Length units a second squared."""

    def duration(self) -> float:
        """Seconds."""
        ramp = min(self.speed / self.acceleration, np.sqrt(self.length / self.acceleration))
        return 2 * ramp + max(self.length - self.acceleration * ramp**2, 0.0) / self.speed

    def position(self, time: float) -> Float[np.ndarray, "6"]:
        """Joint positions, radians."""
        total = self.duration()
        ramp = min(self.speed / self.acceleration, np.sqrt(self.length / self.acceleration))
        if time < ramp:
            travelled = self.acceleration * time**2 / 2
        elif time < total - ramp:
            travelled = self.acceleration * ramp * (time - ramp / 2)
        else:
            travelled = self.length - self.acceleration * max(total - time, 0.0) ** 2 / 2
        place = travelled / max(self.length, 1e-12) * (len(self.waypoints) - 1)
        k = int(np.clip(place, 0, max(len(self.waypoints) - 2, 0)))
        following = self.waypoints[min(k + 1, len(self.waypoints) - 1)]
        return self.waypoints[k] + np.clip(place - k, 0.0, 1.0) * (following - self.waypoints[k])


Plant = Callable[[np.ndarray, float], np.ndarray]
"""From commanded joint positions (radians) and a time (s) to where the joints are after that time (radians)."""


class ArmModel:
    """Where the joints are and where they are going. Not thread-safe: the controller's loop owns it."""

    def __init__(self, q: Float[np.ndarray, "6"], limits: JointLimits = UR5_LIMITS, plant: Plant | None = None):
        """At rest at `q` (radians). With a `plant` the joints are where it says, else where the model's servos bring them."""
        self.q, self.qd = q.astype(float), np.zeros(6)
        self.target = self.q.copy()
        self.blocked = False
        """Something holds the joints fast."""
        self._limits = limits
        self._plant = plant
        self._commanded, self._commanded_speed = self.q.copy(), np.zeros(6)
        self._advance: Callable[[float], np.ndarray] = self._rest
        """From a time step to the joint speeds wanted at its end."""

    @property
    def standing(self) -> bool:
        """Whether it is at rest and nothing asks it to move."""
        return self._advance == self._rest and self.is_still

    @property
    def is_still(self) -> bool:
        """Whether no joint turns."""
        return bool(abs(self.qd).max() < _STILL)

    def servo(self, target: Float[np.ndarray, "6"], lookahead: float, gain: float) -> None:
        """`servoj`: towards a target that will soon be replaced by the next; it stays the target until then."""
        self.target = target.astype(float)
        rate = gain / _GAIN / lookahead
        self._advance = lambda dt: (self.target - self._commanded) * min(rate, 1 / dt)

    def move_joints(self, target: Float[np.ndarray, "6"], speed: float, acceleration: float) -> None:
        """`movej`: the joint that moves most reaches `speed` (rad/s)."""
        length = float(abs(target - self._commanded).max())
        self._follow(PathMotion(np.stack([self._commanded, target]), length, speed, acceleration))

    def move_straight(self, T_base_flange: Float[np.ndarray, "4 4"], speed: float, acceleration: float) -> bool:
        """`movel`: the flange along a straight line (m/s); false where the arm cannot follow it."""
        T_from = forward_kinematics(self._commanded)
        path = linear_path(T_from, T_base_flange, self._commanded, MotionSettings(limits=self._limits, cartesian_step=_PATH_STEP))
        if path is None:
            return False
        self._follow(PathMotion(path, max(float(np.linalg.norm(T_base_flange[:3, 3] - T_from[:3, 3])), 1e-9), speed, acceleration))
        return True

    def stop(self, deceleration: float) -> None:
        """`stopj` and the safety system's stops: every joint slows down by `deceleration` (rad/s^2)."""

        def brake(dt: float) -> np.ndarray:
            slower = np.sign(self._commanded_speed) * np.maximum(abs(self._commanded_speed) - deceleration * dt, 0.0)
            if not slower.any():
                self.target = self._commanded.copy()
                self._advance = self._rest
            return slower

        self._advance = brake

    def step(self, dt: float) -> None:
        """One cycle of the controller."""
        speed = np.clip(self._advance(dt), -_FASTEST, _FASTEST)
        change = np.clip(speed - self._commanded_speed, -_STRONGEST * dt, _STRONGEST * dt)
        self._commanded_speed = self._commanded_speed + change
        self._commanded = self._commanded + self._commanded_speed * dt
        before = self.q
        if self.blocked:
            self.q = before.copy()
        else:
            self.q = self._commanded.copy() if self._plant is None else self._plant(self._commanded, dt)
        self.qd = (self.q - before) / dt

    def displace(self, offset: Float[np.ndarray, "6"]) -> None:
        """Shifts the joints at once, as a slipped encoder would tell it (radians)."""
        self.q, self._commanded, self.target = self.q + offset, self._commanded + offset, self.target + offset

    def flange_speed(self) -> Float[np.ndarray, "6"]:
        """m/s and rad/s in the base frame."""
        return jacobian(self.q) @ self.qd

    def _follow(self, motion: PathMotion) -> None:
        elapsed = 0.0

        def advance(dt: float) -> np.ndarray:
            nonlocal elapsed
            elapsed += dt
            self.target = motion.position(elapsed)
            if elapsed >= motion.duration() + dt:
                self._advance = self._rest
            return (self.target - self._commanded) / dt

        self._advance = advance

    def _rest(self, dt: float) -> np.ndarray:
        return np.zeros(6)
