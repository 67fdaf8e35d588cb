"""One grasp tried in a world of its own: come in, close, lift, hold; and what came of it, in words.

The hand floats on a stiff mount that stands for an arm. Objects stay where they were seen until the hand has hold of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from grasp_sim.engines import TrialWorld, make_world
from grasp_sim.floating import FloatingHand
from grasp_sim.hands import Hand
from grasp_sim.records import DEFAULT_DENSITY, DEFAULT_FRICTION
from grasp_sim.solids import PlacedSolid
from grasp_sim.world import World
from invgraphics.grasp import Grasp

_HOLD_LOOKS = 0.1
"""Seconds between two looks at an object that is held."""
_FEWEST_LOOKS = 3
"""Looks before an object counts as held before the time is over."""
_STEADY = 0.1
"""Share of what a held object may still sink that it may be on course to creep at most when its holding is cut short."""


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
    engine: str = "pybullet",
) -> GraspOutcome:
    """Tries a grasp on `objects[grasp.object_index]` among the others on the plane z = 0. Same arguments, same outcome."""
    with TrialBench(objects, hand, settings, engine) as bench:
        return bench.run(grasp, physics)


def try_grasps(
    objects: Sequence[PlacedSolid],
    hand: Hand,
    trials: Sequence[tuple[Grasp, Physics]],
    settings: TrialSettings | None = None,
    engine: str = "pybullet",
) -> list[GraspOutcome]:
    """`try_grasp` for each of many grasps, in one world."""
    with TrialBench(objects, hand, settings, engine) as bench:
        return [bench.run(grasp, physics) for grasp, physics in trials]


class TrialBench:
    """A world with objects in which one hand tries grasp after grasp, each as if it were the first. Use it as a context manager."""

    def __init__(
        self,
        objects: Sequence[PlacedSolid],
        hand: Hand,
        settings: TrialSettings | None = None,
        engine: str = "pybullet",
        world: TrialWorld | None = None,
    ):
        """`engine` is one of `grasp_sim.engines.ENGINES`; an empty `world`, which is then closed with the bench, takes its place."""
        self.objects, self.hand, self.settings = tuple(objects), hand, settings or TrialSettings()
        self.world = make_world(engine) if world is None else world
        self.world.add_plane()
        self.bodies = [
            self.world.add_mesh(item.solid, item.T_world_body, density=DEFAULT_DENSITY, friction=DEFAULT_FRICTION, drawn=False)
            for item in self.objects
        ]

    def __enter__(self) -> "TrialBench":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.world.__exit__(kind, error, trace)

    def run(self, grasp: Grasp, physics: Physics | None = None) -> GraspOutcome:
        """Tries a grasp."""
        physics = physics or Physics()
        trial = Trial(self.world, self.bodies, self.bodies[grasp.object_index], self.hand, self.settings, self._reset(physics))
        outcome = trial.run(grasp, _moved(grasp.T_world_hand, physics.hand_offset))
        trial.clear()
        return outcome

    def _reset(self, physics: Physics) -> dict[int, int]:
        """Puts the objects where they were seen; the mounts that hold them there, by body.

        What cannot move costs no contacts with what cannot either. Everything is taken apart first, so that nothing is left of the
        contacts of the trial before.
        """
        world = self.world
        for k, body in enumerate(self.bodies):
            world.set_pose(body, _far_away(k))
        world.forget_contacts()
        for k, body in enumerate(self.bodies):
            for other in (world.plane, *self.bodies[:k]):
                world.ignore_contacts(body, other)
        pairs = list(zip(self.bodies, self.objects, strict=True))
        for body, item in pairs:
            world.set_mass(body, physics.density * item.solid.volume, physics.density * item.solid.unit_inertia)
            world.set_friction(body, physics.friction)
        for body, item in pairs:
            world.set_pose(body, item.T_world_body)
        return {body: world.attach(body, item.T_world_body) for body, item in pairs}


def _far_away(k: int) -> Float[np.ndarray, "4 4"]:
    T = np.eye(4)
    T[:3, 3] = 10.0 * (k + 1), 0, 10
    return T


def push_apart(objects: Sequence[PlacedSolid]) -> tuple[PlacedSolid, ...]:
    """The objects moved out of one another and out of the plane z = 0 where their shapes overlap; the others stay where they are."""
    with World() as world:
        world.add_plane()
        bodies = [world.add_mesh(item.solid, item.T_world_body, drawn=False) for item in objects]
        world.push_apart(bodies)
        return tuple(replace(item, T_world_body=world.pose(body)) for item, body in zip(objects, bodies, strict=True))


class Trial:
    """One grasp of one object in a world; `run` leaves the hand where it ended, with what it holds."""

    def __init__(
        self,
        world: TrialWorld,
        bodies: Sequence[int],
        target: int,
        hand: Hand,
        settings: TrialSettings,
        holds: Mapping[int, int] | None = None,
    ):
        """`bodies` are all objects of the world, `target` the one that is wanted.

        `holds` are mounts by body that keep objects where they are until the closing hand touches the target, or the target, or what it
        pushes, touches them: what stood still in the image stands still, even where its reconstructed shape would topple.
        """
        self.world, self.bodies, self.target, self.hand, self.settings = world, tuple(bodies), target, hand, settings
        self._holds = dict(holds or {})

    def run(self, grasp: Grasp, T_world_hand: Float[np.ndarray, "4 4"]) -> GraspOutcome:
        """Comes in along z to `T_world_hand`, closes, lifts, holds. Ends as soon as the outcome is known."""
        settings = self.settings
        way_in = settings.approach_distance * T_world_hand[:3, 2]
        start = T_world_hand.copy()
        start[:3, 3] -= way_in
        self.floating = FloatingHand(self.world, self.hand, grasp, start)
        others = self.bodies if self.world.plane is None else (*self.bodies, self.world.plane)
        if self.floating.overlaps(others):
            return GraspOutcome.BLOCKED
        if not self.floating.come_in(way_in, settings.speed, settings.touch_force, others):
            return GraspOutcome.COLLISION
        self.floating.close(settings.closing_time, settings.stall_time, self._free_touched)
        if not self._touched():
            return GraspOutcome.NO_CONTACT
        return self._lift_and_hold()

    def clear(self) -> None:
        """Takes the hand and the mounts out of the world."""
        self.floating.leave()
        for mount in self._holds.values():
            self.world.detach(mount)

    def _lift_and_hold(self) -> GraspOutcome:
        """Straight up, then still."""
        settings = self.settings
        self._start = self._object_height()
        self._lost = settings.lift_height * (1 - settings.lifted_share)
        self._hand_start = self.floating.height
        self.floating.move(np.array([0.0, 0.0, settings.lift_height]), settings.speed, ended=self._fell_behind)
        rise = self._object_height() - self._start
        if not np.isfinite(rise):
            return GraspOutcome.UNSTABLE
        if not self._keeps(rise):
            return GraspOutcome.NOT_LIFTED if rise < 0.2 * settings.lift_height else GraspOutcome.SLIPPED
        return self._hold(rise)

    def _fell_behind(self) -> bool:
        """Whether the object has stayed so far below the hand that it can no longer count as lifted."""
        self._free_touched()
        behind = (self.floating.height - self._hand_start) - (self._object_height() - self._start)
        return not behind <= self._lost

    def _hold(self, rise: float) -> GraspOutcome:
        """Holds still for the whole time, or until the object creeps so slowly that it cannot get lost in what is left of it."""
        settings = self.settings
        looks = max(1, round(settings.hold_time / _HOLD_LOOKS))
        for look in range(looks):
            before = self.world.centre_of_mass(self.target)
            self.world.step(round(_HOLD_LOOKS / self.world.time_step))
            rise = self._object_height() - self._start
            if not np.isfinite(rise):
                return GraspOutcome.UNSTABLE
            if not self._keeps(rise):
                return GraspOutcome.DROPPED
            crept = float(np.linalg.norm(self.world.centre_of_mass(self.target) - before))
            reserve = rise - settings.lifted_share * settings.lift_height
            if look >= _FEWEST_LOOKS and crept * (looks - look) < _STEADY * reserve:
                break
        return GraspOutcome.SUCCESS

    def _keeps(self, rise: float) -> bool:
        """Whether the object is up and the hand touches it."""
        return rise >= self.settings.lifted_share * self.settings.lift_height and self._touched()

    def _touched(self) -> bool:
        return self.target in self.world.touching(self.floating.body)

    def _object_height(self) -> float:
        """Height of the object's centre of mass, metres."""
        return float(self.world.centre_of_mass(self.target)[2])

    def _free_touched(self) -> None:
        """Frees the target once the hand touches it, and then whatever the hand or something free touches."""
        if self.target in self._holds:
            if self._touched():
                self._free(self.target)
            return
        moving = {self.floating.body, *(body for body in self.bodies if body not in self._holds)}
        for body in [body for body in self._holds if moving & self.world.touching(body)]:
            self._free(body)

    def _free(self, body: int) -> None:
        self.world.detach(self._holds.pop(body))
        for other in (self.world.plane, *self.bodies):
            if other is not None and other != body:
                self.world.ignore_contacts(body, other, False)


def _moved(T_world_hand: Float[np.ndarray, "4 4"], offset: tuple[float, ...]) -> Float[np.ndarray, "4 4"]:
    """The pose shifted and turned in place along and about the world's axes."""
    moved = T_world_hand.copy()
    moved[:3, :3] = Rotation.from_rotvec(offset[3:]).as_matrix() @ moved[:3, :3]
    moved[:3, 3] += offset[:3]
    return moved
