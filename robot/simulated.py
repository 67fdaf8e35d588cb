"""The simulated twins of arm and hand, and the collision checker, over a physics world.

The world is any object with the methods of `PhysicsWorld` (as `grasp_sim.world.World` has them); arm and hand are one articulated body in
it, built from `robot.assembly`. The arm's base frame is the world frame.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from robot.kinematics import JOINT_NAMES, UR5_LIMITS, JointLimits
from robot.stops import MotionStoppedError, StopReason
from robot.trajectory import Trajectory

ARM_LINKS = ("base_link", "shoulder_link", "upper_arm_link", "forearm_link", "wrist_1_link", "wrist_2_link", "wrist_3_link")
_WATCH_SECONDS = 1 / 60
"""Between two looks at what might stop a motion."""
_BRAKING_SECONDS = 0.2
"""In which a stopped arm comes to rest."""
_FLANGE_LINK = "wrist_3_link"
"""The link that carries the hand."""
_QUIET_SECONDS = 0.1
_STILL_SHARE = 0.1
"""Of the commanded speed, below which a motor stands still."""
_LEAST_SPEED = 0.01
"""Radians a second, for a motor that has nowhere to go."""
SERVO_GAIN = 0.2
"""Share of its error that the world's position servo undoes in a time step; leads the targets so that the arm does not trail them."""


@runtime_checkable
class PhysicsWorld(Protocol):
    """What the twins need of a physics world."""

    time_step: float

    def step(self, count: int = 1) -> None:
        """Advances `count` time steps."""
        ...

    def centre_of_mass(self, body: int) -> Float[np.ndarray, "3"]:
        """World frame, metres."""
        ...

    def pose(self, body: int) -> Float[np.ndarray, "4 4"]:
        """`T_world_body`."""
        ...

    def set_pose(self, body: int, T_world_body: Float[np.ndarray, "4 4"]) -> None:
        """Puts a body somewhere, at rest."""
        ...

    def link_pose(self, body: int, link: str) -> Float[np.ndarray, "4 4"]:
        """`T_world_link`."""
        ...

    def joint_states(self, body: int) -> Mapping[str, Any]:
        """Objects with `position` (rad), `velocity` (rad/s) and `effort` (N m) by joint name."""
        ...

    def motor_positions(self, body: int) -> Mapping[str, float]:
        """Where the motors stand that drive coupled joints, by name."""
        ...

    def set_joint_positions(self, body: int, positions: Mapping[str, float]) -> None:
        """Puts joints somewhere, at rest."""
        ...

    def set_joint_targets(
        self,
        body: int,
        targets: Mapping[str, float],
        *,
        max_efforts: Mapping[str, float] | None = None,
        max_velocities: Mapping[str, float] | None = None,
    ) -> None:
        """Position servos with limits of effort and speed."""
        ...

    def near(self, body: int, other: int, distance: float) -> Sequence[Any]:
        """Objects with `link_a` and `link_b` for links of the two bodies that are nearer than `distance`."""
        ...


class Simulation:
    """Time in a physics world, shared by the twins in it."""

    def __init__(self, world: PhysicsWorld, on_step: Callable[[], None] = lambda: None):
        """`on_step` is called after every time step."""
        self.world = world
        self._on_step = on_step

    def step(self) -> None:
        """One time step."""
        self.world.step()
        self._on_step()

    def run(self, seconds: float) -> None:
        """As many time steps as the seconds hold."""
        for _ in range(round(seconds / self.world.time_step)):
            self.step()


class SimulatedUR5:
    """Position servos with the joints' torque limits; stopped as soon as it lags too far behind."""

    def __init__(self, simulation: Simulation, body: int, *, limits: JointLimits = UR5_LIMITS, largest_lag: float = 0.15):
        """`body` has the joints of the UR5; `largest_lag` is in radians."""
        self._simulation = simulation
        self._body = body
        self._efforts = dict(zip(JOINT_NAMES, limits.effort.tolist(), strict=True))
        self._largest_lag = largest_lag
        self._command(self.joint_positions())

    def joint_positions(self) -> Float[np.ndarray, "6"]:
        """Radians."""
        states = self._simulation.world.joint_states(self._body)
        return np.array([states[name].position for name in JOINT_NAMES])

    def follow(self, trajectory: Trajectory, until: Callable[[], bool] | None = None) -> bool:
        """Follows in steps of the world's time; raises `MotionStoppedError` where a joint lags more than the largest lag.

        Where `until`, asked 60 times a second, says so, the arm stops where it is, and the value is false.
        """
        time_step = self._simulation.world.time_step
        watch_every = max(1, round(_WATCH_SECONDS / time_step))
        for k, time in enumerate(np.arange(time_step, trajectory.duration + 2 * time_step, time_step)):
            position, velocity = trajectory.sample(float(time))
            self._command(position + velocity * time_step * (1 / SERVO_GAIN - 1))
            self._simulation.step()
            self._guard(position)
            if until is not None and k % watch_every == 0 and until():
                self._command(self.joint_positions())
                self._simulation.run(_BRAKING_SECONDS)
                return False
        return True

    def wait(self, seconds: float) -> None:
        """Holds its place."""
        self._simulation.run(seconds)

    def _command(self, q: np.ndarray) -> None:
        targets = dict(zip(JOINT_NAMES, q.tolist(), strict=True))
        self._simulation.world.set_joint_targets(self._body, targets, max_efforts=self._efforts)

    def _guard(self, q: np.ndarray) -> None:
        actual = self.joint_positions()
        lag = abs(actual - q)
        if lag.max() > self._largest_lag:
            self._command(actual)
            raise MotionStoppedError(f"{JOINT_NAMES[int(lag.argmax())]} was {np.degrees(lag.max()):.0f} degrees behind", StopReason.LAG)


class SimulatedHand:
    """A hand's motors in the simulation, with their limits of speed and force; the world knows what each motor moves."""

    def __init__(
        self,
        simulation: Simulation,
        body: int,
        efforts: Mapping[str, float],
        velocities: Mapping[str, float],
        *,
        seconds: float = 0.6,
        timeout: float = 3.0,
    ):
        """`efforts` (N m) and `velocities` (rad/s) are the motors' limits by name.

        All motors start at one speed, as far as they are quick enough: that at which the longest way takes `seconds`. A motion ends once
        they have stood still for 0.1 s, or after `timeout` seconds.
        """
        self._simulation = simulation
        self._body = body
        self._efforts = dict(efforts)
        self._velocities = dict(velocities)
        self._seconds = seconds
        self._timeout = timeout
        self._command(self.motor_positions(), self._velocities)

    def motor_positions(self) -> dict[str, float]:
        """Radians, by motor name."""
        world = self._simulation.world
        states = world.joint_states(self._body)
        return {name: states[name].position for name in self._efforts} | world.motor_positions(self._body)

    def move_to(self, targets: Mapping[str, float]) -> None:
        """Moves the motors and returns when they stand still, at their targets or against something."""
        unknown = set(targets) - set(self._efforts)
        if unknown:
            raise ValueError(f"the hand has no motor {sorted(unknown)[0]!r}; it has {', '.join(self._efforts)}")
        before = self.motor_positions()
        speed = max(_LEAST_SPEED, *(abs(target - before[name]) / self._seconds for name, target in targets.items()))
        speeds = {name: min(speed, self._velocities[name]) for name in targets}
        self._command(targets, speeds)
        time_step = self._simulation.world.time_step
        window = max(1, round(_QUIET_SECONDS / time_step))
        seen = [before]
        for _ in range(round(self._timeout / time_step)):
            self._simulation.step()
            seen = [*seen[-window:], self.motor_positions()]
            moved = {name: abs(seen[-1][name] - seen[0][name]) for name in targets}
            if len(seen) > window and all(moved[name] < _STILL_SHARE * speeds[name] * _QUIET_SECONDS for name in targets):
                return

    def _command(self, targets: Mapping[str, float], speeds: Mapping[str, float]) -> None:
        self._simulation.world.set_joint_targets(self._body, targets, max_efforts=self._efforts, max_velocities=speeds)


class SimulatedWatch:
    """Looks up where a body of the world is."""

    def __init__(self, world: PhysicsWorld, body: int):
        """`body` is the object that is to be picked."""
        self._world = world
        self._body = body

    def position(self) -> Float[np.ndarray, "3"]:
        """Of its centre of mass, base frame, metres."""
        return self._world.centre_of_mass(self._body)


class WorldCollisionChecker:
    """Places the arm in a world kept for planning and asks what is near."""

    def __init__(
        self,
        world: PhysicsWorld,
        body: int,
        obstacles: Mapping[int, str],
        *,
        margin: float = 0.005,
        margins: Mapping[int, float] | None = None,
    ):
        """`obstacles` names the bodies to keep `margin` metres away from, or what `margins` says by body.

        The hand stays as it is posed in the world.
        """
        self._world = world
        self._body = body
        self._obstacles = dict(obstacles)
        self._margins = dict.fromkeys(obstacles, margin) | dict(margins or {})
        self._carried: tuple[int, np.ndarray, np.ndarray] | None = None

    def carry(self, body: int | None, q_grasp: Float[np.ndarray, "6"] | None = None) -> None:
        """From now on a body moves with the hand that holds it in `q_grasp`, and is checked, too; None puts it back where it was."""
        if self._carried is not None:
            self._world.set_pose(self._carried[0], self._carried[2])
            self._carried = None
        if body is not None and q_grasp is not None:
            self._world.set_joint_positions(self._body, dict(zip(JOINT_NAMES, q_grasp.tolist(), strict=True)))
            T_world_body = self._world.pose(body)
            T_link_body = np.linalg.inv(self._world.link_pose(self._body, _FLANGE_LINK)) @ T_world_body
            self._carried = (body, T_link_body, T_world_body)

    def collision(self, q: Float[np.ndarray, "6"], *, ignoring: Collection[int] = ()) -> str | None:
        """The first pair found too near; the arm's base, which is bolted down, counts only against the arm itself."""
        self._world.set_joint_positions(self._body, dict(zip(JOINT_NAMES, q.tolist(), strict=True)))
        for other, name in self._obstacles.items():
            if other in ignoring:
                continue
            for point in self._world.near(self._body, other, self._margins[other]):
                if point.link_a != ARM_LINKS[0]:
                    return f"{point.link_a} and {name}"
        touching = self._carried_collision()
        if touching is not None:
            return touching
        for point in self._world.near(self._body, self._body, 0.0):
            if abs(_place(point.link_a) - _place(point.link_b)) >= 2:
                return f"{point.link_a} and {point.link_b}"
        return None

    def _carried_collision(self) -> str | None:
        """What the carried object is too near to."""
        if self._carried is None:
            return None
        body, T_link_body, _ = self._carried
        self._world.set_pose(body, self._world.link_pose(self._body, _FLANGE_LINK) @ T_link_body)
        for other, name in self._obstacles.items():
            if other != body and self._world.near(body, other, self._margins[other]):
                return f"what is carried and {name}"
        return None


def _place(link: str) -> int:
    """How many joints lie between a link and the base; what the flange carries moves with the last link."""
    return ARM_LINKS.index(link) if link in ARM_LINKS else len(ARM_LINKS) - 1
