"""One grasp tried in a world of its own: come in, close, lift, hold; and what came of it, in words.

The hand floats on a stiff mount that stands for an arm. Objects stay where they were seen until the hand has hold of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from grasp_sim.floating import FloatingHand
from grasp_sim.hands import Hand
from grasp_sim.solids import PlacedSolid
from grasp_sim.world import DEFAULT_DENSITY, DEFAULT_FRICTION, World
from invgraphics.grasp import Grasp

_REACH = 0.3
"""Metres about the hand's frame within which objects are simulated: the largest hand, its way in, what it may push."""


class GraspOutcome(Enum):
    """How a trial ended. The value is for people to read."""

    SUCCESS = "lifted and held"
    BLOCKED = "the hand would overlap something where it starts"
    COLLISION = "the hand ran into something on its way in"
    NO_CONTACT = "the hand closed without touching the object"
    NOT_LIFTED = "the object stayed behind when the hand rose"
    SLIPPED = "the object slipped out on the way up"
    DROPPED = "the object was lost while it was held"
    UNSTABLE = "the simulation became unstable"


@dataclass(frozen=True)
class TrialSettings:
    """How a grasp is tried. Distances in metres, speeds in metres a second, times in seconds."""

    approach_distance: float = 0.05
    """Straight way in along the hand's z (VGN, GIGA: 5 cm)."""
    lift_height: float = 0.10
    """Straight up (VGN, GIGA: 10 cm)."""
    hold_time: float = 2.0
    speed: float = 0.1
    """Of the hand on its way in and up (VGN: 2 mm steps at 0.1 m/s)."""
    closing_time: float = 0.6
    """For the whole way from open to closed, as far as the motors are quick enough."""
    stall_time: float = 0.1
    """The hand has closed once its motors have stood still for so long; at the latest 1 s after `closing_time`."""
    lifted_share: float = 0.7
    """Share of the hand's rise that a held object must have made too; the rest is settling in the fingers."""
    touch_force: float = 5.0
    """Newtons with which the hand may brush an object on its way in; 0 makes any touch a collision, as in VGN and GIGA."""
    solver_iterations: int = 150
    time_step: float = 1 / 240


@dataclass(frozen=True)
class Physics:
    """What an image does not tell about the objects."""

    friction: float = DEFAULT_FRICTION
    """Of the objects; the hand's and the plane's are 1."""
    density: float = DEFAULT_DENSITY
    """kg/m^3."""
    hand_offset: tuple[float, ...] = (0.0,) * 6
    """Error of the hand's pose relative to the objects: metres along and radians about the world's axes."""


@dataclass(frozen=True)
class Spread:
    """How far trials vary from the nominal physics."""

    friction: float = 0.15
    """Half width of a uniform distribution."""
    density: float = 0.5
    """Standard deviation of the logarithm."""
    position: float = 0.003
    """Standard deviation along each axis, metres."""
    turn: float = np.deg2rad(3)
    """Standard deviation about each axis, radians."""

    def draw(self, nominal: Physics, generator: np.random.Generator) -> Physics:
        """One physics near the nominal one."""
        offset = generator.normal(size=6) * np.repeat([self.position, self.turn], 3)
        return replace(
            nominal,
            friction=nominal.friction + self.friction * float(generator.uniform(-1, 1)),
            density=nominal.density * float(np.exp(self.density * np.clip(generator.normal(), -2, 2))),
            hand_offset=tuple((np.array(nominal.hand_offset) + offset).tolist()),
        )


def try_grasp(
    objects: Sequence[PlacedSolid],
    grasp: Grasp,
    hand: Hand,
    physics: Physics | None = None,
    settings: TrialSettings | None = None,
) -> GraspOutcome:
    """Tries a grasp on `objects[grasp.object_index]` among the others on the plane z = 0. Same arguments, same outcome."""
    physics, settings = physics or Physics(), settings or TrialSettings()
    T_world_hand = _moved(grasp.T_world_hand, physics.hand_offset)
    near = [item for k, item in enumerate(objects) if k == grasp.object_index or _within_reach(item, T_world_hand)]
    with World(time_step=settings.time_step, solver_iterations=settings.solver_iterations) as world:
        world.add_plane()
        bodies = [
            world.add_mesh(item.solid, item.T_world_body, density=physics.density, friction=physics.friction, drawn=False) for item in near
        ]
        holds = [world.attach(body, item.T_world_body) for body, item in zip(bodies, near, strict=True)]
        target = next(body for body, item in zip(bodies, near, strict=True) if item is objects[grasp.object_index])
        return Trial(world, bodies, target, hand, settings, holds).run(grasp, T_world_hand)


def push_apart(objects: Sequence[PlacedSolid]) -> tuple[PlacedSolid, ...]:
    """The objects moved out of one another and out of the plane z = 0 where their shapes overlap; the others stay where they are."""
    with World() as world:
        world.add_plane()
        bodies = [world.add_mesh(item.solid, item.T_world_body, drawn=False) for item in objects]
        world.push_apart(bodies)
        return tuple(replace(item, T_world_body=world.pose(body)) for item, body in zip(objects, bodies, strict=True))


class Trial:
    """One grasp of one object in a world; `run` leaves the hand where it ended, with what it holds."""

    def __init__(self, world: World, bodies: Sequence[int], target: int, hand: Hand, settings: TrialSettings, holds: Sequence[int] = ()):
        """`bodies` are all objects of the world, `target` the one that is wanted.

        `holds` are mounts that keep objects where they are until the closing hand touches the target: what stood still in the image
        stands still, even where its reconstructed shape would topple.
        """
        self.world, self.bodies, self.target, self.hand, self.settings = world, tuple(bodies), target, hand, settings
        self._holds = list(holds)

    def run(self, grasp: Grasp, T_world_hand: Float[np.ndarray, "4 4"]) -> GraspOutcome:
        """Comes in along z to `T_world_hand`, closes, lifts, holds."""
        settings = self.settings
        way_in = settings.approach_distance * T_world_hand[:3, 2]
        start = T_world_hand.copy()
        start[:3, 3] -= way_in
        self.floating = FloatingHand(self.world, self.hand, grasp, start)
        if self.floating.overlaps((*self.bodies, self.world.plane) if self.world.plane is not None else self.bodies):
            return GraspOutcome.BLOCKED
        if not self.floating.move(way_in, settings.speed, settings.touch_force):
            return GraspOutcome.COLLISION
        self.floating.close(settings.closing_time, settings.stall_time, self._release_once_touched)
        self._release()
        if not self._touched():
            return GraspOutcome.NO_CONTACT
        return self._lift_and_hold()

    def _lift_and_hold(self) -> GraspOutcome:
        """Straight up, then still; looks at the object at the end of the rise and four times after."""
        settings = self.settings
        before = self._object_height()
        self.floating.move(np.array([0.0, 0.0, settings.lift_height]), settings.speed)
        rise = self._object_height() - before
        if not np.isfinite(rise):
            return GraspOutcome.UNSTABLE
        if not self._keeps(rise):
            return GraspOutcome.NOT_LIFTED if rise < 0.2 * settings.lift_height else GraspOutcome.SLIPPED
        for _ in range(4):
            self.world.step(round(settings.hold_time / 4 / self.world.time_step))
            rise = self._object_height() - before
            if not np.isfinite(rise):
                return GraspOutcome.UNSTABLE
            if not self._keeps(rise):
                return GraspOutcome.DROPPED
        return GraspOutcome.SUCCESS

    def _keeps(self, rise: float) -> bool:
        """Whether the object is up and the hand touches it."""
        return rise >= self.settings.lifted_share * self.settings.lift_height and self._touched()

    def _touched(self) -> bool:
        return bool(self.world.contacts(self.floating.body, self.target))

    def _object_height(self) -> float:
        """Height of the object's centre of mass, metres."""
        return float(self.world.centre_of_mass(self.target)[2])

    def _release_once_touched(self) -> None:
        if self._holds and self._touched():
            self._release()

    def _release(self) -> None:
        for mount in self._holds:
            self.world.detach(mount)
        self._holds = []


def _within_reach(item: PlacedSolid, T_world_hand: Float[np.ndarray, "4 4"]) -> bool:
    """Whether an object can come to matter: part of its bounding sphere is less than `_REACH` from the hand."""
    middle = item.solid.coarse.vertices.mean(0)
    radius = np.linalg.norm(item.solid.coarse.vertices - middle, axis=1).max()
    centre = item.T_world_body[:3, :3] @ middle + item.T_world_body[:3, 3]
    return bool(np.linalg.norm(centre - T_world_hand[:3, 3]) < radius + _REACH)


def _moved(T_world_hand: Float[np.ndarray, "4 4"], offset: tuple[float, ...]) -> Float[np.ndarray, "4 4"]:
    """The pose shifted and turned in place along and about the world's axes."""
    moved = T_world_hand.copy()
    moved[:3, :3] = Rotation.from_rotvec(offset[3:]).as_matrix() @ moved[:3, :3]
    moved[:3, 3] += offset[:3]
    return moved
