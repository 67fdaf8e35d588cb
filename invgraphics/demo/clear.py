"""One object after the other is photographed, reconstructed, grasped and put down beside the scene, until the table is clear."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from grasp_sim.benchmark import closed_or_hull
from grasp_sim.occlusion import Occlusion
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchResult, SearchSettings, search_grasps
from grasp_sim.solids import PlacedSolid, build_solid, place_scene
from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.datasets import load_frame
from invgraphics.demo.cell import PARKED, RobotCell, Selection, base_in_scene, build_cell, make_twins, select_grasp
from invgraphics.demo.film import Film, save_film, scale_camera
from invgraphics.demo.run import CAMERA
from invgraphics.demo.table import Photograph, place_camera, settle_toys, take_photograph, write_frame
from invgraphics.demo.toys import TOYS, Toy
from invgraphics.errors import InputError
from invgraphics.grasp import save_search
from invgraphics.output import save_reconstruction, write_json
from invgraphics.plane import find_support_plane
from invgraphics.segment.proposals import propose_masks
from optim.reconstruct import reconstruct
from robot.execute import Outcome, execute_pick, execute_place, return_home
from robot.simulated import SimulatedWatch, Simulation

SPOTS = tuple(np.array([x, y]) for y in (0.45, 0.6) for x in (0.2, 0.02, -0.16))
"""Where objects are put down, in this order: beside the scene, out of the camera's sight; base frame, metres."""
WAITING = PARKED - np.array([1.6, 0.0, 0.0, 0.0, 0.0, 0.0])
"""Where the arm waits: turned away from what the camera sees (radians)."""
CLEAR_SEARCH = SearchSettings(batch=24, batches=3, finalists=5, final_trials=8, together=True)
"""One grasp is wanted of a look, of any object; others stand by where the arm cannot do the best."""
FILM_SECONDS = 0.25
"""Between two pictures of the film."""
_SPOT_RADIUS = 0.08
"""A spot with an object nearer than that is taken, metres."""
_MOST_FAILURES = 2
"""In a row."""
_FILM_CAMERA = ((1.15, -0.35, 0.75), (0.3, 0.2, 0.05))
_FILM_SCALE = 0.6

Progress = Callable[[str, float], None]
"""Told the stage, and the fraction of it that is done."""


@dataclass(frozen=True)
class Seen:
    """What perception makes of a photograph."""

    objects: tuple[PlacedSolid, ...]
    """In the scene's world frame, whose z = 0 is the table."""
    masks: Bool[np.ndarray, "n h w"]
    """Pixels of each object, to tell afterwards which one it truly was."""
    T_scene_base: Float[np.ndarray, "4 4"]
    """The arm's base in that frame, metres."""
    occlusion: Occlusion | None = None
    """What the photograph hides, in that frame; None where nothing is guessed."""
    problem: str = ""
    """Why there are no objects, where that does not mean that the table is clear."""


@dataclass(frozen=True)
class Attempt:
    """One look at the table and what was done upon it."""

    number: int
    target: str
    """Name of the true object; empty where none was chosen."""
    outcome: Outcome
    message: str
    """One sentence for a person."""
    predicted: float | None
    """Success rate of the grasp in the search."""

    @property
    def succeeded(self) -> bool:
        """Whether the object lies at its place."""
        return self.outcome is Outcome.PLACED


@dataclass(frozen=True)
class ClearResult:
    """How it went."""

    objects: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    placed: tuple[str, ...]
    """In their order."""
    ended: str
    """Why, in words."""

    def tries(self, name: str) -> list[Attempt]:
        """The attempts at one object."""
        return [attempt for attempt in self.attempts if attempt.target == name]


@dataclass
class _Cell:
    """The world and all that is in it."""

    world: World
    toys: tuple[Toy, ...]
    bodies: tuple[int, ...]
    camera: Camera
    robot: RobotCell
    robot_body: int
    generator: np.random.Generator
    film: Film
    placed: list[int] = field(default_factory=list)
    """Bodies that lie at their places."""

    def free_spots(self) -> list[np.ndarray]:
        """Where nothing lies."""
        centres = [self.world.centre_of_mass(body)[:2] for body in self.bodies]
        return [spot for spot in SPOTS if all(np.linalg.norm(spot - centre) > _SPOT_RADIUS for centre in centres)]


Perception = Callable[[World, Sequence[tuple[int, Toy]], Photograph, Path, int], Seen]
"""From the world with its toys (for perception without error only), a photograph, a folder of its own and a seed."""


def clear_table(
    out: Path,
    seed: int,
    progress: Progress,
    toys: tuple[Toy, ...] = TOYS,
    search: SearchSettings = CLEAR_SEARCH,
    perceive: Perception | None = None,
    disturb: Callable[[World, tuple[int, ...]], None] = lambda world, bodies: None,
    processes: int | None = None,
    film_seconds: float = FILM_SECONDS,
) -> ClearResult:
    """Clears the table; writes a folder for every look, `clear.json` and, where the arm moved, the film `clear.webp` to the folder `out`.

    It ends when no object is seen any more, or two attempts in a row have failed. `disturb` may change the settled table;
    `processes` are those of the search, one for each core if not given; `film_seconds` are between two pictures of the film.
    """
    generator = np.random.default_rng(seed)
    with World() as world, TrialPool(processes) as pool:
        (out / "truth").mkdir(parents=True)
        bodies = settle_toys(world, toys, out / "truth", generator)
        disturb(world, bodies)
        robot = build_cell(out / "truth", WAITING)
        film = Film(world, scale_camera(place_camera(*_FILM_CAMERA), _FILM_SCALE), seconds=film_seconds)
        cell = _Cell(world, toys, bodies, place_camera(*CAMERA), robot, robot.add_to(world, np.eye(4)), generator, film)
        attempts, ended = _attempt_all(cell, out, seed, search, perceive or perceive_reconstruction, pool, progress)
        placed = tuple(toys[bodies.index(body)].name for body in cell.placed)
    if film.frames:
        save_film(film.frames, film_seconds / 3, out / "clear.webp")
    result = ClearResult(tuple(toy.name for toy in toys), tuple(attempts), placed, ended)
    write_json(out / "clear.json", describe_clear(result, seed))
    return result


def _attempt_all(
    cell: _Cell, out: Path, seed: int, search: SearchSettings, perceive: Perception, pool: TrialPool, progress: Progress
) -> tuple[list[Attempt], str]:
    """Attempt after attempt, and why there was no further one."""
    attempts: list[Attempt] = []
    failures = 0
    while failures < _MOST_FAILURES:
        folder = out / f"look_{len(attempts):02d}"
        attempt = _attempt(cell, len(attempts), folder, seed, search, perceive, pool, progress)
        if attempt is None:
            return attempts, "no object is seen on the table any more"
        attempts.append(attempt)
        if attempt.outcome is Outcome.ARM_STOPPED:
            return attempts, "the arm was stopped and needs a person"
        failures = 0 if attempt.succeeded else failures + 1
    return attempts, "two attempts in a row failed"


def _attempt(
    cell: _Cell, number: int, folder: Path, seed: int, search: SearchSettings, perceive: Perception, pool: TrialPool, progress: Progress
) -> Attempt | None:
    """A new look, and what came of the best grasp that can be done; None where nothing is seen."""
    stage = f"attempt {number + 1}"
    progress(stage, 0.0)
    remaining = [(body, toy) for body, toy in zip(cell.bodies, cell.toys, strict=True) if body not in cell.placed]
    photograph = take_photograph(cell.world, tuple(body for body, _ in remaining), cell.camera, cell.generator)
    write_frame(photograph, folder / "frame", boxes=False)
    seen = perceive(cell.world, remaining, photograph, folder, seed)
    if not seen.objects:
        progress(stage, 1.0)
        return Attempt(number, "", Outcome.NOTHING_GRASPABLE, seen.problem, None) if seen.problem else None
    progress(stage, 0.4)
    options = {"seed": seed + number, "settings": search, "pool": pool, "occlusion": seen.occlusion}
    found = search_grasps(seen.objects, cell.robot.hand, **options)
    save_search(found.grasps, found.failures, folder)
    progress(stage, 0.7)
    spots = cell.free_spots()
    selection = select_grasp(seen.objects, found.grasps, cell.robot, seen.T_scene_base, cell.generator, lambda fraction: None, spots=spots)
    progress(stage, 0.8)
    attempt = _carry_out(cell, number, selection, found, seen, photograph, remaining)
    progress(stage, 1.0)
    return attempt


def _carry_out(
    cell: _Cell,
    number: int,
    selection: Selection,
    found: SearchResult,
    seen: Seen,
    photograph: Photograph,
    remaining: Sequence[tuple[int, Toy]],
) -> Attempt:
    """The chosen grasp on the true scene, or why none was chosen."""
    grasp, plan, place = selection.grasp, selection.plan, selection.place
    if grasp is None or plan is None or place is None:
        return Attempt(number, "", *_explain(found, selection, seen), None)
    index = _true_index(seen.masks[grasp.object_index], photograph.true_masks)
    if index is None:
        return Attempt(number, "", Outcome.NEVER_LIFTED, "what was to be grasped is no object at all", grasp.success_rate)
    body, toy = remaining[index]
    simulation = Simulation(cell.world, cell.film.step)
    twins = make_twins(simulation, cell.robot_body, cell.robot, grasp)
    watch = SimulatedWatch(cell.world, body)
    report = execute_pick(plan, grasp.preshape, grasp.closed, twins.arm, twins.hand, watch)
    if report.outcome is Outcome.HELD:
        report = execute_place(place, grasp.preshape, grasp.closed, twins.arm, twins.hand, watch)
    elif report.outcome is not Outcome.ARM_STOPPED:
        report = return_home(plan, place, report.reached, grasp.preshape, twins.arm, twins.hand) or report
    cell.world.settle(cell.bodies, max_seconds=2.0)
    if report.outcome is Outcome.PLACED:
        cell.placed.append(body)
    return Attempt(number, toy.name, report.outcome, report.message, grasp.success_rate)


def _explain(found: SearchResult, selection: Selection, seen: Seen) -> tuple[Outcome, str]:
    """Why no grasp was carried out."""
    if not found.ranked:
        reasons = "; ".join(f"{seen.objects[index].name}: {why.message}" for index, why in sorted(found.failures.items()))
        return Outcome.NOTHING_GRASPABLE, f"{Outcome.NOTHING_GRASPABLE.value}: {reasons}"
    reasons = sorted({unreachable.reason.value for _, unreachable in selection.skipped})
    return Outcome.UNREACHABLE, f"{Outcome.UNREACHABLE.value}: {'; '.join(reasons)}"


def _true_index(mask: Bool[np.ndarray, "h w"], true_masks: Bool[np.ndarray, "n h w"]) -> int | None:
    """Which of the true objects a mask shows; None where it shows none."""
    shared = (true_masks & mask).sum((1, 2))
    return int(shared.argmax()) if shared.any() else None


def perceive_reconstruction(world: World, remaining: Sequence[tuple[int, Toy]], photograph: Photograph, folder: Path, seed: int) -> Seen:
    """Objects proposed and reconstructed from the photograph alone; of the world only the calibrated camera pose is used."""
    nothing = Seen((), np.zeros((0, photograph.camera.height, photograph.camera.width), dtype=bool), np.eye(4))
    observation = load_frame(str(folder / "frame")).observation
    plane = find_support_plane(observation, torch.Generator().manual_seed(seed))
    if plane is None:
        return replace(nothing, problem="no table is seen")
    masks = propose_masks(observation, plane)
    if not len(masks):
        return nothing
    try:
        found = reconstruct(replace(observation.with_masks(masks), name=folder.name), seed=seed)
    except InputError as error:
        return replace(nothing, problem=str(error))
    save_reconstruction(found, folder / "reconstruction")
    chosen = masks[list(found.mask_indices)].cpu().numpy()
    occlusion = Occlusion.of(observation.with_camera_pose(found.scene.camera.T_world_camera))
    return Seen(place_scene(found.scene), chosen, base_in_scene(found.scene, photograph.camera.T_world_camera), occlusion)


def perceive_truth(world: World, remaining: Sequence[tuple[int, Toy]], photograph: Photograph, folder: Path, seed: int) -> Seen:
    """Perception without error, for an upper bound and for tests: every toy that a pixel shows."""
    chosen = [k for k, mask in enumerate(photograph.true_masks) if mask.any()]
    pairs = [remaining[k] for k in chosen]
    objects = tuple(PlacedSolid(build_solid(closed_or_hull(toy.mesh())), world.pose(body), toy.name) for body, toy in pairs)
    return Seen(objects, photograph.true_masks[chosen], np.eye(4))


PERCEPTIONS: dict[str, Perception] = {"reconstruction": perceive_reconstruction, "truth": perceive_truth}


def describe_clear(result: ClearResult, seed: int) -> dict[str, object]:
    """What `clear.json` says."""
    attempts = [
        {
            "number": each.number,
            "object": each.target or None,
            "outcome": each.outcome.name.lower(),
            "message": each.message,
            "predicted_success": each.predicted,
        }
        for each in result.attempts
    ]
    objects = [
        {"name": name, "attempts": len(tries), "outcome": tries[-1].outcome.name.lower() if tries else "untried"}
        for name, tries in ((name, result.tries(name)) for name in result.objects)
    ]
    return {"seed": seed, "ended": result.ended, "placed": len(result.placed), "objects": objects, "attempts": attempts}
