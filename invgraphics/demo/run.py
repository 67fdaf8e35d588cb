"""The demo from the first toy on the table to the verdict on the grasp. What the simulation knows is used to score, never to decide."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from grasp_sim.hands import Hand
from grasp_sim.occlusion import Occlusion
from grasp_sim.search import SearchResult, SearchSettings, search_grasps
from grasp_sim.solids import PlacedSolid, place_scene
from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.commands.grasp_pictures import render_grasps
from invgraphics.commands.pictures import render_pictures
from invgraphics.datasets import GroundTruth, load_frame
from invgraphics.demo.cell import RobotCell, Selection, base_in_scene, build_cell, carry_out, select_grasp
from invgraphics.demo.film import encode_film
from invgraphics.demo.recorder import MotionRecorder
from invgraphics.demo.table import place_camera, settle_toys, take_photograph, true_meshes, write_frame
from invgraphics.demo.toys import TOYS, Toy
from invgraphics.evaluation import ObjectResult, describe_result, score_objects
from invgraphics.geometry.mesh import load_mesh
from invgraphics.grasp import save_search
from invgraphics.output import save_reconstruction, write_json
from invgraphics.reconstruction import Reconstruction
from invgraphics.recorded_motion import save_motion
from invgraphics.report import GraspReport, write_report
from invgraphics.segment import mask_objects
from optim.reconstruct import reconstruct
from robot.execute import ExecutionReport, Outcome

SEARCH = SearchSettings(batch=12, batches=2, finalists=3, final_trials=8)
"""Enough trials to tell a good grasp from a lucky one, few enough for a demo."""
CAMERA = ((0.1, -0.15, 0.5), (0.5, 0.0, 0.02))
"""Where the depth camera is and what it looks at, base frame, metres."""
FILM_EYE, FILM_TARGET = np.array([0.5, -0.42, 0.3]), np.array([-0.06, 0.0, 0.08])
"""The same of the camera that films the execution, from where the object stands."""

_FILM_FRAME_SECONDS = 0.15
"""For which the film shows each of its pictures."""
_ALMOST = 0.99
"""What a stage shows at most before it has ended; what is left to do may grow."""

Progress = Callable[[str, float], None]
"""Told the stage, and the fraction of it that is done."""


@dataclass(frozen=True)
class DemoResult:
    """Everything that the demo has to tell."""

    names: tuple[str, ...]
    """Of the reconstructed objects, as grasps count them."""
    objects: tuple[ObjectResult, ...]
    """Each toy's reconstruction against the truth."""
    seconds: dict[str, float]
    """Wall-clock time of each stage, in their order."""
    search: SearchResult
    selection: Selection
    target: str
    """Name of the toy that was to be picked; empty where no grasp can be done."""
    execution: ExecutionReport
    """How it ended."""


class _Stages:
    """Runs stages by the clock."""

    def __init__(self, progress: Progress):
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """Times what is done inside; the value tells the fraction done."""
        start = time.perf_counter()
        self._progress(name, 0.0)
        yield lambda fraction: self._progress(name, min(fraction, _ALMOST))
        self._progress(name, 1.0)
        self.seconds[name] = time.perf_counter() - start


def run_demo(
    out: Path, seed: int, progress: Progress, toys: tuple[Toy, ...] = TOYS, search_settings: SearchSettings = SEARCH
) -> DemoResult:
    """Runs it all and writes to the empty folder `out`: the frame, the reconstruction, the grasps, `demo.json`, `report.html`."""
    stages, generator = _Stages(progress), np.random.default_rng(seed)
    with World() as world:
        with stages.stage("settle and photograph"):
            (out / "truth").mkdir(parents=True)
            bodies = settle_toys(world, toys, out / "truth", generator)
            camera = place_camera(*CAMERA)
            write_frame(take_photograph(world, bodies, camera, generator), out / "frame")
            truths = describe_truth(world, toys, bodies, camera)
        reconstruction = _reconstruct(out, tuple(toy.name for toy in toys), seed, stages)
        with stages.stage("score"):
            objects = _score(reconstruction, truths, out, seed)
        cell = build_cell(out / "truth")
        solids, search = _search(reconstruction, cell.hand, seed, search_settings, stages)
        save_search(search.grasps, search.failures, out / "reconstruction")
        with stages.stage("plan the arm's motion") as told:
            T_world_base = base_in_scene(reconstruction.scene, camera.T_world_camera)
            selection = select_grasp(solids, search.grasps, cell, T_world_base, generator, told)
        with stages.stage("execute") as told:
            target, execution, film, moving = _execute(world, bodies, reconstruction, selection, cell, T_world_base, out, told)
    with stages.stage("report"):
        drawn = render_grasps(reconstruction.scene, search.grasps, cell.hand)
        grasp = GraspReport(search.grasps, film, execution.message, execution.outcome is Outcome.HELD, moving, drawn)
        shapes = {k: objects[index].scores for k, index in enumerate(reconstruction.mask_indices) if objects[index].scores is not None}
        write_report(out / "report.html", reconstruction, render_pictures(reconstruction), shapes, grasp)
    names, seconds = tuple(item.name for item in reconstruction.scene.objects), _all_seconds(stages.seconds, reconstruction)
    result = DemoResult(names, tuple(objects), seconds, search, selection, target, execution)
    write_json(out / "demo.json", describe_demo(result, seed))
    return result


def describe_demo(result: DemoResult, seed: int) -> dict[str, object]:
    """What `demo.json` says."""
    grasp = result.selection.grasp
    chosen = {"success_rate": grasp.success_rate, "trials": grasp.trials} if grasp is not None else None
    return {
        "seed": seed,
        "objects": [describe_result(item) for item in result.objects],
        "seconds": result.seconds,
        "trials": result.search.trials,
        "objects_without_grasp": {result.names[index]: why.message for index, why in result.search.failures.items()},
        "skipped": [
            {"reason": unreachable.reason.name.lower(), "message": unreachable.message} for _, unreachable in result.selection.skipped
        ],
        "grasp": chosen,
        "target": result.target or None,
        "outcome": result.execution.outcome.name.lower(),
        "message": result.execution.message,
    }


def _reconstruct(out: Path, names: tuple[str, ...], seed: int, stages: _Stages) -> Reconstruction:
    """From the frame folder on, as for any user's image; the toys' names are only labels."""
    with stages.stage("masks from boxes"):
        observation = mask_objects(load_frame(str(out / "frame")), torch.Generator().manual_seed(seed))
        observation = replace(observation.with_masks(observation.masks, names), name=f"demo, seed {seed}")
    with stages.stage("reconstruct") as told:
        reconstruction = reconstruct(observation, seed=seed, progress=lambda stage, fraction: told(fraction))
    save_reconstruction(reconstruction, out / "reconstruction")
    return reconstruction


def describe_truth(world: World, toys: tuple[Toy, ...], bodies: tuple[int, ...], camera: Camera) -> list[GroundTruth]:
    """The toys in the camera frame."""
    T_camera_world = camera.T_camera_world.float()
    poses = [torch.tensor(world.pose(body), dtype=torch.float32) for body in bodies]
    meshes = true_meshes(world, toys, bodies)
    return [
        GroundTruth(k, toy.name, mesh.transformed(T_camera_world), T_camera_world @ T_world_toy)
        for k, (toy, mesh, T_world_toy) in enumerate(zip(toys, meshes, poses, strict=True))
    ]


def _score(reconstruction: Reconstruction, truths: list[GroundTruth], out: Path, seed: int) -> list[ObjectResult]:
    """Scores the meshes as written; keeps the true ones beside them."""
    meshes = {index: load_mesh(out / "reconstruction" / "meshes" / f"object_{index:02d}.ply") for index in reconstruction.mask_indices}
    for truth in truths:
        truth.mesh.to_trimesh().export(out / "truth" / f"object_{truth.mask_index:02d}.ply")
    return score_objects("demo", truths, meshes, reconstruction.left_out, seed)


def _search(
    reconstruction: Reconstruction, hand: Hand, seed: int, settings: SearchSettings, stages: _Stages
) -> tuple[tuple[PlacedSolid, ...], SearchResult]:
    with stages.stage("solids for physics"):
        solids = place_scene(reconstruction.scene)
    with stages.stage("grasp search") as told:
        observation = reconstruction.observation.with_camera_pose(reconstruction.scene.camera.T_world_camera)
        options = {"seed": seed, "settings": settings, "occlusion": Occlusion.of(observation)}
        search = search_grasps(solids, hand, progress=lambda done, expected: told(done / expected), **options)
    return solids, search


def _execute(
    world: World,
    bodies: tuple[int, ...],
    reconstruction: Reconstruction,
    selection: Selection,
    cell: RobotCell,
    T_world_base: Float[np.ndarray, "4 4"],
    out: Path,
    progress: Callable[[float], None],
) -> tuple[str, ExecutionReport, list, bytes]:
    """Name of the target, what happened, its phases in pictures, and its film (WebP); on the true scene.

    The motion is written beside the reconstruction, in whose world the base stands at `T_world_base`.
    """
    if selection.grasp is None or selection.plan is None:
        reasons = sorted({unreachable.reason.value for _, unreachable in selection.skipped})
        outcome = Outcome.UNREACHABLE if reasons else Outcome.NOTHING_GRASPABLE
        message = f"{outcome.value}: {'; '.join(reasons)}" if reasons else outcome.value
        return "", ExecutionReport(outcome, message, 0.0, 0.0), [], b""
    item = reconstruction.scene.objects[selection.grasp.object_index]
    target = bodies[reconstruction.mask_indices[selection.grasp.object_index]]
    centre = world.centre_of_mass(target)
    film_camera = place_camera(tuple(centre + FILM_EYE), tuple(centre + FILM_TARGET))
    seen = {k: bodies[index] for k, index in enumerate(reconstruction.mask_indices)}
    recorders: list[MotionRecorder] = []

    def record(robot: int) -> MotionRecorder:
        recorders.append(MotionRecorder(world, robot, seen))
        return recorders[-1]

    report, film, moving = carry_out(world, target, selection.grasp, selection.plan, cell, film_camera, progress, record)
    places = {k: each.T_world_object.double().numpy() for k, each in enumerate(reconstruction.scene.objects)}
    save_motion(recorders[0].motion(cell.urdf, T_world_base, places, report.message), out / "reconstruction")
    return item.name, report, film, encode_film(moving.frames, _FILM_FRAME_SECONDS)


def _all_seconds(stages: dict[str, float], reconstruction: Reconstruction) -> dict[str, float]:
    """The demo's stages, with those of the reconstruction in place of their sum."""
    inside = {f"reconstruct: {name}": seconds for name, seconds in reconstruction.seconds.items()}
    return {key: value for name, seconds in stages.items() for key, value in (inside if name == "reconstruct" else {name: seconds}).items()}
