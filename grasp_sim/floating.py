"""A hand that floats on a stiff mount in a world: it enters in its pre-shape, moves straight, closes, leaves."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from grasp_sim.hands import Hand
from grasp_sim.world import World
from invgraphics.grasp import Grasp

_LOOKS = 0.02
"""Seconds between two looks at contacts and joints."""
_OVERLAP = 1e-4
"""Metres of overlap that count."""
_STILL = 0.05
"""Share of its closing speed below which a motor stands still."""


class FloatingHand:
    """One hand in a world, in place of an arm with a hand."""

    def __init__(self, world: World, hand: Hand, grasp: Grasp, T_world_hand: Float[np.ndarray, "4 4"]):
        """Puts the hand there in the grasp's pre-shape."""
        self.world, self.hand, self.grasp = world, hand, grasp
        self._to_root = np.linalg.inv(hand.T_root_hand)
        self._pose = T_world_hand.copy()
        self._every = max(1, round(_LOOKS / world.time_step))
        self.body = world.add_urdf(hand.urdf, T_world_hand @ self._to_root, self_collision=True)
        world.set_friction(self.body, hand.friction, spinning=hand.torsional_friction)
        world.couple_joints(self.body, hand.couplings)
        world.set_joint_positions(self.body, grasp.preshape)
        self._send(grasp.preshape, {name: hand.motors[name].velocity for name in grasp.preshape})
        self._mount = world.attach(self.body, T_world_hand @ self._to_root)

    def leave(self) -> None:
        """Takes the hand out of the world."""
        self.world.detach(self._mount)
        self.world.remove(self.body)

    def overlaps(self, others: tuple[int, ...]) -> bool:
        """Whether it overlaps any of these bodies where it stands."""
        return any(contact.distance < -_OVERLAP for other in others for contact in self.world.near(self.body, other, 0.0))

    def move(self, path: Float[np.ndarray, "3"], speed: float, touch_force: float = np.inf) -> bool:
        """Moves straight along `path` (m, world) at `speed` (m/s).

        False where it came to press on other bodies with more than `touch_force` newtons; it stays there then.
        """
        steps = max(1, round(float(np.linalg.norm(path)) / speed / self.world.time_step))
        start = self._pose[:3, 3].copy()
        for k in range(1, steps + 1):
            self._pose[:3, 3] = start + path * (k / steps)
            self.world.move_mount(self._mount, self._pose @ self._to_root)
            self.world.step()
            if np.isfinite(touch_force) and (k % self._every == 0 or k == steps) and self._pressure() > touch_force:
                return False
        return True

    def close(self, closing_time: float, stall_time: float, look: Callable[[], None] = lambda: None) -> None:
        """Closes until the motors have stood still for `stall_time`, at the latest 1 s after `closing_time` (s).

        `closing_time` is for the whole way to the closed position, as far as the motors are quick enough. `look` is called every 20 ms.
        """
        closed, motors = self.grasp.closed, self.hand.motors
        speeds = {name: max(abs(closed[name] - self.grasp.preshape[name]) / closing_time, 1e-3) for name in closed}
        self._send(closed, {name: min(speeds[name], motors[name].velocity) for name in closed})
        span = self._every * self.world.time_step
        still, before = 0.0, self.motor_joints()
        for _ in range(round((closing_time + 1.0) / span)):
            self.world.step(self._every)
            look()
            after = self.motor_joints()
            still = still + span if all(abs(after[name] - before[name]) < _STILL * speeds[name] * span for name in closed) else 0.0
            before = after
            if still >= stall_time:
                return

    def motor_joints(self) -> dict[str, float]:
        """Positions of the joints that the motors are named after."""
        states = self.world.joint_states(self.body)
        return {name: states[name].position for name in self.hand.motors}

    def _pressure(self) -> float:
        """Sum of the contact forces on other bodies, newtons."""
        return float(sum(contact.force for contact in self.world.contacts(self.body) if contact.body_b != self.body))

    def _send(self, targets: dict[str, float], velocities: dict[str, float]) -> None:
        efforts = {name: self.hand.motors[name].effort for name in targets}
        self.world.set_joint_targets(self.body, targets, max_efforts=efforts, max_velocities=velocities)
