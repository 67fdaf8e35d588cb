"""An arm that is slowed to what is allowed and stops when another device fails; and what stands in for eyes while it works."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from robot.execute import Arm
from robot.guards import SpeedLimits
from robot.kinematics import UR5_LIMITS, JointLimits, forward_kinematics
from robot.trajectory import Trajectory

_LOOK_SECONDS = 0.02


class InterlockedArm:
    """An `Arm` whose motions are slowed to the allowed speed and broken off as soon as a check raises `MotionStoppedError`."""

    def __init__(self, arm: Arm, speed: SpeedLimits, checks: Sequence[Callable[[], None]] = (), limits: JointLimits = UR5_LIMITS):
        """`checks` are asked many times a second while the arm moves or waits; `limits` are the joints' full speeds."""
        self._arm, self._speed, self._checks, self._limits = arm, speed, tuple(checks), limits

    def joint_positions(self) -> Float[np.ndarray, "6"]:
        """Radians."""
        return self._arm.joint_positions()

    def follow(self, trajectory: Trajectory, until: Callable[[], bool] | None = None, **options: float) -> bool:
        """Moves at the allowed speed; see `Arm.follow`. `options` are the arm's own, such as `touch` of `robot.ur5.UR5.follow`."""
        self._check()

        def stop() -> bool:
            self._check()
            return until is not None and until()

        return self._arm.follow(self._speed.slow_down(trajectory, self._limits), stop, **options)

    def wait(self, seconds: float) -> None:
        """Holds its place."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check()
            self._arm.wait(min(_LOOK_SECONDS, left))

    def _check(self) -> None:
        for check in self._checks:
            check()


class PresumedWatch:
    """Where an object must be that no camera follows: where it was seen, and with the flange for as long as the hand holds it."""

    def __init__(self, arm: Arm, holds: Callable[[], bool], point: Float[np.ndarray, "3"], grace: float = 0.3):
        """`point` is where it was seen, base frame, metres; `holds` asks the hand.

        For `grace` seconds a hand that says no may be wrong: fingers that find their places let go for a moment.
        """
        self._arm, self._holds, self._point, self._grace = arm, holds, point, grace
        self._in_flange: np.ndarray | None = None
        self._held = -np.inf

    def position(self) -> Float[np.ndarray, "3"]:
        """Base frame, metres."""
        T_base_flange = forward_kinematics(self._arm.joint_positions())
        now = time.monotonic()
        if self._holds():
            self._held = now
        if now - self._held > self._grace:
            self._in_flange = None
        elif self._in_flange is None:
            self._in_flange = T_base_flange[:3, :3].T @ (self._point - T_base_flange[:3, 3])
        else:
            self._point = T_base_flange[:3, :3] @ self._in_flange + T_base_flange[:3, 3]
        return self._point
