"""The bodies behind the stand-ins of arm and hand: one robot in a physics world, so that what the drivers command really lifts things.

One clock, that of the arm's cycles: on a computer too busy for the world to keep pace, the hand's lines come later, too.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from robot.kinematics import JOINT_NAMES, UR5_LIMITS
from robot.mia_conversion import counts_from_radians, joint_speed, radians_from_counts, reach
from robot.simulated import SERVO_GAIN, PhysicsWorld
from robot.standins.mia_motors import Drive, MotorState

_Answer = TypeVar("_Answer")
_FULL_SPEED = 90.0
"""Of the hand's motors, on the wire."""
_JOINTS = {"j_thumb_fle": ("j_thumb_fle",), "j_index_fle": ("j_index_fle",), "j_mrl_fle": ("j_mrl_fle", "j_ring_fle", "j_little_fle")}
"""On which a motor's strain gauges and current tell the load."""
_LOAD_SECONDS = 0.05
"""Over which it is evened out."""
_SLEEP_AFTER = 6.0
"""Seconds without a new command after which the world's time stands still until the next one: everything has come to rest."""
_HAND_TICK = 0.01
"""Seconds of the world between two steps of the hand's controller, however busy the computer is."""
_PATIENCE = 1.0
"""Seconds for which the hand's controller waits for them."""
_LEAST_SPEED = 0.01
"""rad/s, for a motor that is to stand still."""


class PhysicalRobot:
    """An arm's `Plant` and a hand's `MotorPlant` in one world; the arm's cycles advance its time. Methods may come from any thread."""

    def __init__(self, world: PhysicsWorld, body: int, efforts: Mapping[str, float], on_step: Callable[[], None] = lambda: None):
        """`body` carries the joints of arm and hand; `efforts` are the hand's motors' limits by name (N m).

        `on_step` is called after every time step of the world, while no other thread touches it.
        """
        self._world, self._body, self._efforts, self._on_step = world, body, dict(efforts), on_step
        self._passed = threading.Condition()
        """Time has passed in the world; also the lock on it."""
        self._hand_time = 0.0
        """Of the world, when the hand's controller last took a step, seconds."""
        self._time = 0.0
        """Of the world, seconds since the start."""
        self._before: np.ndarray | None = None
        self._drives: dict[str, Drive] = {}
        self._loads = dict.fromkeys(efforts, 0.0)
        self._quiet = 0.0
        self._arm_efforts = dict(zip(JOINT_NAMES, UR5_LIMITS.effort.tolist(), strict=True))

    def move_arm(self, q: Float[np.ndarray, "6"], seconds: float) -> Float[np.ndarray, "6"]:
        """Commands the arm's joints (radians), lets the time pass, and tells where they are then."""
        before = q if self._before is None else self._before
        self._before = q.copy()
        with self._passed:
            self._time += seconds
            self._passed.notify_all()
            self._quiet = self._quiet + seconds if np.array_equal(q, before) else 0.0
            if self._quiet > _SLEEP_AFTER:
                return self._positions()
            steps = max(round(seconds / self._world.time_step), 1)
            for k in range(steps):
                share = (k + 1) / steps
                led = q + (q - before) / steps * (1 / SERVO_GAIN - 1) - (1 - share) * (q - before)
                targets = dict(zip(JOINT_NAMES, led.tolist(), strict=True))
                self._world.set_joint_targets(self._body, targets, max_efforts=self._arm_efforts)
                self._world.step()
                self._on_step()
            return self._positions()

    def advance(self, seconds: float, drives: Mapping[str, Drive]) -> dict[str, MotorState]:
        """Drives the hand's motors (see `robot.standins.mia.MotorPlant`); the arm's cycles move them, and this waits for those."""
        with self._passed:
            self._passed.wait_for(lambda: self._time >= self._hand_time + min(seconds, _HAND_TICK), _PATIENCE)
            self._hand_time = self._time
            if dict(drives) != self._drives:
                self._drives, self._quiet = dict(drives), 0.0
            states = self._world.joint_states(self._body)
            standing = {name: states[name].position for name in self._efforts} | dict(self._world.motor_positions(self._body))
            told: dict[str, MotorState] = {}
            for motor in self._efforts:
                drive = drives.get(motor)
                if drive is not None:
                    self._drive(motor, drive, standing[motor])
                load = abs(sum(states[joint].effort for joint in _JOINTS[motor])) / self._efforts[motor]
                self._loads[motor] += (min(load, 1.0) - self._loads[motor]) * min(seconds / _LOAD_SECONDS, 1.0)
                told[motor] = MotorState(float(_counts(motor, standing[motor])), load=self._loads[motor])
            return told

    def ask(self, question: Callable[[], _Answer]) -> _Answer:
        """The answer to a question about the world, while no time passes in it."""
        with self._passed:
            return question()

    def _positions(self) -> Float[np.ndarray, "6"]:
        states = self._world.joint_states(self._body)
        return np.array([states[name].position for name in JOINT_NAMES])

    def _drive(self, motor: str, drive: Drive, now: float) -> None:
        """Sets a motor's target, speed and force; `now` is where it stands, radians."""
        speed = drive.percent / 100 * _FULL_SPEED if drive.target is not None else abs(drive.speed or 0.0)
        if drive.target is not None:
            target = radians_from_counts(motor, drive.target)
        else:
            target = now if speed == 0 else reach(motor)[int((drive.speed or 0.0) > 0)]
        velocity = max(abs(joint_speed(motor, speed, _counts(motor, now))), _LEAST_SPEED)
        effort = self._efforts[motor] * drive.percent / 100
        self._world.set_joint_targets(self._body, {motor: target}, max_efforts={motor: effort}, max_velocities={motor: velocity})


def _counts(motor: str, radians: float) -> int:
    lowest, highest = reach(motor)
    return counts_from_radians(motor, min(max(radians, lowest), highest))
