"""Held objects pulled along six axes: the rules of DexGraspBench, in PyBullet.

An object of 0.1 kg hangs in the air without gravity. The hand stands at the grasp in its pre-shape, closes, and the object is pulled with
10 N a kilogram along each axis of the world for 2 s, each time from a new closing. A grasp succeeds where the object moves by less than
5 cm and 15 degrees in all six, and the hand overlaps it by no more than 1 cm when it starts. (Numbers: `shared/notes/metrics.md`, from
DexGraspBench's config/task/eval.yaml, which uses MuJoCo.)
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from grasp_sim.floating import FloatingHand
from grasp_sim.hands import Hand
from grasp_sim.poses import angle_between
from grasp_sim.solids import PlacedSolid
from grasp_sim.world import World
from invgraphics.grasp import Grasp

AXES = np.concatenate([np.eye(3), -np.eye(3)])
"""Directions of the pulls, world frame."""
_DENSITY = 1.0
"""kg/m^3; what `World.add_mesh` is told before the mass is set."""


class ForceOutcome(Enum):
    """How a grasp ended. The value is for people to read."""

    HELD = "held against all six forces"
    PENETRATES = "the hand would overlap the object by more than a centimetre"
    NO_CONTACT = "the hand closed without touching the object"
    MOVED = "the object moved or turned too far"


@dataclass(frozen=True)
class ForceSettings:
    """DexGraspBench's rules."""

    mass: float = 0.1
    """Kilograms."""
    pull: float = 10.0
    """Newtons a kilogram."""
    seconds: float = 2.0
    """Of each pull."""
    friction: float = 0.6
    """Between hand and object, tangential."""
    spinning: float = 0.02
    """The same, torsional, metres."""
    largest_shift: float = 0.05
    """Metres."""
    largest_turn: float = np.deg2rad(15)
    """Radians."""
    largest_overlap: float = 0.01
    """Metres."""
    closing_time: float = 0.6
    stall_time: float = 0.1
    """Seconds; see `grasp_sim.trial.TrialSettings`."""


@dataclass(frozen=True)
class ForceTest:
    """What came of one grasp."""

    outcome: ForceOutcome
    overlap: float
    """Of the hand and the object at the start, metres."""
    shift: float | None = None
    """Largest motion of the object under any of the pulls, metres; None where none was made."""
    turn: float | None = None
    """Largest rotation, radians; None where no pull was made."""

    @property
    def succeeded(self) -> bool:
        """Whether it held."""
        return self.outcome is ForceOutcome.HELD


def withstand_forces(item: PlacedSolid, grasp: Grasp, hand: Hand, settings: ForceSettings | None = None) -> ForceTest:
    """Pulls at a held object along all axes."""
    settings = settings or ForceSettings()
    overlap, shifts, turns = 0.0, [], []
    for axis in AXES:
        with World(gravity=0.0) as world:
            body = _hang(world, item, settings)
            floating = FloatingHand(world, hand, grasp, grasp.T_world_hand)
            world.set_friction(floating.body, 1.0, spinning=settings.spinning)
            overlap = max((-contact.distance for contact in world.near(floating.body, body, 0.0)), default=0.0)
            if overlap > settings.largest_overlap:
                return ForceTest(ForceOutcome.PENETRATES, overlap)
            floating.close(settings.closing_time, settings.stall_time)
            if body not in world.touching(floating.body):
                return ForceTest(ForceOutcome.NO_CONTACT, overlap)
            shift, turn = _pull(world, body, axis, settings)
            shifts.append(shift)
            turns.append(turn)
        if shift >= settings.largest_shift or turn >= settings.largest_turn:
            break
    held = shifts[-1] < settings.largest_shift and turns[-1] < settings.largest_turn
    return ForceTest(ForceOutcome.HELD if held else ForceOutcome.MOVED, overlap, max(shifts), max(turns))


def _hang(world: World, item: PlacedSolid, settings: ForceSettings) -> int:
    """Puts the object into a world without gravity."""
    body = world.add_mesh(item.solid, item.T_world_body, density=_DENSITY, friction=settings.friction, drawn=False)
    world.set_mass(body, settings.mass, settings.mass / item.solid.volume * item.solid.unit_inertia)
    world.set_friction(body, settings.friction, spinning=settings.spinning)
    return body


def _pull(world: World, body: int, axis: Float[np.ndarray, "3"], settings: ForceSettings) -> tuple[float, float]:
    """Pulls along an axis; how far the object moved (m) and turned (rad) at most, looked at every 20 ms, until it is too far."""
    force = settings.mass * settings.pull * axis
    start, centre = world.pose(body), world.centre_of_mass(body)
    shift = turn = 0.0
    every = max(1, round(0.02 / world.time_step))
    for step in range(1, round(settings.seconds / world.time_step) + 1):
        world.push(body, force)
        world.step()
        if step % every == 0:
            shift = max(shift, float(np.linalg.norm(world.centre_of_mass(body) - centre)))
            turn = max(turn, angle_between(start, world.pose(body)))
            if shift >= settings.largest_shift or turn >= settings.largest_turn:
                break
    return shift, turn
