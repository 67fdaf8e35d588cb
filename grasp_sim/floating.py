"""A hand that floats on a stiff mount in a world: it enters in its pre-shape, moves straight, closes, leaves."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from grasp_sim.engines import TrialWorld
from grasp_sim.hands import Hand
from invgraphics.grasp import Grasp

_LOOKS = 0.02
"""Seconds between two looks at contacts and joints."""
_OVERLAP = 1e-4
"""Metres of overlap that count."""
_PLACES = 0.008
"""Metres between the places at which a free way is looked at: less than any finger is long."""
_FREE = 1e-3
"""Metres from everything at which a way is free."""
_STILL = 0.1
"""Share of its closing speed below which a motor stands still."""


class FloatingHand:
    """One hand in a world, in place of an arm with a hand."""

    def __init__(self, world: TrialWorld, hand: Hand, grasp: Grasp, T_world_hand: Float[np.ndarray, "4 4"]):
        """Puts the hand there in the grasp's pre-shape."""
        self.world, self.hand, self.grasp = world, hand, grasp
        self._to_root = np.linalg.inv(hand.T_root_hand)
        self._pose = T_world_hand.copy()
        self._every = max(1, round(_LOOKS / world.time_step))
        self.body = world.add_urdf(hand.urdf, T_world_hand @ self._to_root, self_collision=True)
        world.set_friction(self.body, hand.friction, spinning=hand.torsional_friction)
        world.couple_joints(self.body, hand.couplings)
        world.set_joint_positions(self.body, grasp.preshape)
        world.ignore_own_overlaps(self.body)
        self._send(grasp.preshape, {name: hand.motors[name].velocity for name in grasp.preshape})
        self._mount = world.attach(self.body, T_world_hand @ self._to_root)

    def leave(self) -> None:
        """Takes the hand out of the world."""
        self.world.detach(self._mount)
        self.world.remove(self.body)

    def overlaps(self, others: tuple[int, ...]) -> bool:
        """Whether it overlaps any of these bodies where it stands."""
        return any(contact.distance < -_OVERLAP for other in others for contact in self.world.near(self.body, other, 0.0))

    def come_in(self, path: Float[np.ndarray, "3"], speed: float, touch_force: float, others: tuple[int, ...]) -> bool:
        """Like `move`, past `others` that stand still; where nothing is in the way the hand is put at its end without simulating it."""
        if not self._way_is_free(path, others):
            return self.move(path, speed, touch_force)
        self._pose[:3, 3] += path
        self.world.set_pose(self.body, self._pose @ self._to_root)
        self.world.move_mount(self._mount, self._pose @ self._to_root)
        return True

    def _way_is_free(self, path: Float[np.ndarray, "3"], others: tuple[int, ...]) -> bool:
        """Looks from the end, where most is near; leaves the hand where it was."""
        place, free = self._pose.copy(), True
        for share in np.linspace(1, 0, max(2, int(np.ceil(np.linalg.norm(path) / _PLACES)))):
            place[:3, 3] = self._pose[:3, 3] + share * path
            self.world.set_pose(self.body, place @ self._to_root)
            free = free and not any(self.world.near(self.body, other, _FREE) for other in others)
            if not free:
                break
        self.world.set_pose(self.body, self._pose @ self._to_root)
        return free

    def move(
        self,
        path: Float[np.ndarray, "3"],
        speed: float,
        touch_force: float = np.inf,
        ended: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Moves straight along `path` (m, world) at `speed` (m/s).

        False where it came to press on other bodies with more than `touch_force` newtons, or `ended`, which is asked every 20 ms, said
        so; it stays there then.
        """
        steps = max(1, round(float(np.linalg.norm(path)) / speed / self.world.time_step))
        start = self._pose[:3, 3].copy()
        for k in range(1, steps + 1):
            self._pose[:3, 3] = start + path * (k / steps)
            self.world.move_mount(self._mount, self._pose @ self._to_root)
            self.world.step()
            if k % self._every == 0 or k == steps:
                if np.isfinite(touch_force) and self._pressure() > touch_force:
                    return False
                if ended():
                    return False
        return True

    def close(self, closing_time: float, stall_time: float, look: Callable[[], None] = lambda: None) -> None:
        """Closes until the motors have stood still for `stall_time`, at the latest 1 s after `closing_time` (s).

        All motors go at one speed, as far as they are quick enough: that at which the longest way to a closed position takes
        `closing_time`. So one that stops early stands before the others press. `look` is called every 20 ms.
        """
        closed, motors = self.grasp.closed, self.hand.motors
        speed = max(1e-3, *(abs(closed[name] - self.grasp.preshape[name]) / closing_time for name in closed))
        speeds = {name: speed for name in closed}
        self._send(closed, {name: min(speeds[name], motors[name].velocity) for name in closed})
        span = self._every * self.world.time_step
        window = max(1, round(stall_time / span))
        seen = [self.motor_joints()]
        for _ in range(round((closing_time + 1.0) / span)):
            self.world.step(self._every)
            look()
            seen = [*seen[-window:], self.motor_joints()]
            moved = {name: abs(seen[-1][name] - seen[0][name]) for name in closed}
            if len(seen) > window and all(moved[name] < _STILL * speeds[name] * window * span for name in closed):
                return

    @property
    def height(self) -> float:
        """Of the hand's frame, metres."""
        return float(self._pose[2, 3])

    def motor_joints(self) -> dict[str, float]:
        """Positions of the joints that the motors are named after."""
        states = self.world.joint_states(self.body)
        return {name: states[name].position for name in self.hand.motors}

    def _pressure(self) -> float:
        """Sum of the contact forces on other bodies, newtons."""
        return float(sum(contact.force for contact in self.world.contacts(self.body) if contact.body_b != self.body))

    def _send(self, targets: dict[str, float], velocities: dict[str, float]) -> None:
        efforts = {name: self.grasp.efforts.get(name, self.hand.motors[name].effort) for name in targets}
        self.world.set_joint_targets(self.body, targets, max_efforts=efforts, max_velocities=velocities)
