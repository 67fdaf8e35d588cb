"""A simulated robot's motion, kept while it happens, for the viewer."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from grasp_sim.world import World
from invgraphics.recorded_motion import RecordedMotion

_STILL_M, _STILL_RAD = 1e-3, 0.01
"""An object that never moves or turns by more than this is said to have stayed."""


class MotionRecorder:
    """Samples a world at even times. Call `step` after every time step, `mark` when a phase is reached."""

    def __init__(self, world: World, robot: int, bodies: Mapping[int, int], *, seconds: float = 0.05):
        """`bodies` by the index of their object in the scene; a sample every `seconds` of simulated time."""
        self._world, self._robot, self._bodies, self._seconds = world, robot, dict(bodies), seconds
        self._start = self._next = world.time
        self._times: list[float] = []
        self._joints: list[dict[str, float]] = []
        self._poses: dict[int, list[np.ndarray]] = {index: [] for index in bodies}
        self._phases: list[tuple[float, str]] = []
        self.step()

    def step(self) -> None:
        """Takes a sample if it is time for one."""
        if self._world.time >= self._next - 1e-9:
            self._take_sample()

    def mark(self, phase: str) -> None:
        """A phase has been reached."""
        time = self._world.time - self._start
        self._phases.append((time, phase))
        if time > self._times[-1]:
            self._take_sample()

    def _take_sample(self) -> None:
        self._next = self._world.time + self._seconds
        self._times.append(self._world.time - self._start)
        self._joints.append({name: state.position for name, state in self._world.joint_states(self._robot).items()})
        for index, body in self._bodies.items():
            self._poses[index].append(self._world.pose(body))

    def motion(
        self,
        urdf: Path,
        T_world_base: Float[np.ndarray, "4 4"],
        T_world_objects: Mapping[int, Float[np.ndarray, "4 4"]],
        outcome: str,
    ) -> RecordedMotion:
        """What was recorded, the simulation's frame being the robot's base frame.

        Args:
            urdf: the robot's.
            T_world_base: the base in the scene's world frame, metres.
            T_world_objects: where the scene has its objects, by index: they move as the bodies did, from there.
            outcome: how it ended, in words.
        """
        names = tuple(self._joints[0])
        positions = np.array([[joints[name] for name in names] for joints in self._joints])
        T_base_world = np.linalg.inv(T_world_base)
        moved = {}
        for index, poses in self._poses.items():
            motions = np.array(poses) @ np.linalg.inv(poses[0])
            if _moves(motions, poses[0]):
                moved[index] = T_world_base @ motions @ T_base_world @ T_world_objects[index]
        return RecordedMotion(urdf, T_world_base, names, np.array(self._times), positions, moved, tuple(self._phases), outcome)


def _moves(motions: Float[np.ndarray, "n 4 4"], start: Float[np.ndarray, "4 4"]) -> bool:
    """Whether rigid motions of a body that starts somewhere take it, or turn it, anywhere worth telling."""
    ways = np.linalg.norm((motions @ start)[:, :3, 3] - start[:3, 3], axis=1)
    cosines = (np.trace(motions[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    return bool(ways.max() > _STILL_M or np.arccos(np.clip(cosines, -1, 1)).max() > _STILL_RAD)
