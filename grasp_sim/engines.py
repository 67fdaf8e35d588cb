"""Physics engines behind one protocol: what a trial needs of a world, and which engines there are."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from grasp_sim.drives import Coupling
from grasp_sim.records import Contact, JointState
from grasp_sim.solids import Solid
from invgraphics.errors import InputError

ENGINES = ("pybullet", "mujoco")


@runtime_checkable
class TrialWorld(Protocol):
    """A simulated world in which one hand tries grasps. `grasp_sim.world.World` says what each method does."""

    time_step: float
    plane: int | None

    def __enter__(self) -> "TrialWorld": ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...

    def add_plane(self) -> int:
        """The immovable plane z = 0, solid below."""
        ...

    def add_mesh(self, mesh: Solid, T_world_body: Float[np.ndarray, "4 4"], *, density: float, friction: float, drawn: bool) -> int:
        """A solid of uniform density (kg/m^3) that collides as its convex pieces."""
        ...

    def add_urdf(self, path: str | Path, T_world_base: Float[np.ndarray, "4 4"], *, self_collision: bool) -> int:
        """A hand, its root link frame there; all its joints are free."""
        ...

    def remove(self, body: int) -> None:
        """Takes a body out of the world."""
        ...

    def set_friction(self, body: int, friction: float, *, spinning: float = 0.0) -> None:
        """Friction coefficient of a body; `spinning` is the torsional one, metres."""
        ...

    def set_mass(self, body: int, mass: float, moments: Float[np.ndarray, "3"]) -> None:
        """Mass (kg) and principal moments of inertia (kg m^2)."""
        ...

    def set_pose(self, body: int, T_world_body: Float[np.ndarray, "4 4"]) -> None:
        """Puts a body somewhere, at rest."""
        ...

    def centre_of_mass(self, body: int) -> Float[np.ndarray, "3"]:
        """World frame, metres."""
        ...

    def attach(self, body: int, T_world_body: Float[np.ndarray, "4 4"]) -> int:
        """Holds a body at a pose by a stiff mount, which it returns."""
        ...

    def move_mount(self, mount: int, T_world_body: Float[np.ndarray, "4 4"]) -> None:
        """Moves a mount and what it holds."""
        ...

    def detach(self, mount: int) -> None:
        """Takes a mount away."""
        ...

    def ignore_contacts(self, body: int, other: int, ignored: bool = True) -> None:
        """From now on two bodies pass through each other, or no longer do."""
        ...

    def forget_contacts(self) -> None:
        """Forgets the contacts of bodies that have been taken apart."""
        ...

    def ignore_own_overlaps(self, body: int) -> None:
        """From now on links of a body that overlap pass through each other."""
        ...

    def couple_joints(self, body: int, couplings: Iterable[Coupling]) -> None:
        """From now on motors move these joints."""
        ...

    def set_joint_positions(self, body: int, positions: Mapping[str, float]) -> None:
        """Puts motors, with all joints that they drive, somewhere, at rest."""
        ...

    def set_joint_targets(
        self, body: int, targets: Mapping[str, float], *, max_efforts: Mapping[str, float], max_velocities: Mapping[str, float]
    ) -> None:
        """Motors move towards their targets with limited effort and speed, and hold them."""
        ...

    def joint_states(self, body: int) -> dict[str, JointState]:
        """Of every movable joint."""
        ...

    def step(self, count: int = 1) -> None:
        """Advances time steps."""
        ...

    def contacts(self, body: int, other: int | None = None) -> Sequence[Contact]:
        """Where a body touched others in the last step, with forces."""
        ...

    def near(self, body: int, other: int, distance: float) -> Sequence[Contact]:
        """Where two bodies are nearer than a distance (at most 1 mm) where they stand."""
        ...

    def touching(self, body: int) -> set[int]:
        """Bodies that a body touched in the last step."""
        ...


def check_engine(engine: str) -> None:
    """`InputError` lists the engines, or says how to get the one that is not installed."""
    if engine not in ENGINES:
        raise InputError(f"no physics engine {engine!r}: there are {', '.join(ENGINES)}")
    if find_spec(engine) is None:
        raise InputError(f"the engine {engine} is not installed: pip install 'invgraphics[{engine}]'")


def make_world(engine: str) -> TrialWorld:
    """An empty world of an engine, in time steps as fine as that engine needs them."""
    check_engine(engine)
    if engine == "mujoco":
        from grasp_sim.mujoco_world import MujocoWorld

        return MujocoWorld()
    from grasp_sim.world import World

    return World()
