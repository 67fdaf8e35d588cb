"""Single objects, each in many resting poses: seen once, grasped with the best grasp found, lifted 10 cm and held for 2 s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from grasp_sim.benchmark import Perception
from grasp_sim.clutter import Model, Sensor, Table, photograph
from grasp_sim.hands import Hand
from grasp_sim.pool import TrialPool
from grasp_sim.records import DEFAULT_FRICTION
from grasp_sim.search import SearchSettings, search_grasps
from grasp_sim.solids import PlacedSolid
from grasp_sim.trial import GraspOutcome, Trial, TrialSettings
from grasp_sim.world import World
from invgraphics.grasp import Grasp

_DROP = 0.02
"""Metres above the table from which an object falls into its pose."""
_ROLLING_FRICTION = 0.0005
"""Metres: without it a ball never comes to rest on any plane."""
_SPREAD = 0.05
"""Metres by which an object may lie off the middle of the table along x and y."""


def _default_search() -> SearchSettings:
    return SearchSettings(batch=16, batches=4, finalists=4, final_trials=8, together=True)


@dataclass(frozen=True)
class LiftSettings:
    """How grasps are chosen and carried out."""

    search: SearchSettings = field(default_factory=_default_search)
    trial: TrialSettings = field(default_factory=TrialSettings)
    middle: tuple[float, float] = (0.0, 0.0)
    """Where objects lie about, x and y of the world frame, metres."""
    sensor: Sensor | None = None
    """What the camera makes of the depth; None for the noise of the clutter protocol."""
    attempts: int = 1
    """An object that was not lifted is looked at anew and tried again, until so many attempts have been made."""


@dataclass(frozen=True)
class Lift:
    """One object in one pose, and what came of it."""

    number: int
    """Of all that are tried."""
    name: str
    """The object's."""
    outcome: str
    """In words."""
    success: bool
    predicted: float | None
    """Success rate of the grasp in the search; None where none was carried out."""
    grasps: int
    """How many were found, in the last attempt."""
    attempts: int = 1
    """How many were made."""
    failed: tuple[str, ...] = ()
    """What came of those before the last, in words."""


Lifter = Callable[[Table, Sequence[PlacedSolid], Sequence[Grasp], Hand, LiftSettings, np.random.Generator], tuple[str, bool, Grasp | None]]
"""Carries out one of the grasps (best first), planned on the perceived objects, on the table's only object: what came of it in words,
whether it was lifted and held, and which grasp it was, if any; the hand is taken out of the world. A module's function, for it runs in
other processes."""


def lift_freely(
    table: Table,
    objects: Sequence[PlacedSolid],
    grasps: Sequence[Grasp],
    hand: Hand,
    settings: LiftSettings,
    generator: np.random.Generator,
) -> tuple[str, bool, Grasp | None]:
    """A `Lifter` whose hand floats: it comes in, closes, lifts and holds the best grasp as a trial does."""
    (body,) = table.solids
    trial = Trial(table.world, [body], body, hand, settings.trial)
    outcome = trial.run(grasps[0], grasps[0].T_world_hand)
    trial.clear()
    return outcome.value, outcome is GraspOutcome.SUCCESS, grasps[0]


def play_lift(model: Model, hand: Hand, perceive: Perception, lift: Lifter, settings: LiftSettings, seed: int, number: int) -> Lift:
    """One object, tried as often as the settings allow; the same for the same seed and number."""
    generator = np.random.default_rng([seed, number])
    failed: list[str] = []
    with World() as world, TrialPool(1) as pool:
        table = lay_down(world, model, settings.middle, generator)
        while True:
            played = _try_once(table, hand, perceive, lift, settings, seed, number, generator, pool)
            if played.success or len(failed) + 1 == settings.attempts:
                return replace(played, attempts=len(failed) + 1, failed=tuple(failed))
            failed.append(played.outcome)
            world.settle(table.solids, max_seconds=2.0)


def _try_once(
    table: Table,
    hand: Hand,
    perceive: Perception,
    lift: Lifter,
    settings: LiftSettings,
    seed: int,
    number: int,
    generator: np.random.Generator,
    pool: TrialPool,
) -> Lift:
    """One look at the table, and what came of the best grasp that was found upon it."""
    ((name, _),) = table.solids.values()
    percept = perceive(photograph(table, generator, f"{name}, number {number}", settings.middle, settings.sensor), seed)
    if not percept.objects:
        return Lift(number, name, "no object was seen", False, None, 0)
    options = {"settings": settings.search, "pool": pool, "occlusion": percept.occlusion}
    result = search_grasps(percept.objects, hand, seed=int(generator.integers(2**31)), **options)
    if not result.ranked:
        reasons = "; ".join(why.message for _, why in sorted(result.failures.items()))
        return Lift(number, name, f"no grasp was found: {reasons}", False, None, 0)
    outcome, success, grasp = lift(table, percept.objects, result.grasps, hand, settings, generator)
    return Lift(number, name, outcome, success, grasp and grasp.success_rate, len(result.grasps))


def lay_down(world: World, model: Model, middle: tuple[float, float], generator: np.random.Generator) -> Table:
    """A table in an empty world with one object at rest, fallen from a random turn, near the middle (x, y, m)."""
    world.add_plane()
    T = np.eye(4)
    T[:3, :3] = Rotation.random(rng=generator).as_matrix()
    T[2, 3] = _DROP - (model.solid.vertices @ T[2, :3]).min()
    body = world.add_mesh(model.solid, T, colour=generator.uniform(0.2, 0.9, size=3).tolist())
    world.set_friction(body, DEFAULT_FRICTION, rolling=_ROLLING_FRICTION)
    world.settle([body], max_seconds=5.0)
    pose = world.pose(body)
    pose[:2, 3] += np.array(middle) + generator.uniform(-_SPREAD, _SPREAD, size=2) - world.centre_of_mass(body)[:2]
    world.set_pose(body, pose)
    world.settle([body], max_seconds=1.0)
    return Table(world, {body: (model.name, model.solid)})


def run_lifts(
    models: Sequence[Model],
    poses: int,
    hand: Hand,
    perceive: Perception,
    lift: Lifter,
    settings: LiftSettings,
    *,
    seed: int,
    pool: TrialPool,
    done: Sequence[Lift] = (),
    finished: Callable[[Lift], None] = lambda played: None,
) -> list[Lift]:
    """`poses` lifts of every object, spread over the pool's processes; those that are `done` are not played again."""
    lifts = {each.number: each for each in done if each.number < poses * len(models)}
    missing = [number for number in range(poses * len(models)) if number not in lifts]
    tasks = [(models[number % len(models)], hand, perceive, lift, settings, seed, number) for number in missing]
    for each in pool.map(play_lift, tasks):
        lifts[each.number] = each
        finished(each)
    return [lifts[number] for number in sorted(lifts)]
