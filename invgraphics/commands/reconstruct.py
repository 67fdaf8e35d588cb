"""`invgraphics reconstruct FRAME... --out OUT`: one RGB-D image, or several of one scene, to meshes, poses, materials and lights."""

import argparse
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from invgraphics.commands.pictures import render_pictures
from invgraphics.datasets import FrameInput, load_frame, load_ground_truth, parse_boxes
from invgraphics.errors import InputError
from invgraphics.evaluation import ObjectResult, describe_result, score_objects
from invgraphics.metrics import ShapeScores
from invgraphics.output import CHECKPOINT_FOLDER, check_output_folder, claim_output_folder, save_reconstruction
from invgraphics.reconstruction import Reconstruction
from invgraphics.report import write_report
from invgraphics.scene import SceneObject
from invgraphics.segment import mask_objects
from invgraphics.transforms import invert
from optim.reconstruct import reconstruct_views
from optim.uncertainty import check_sample_count, sample_shapes

_SCORES = {"cd_l1_mm": "CD-L1 mm", "f10": "F@10 mm"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "frames",
        metavar="FRAME",
        nargs="+",
        help="a frame folder (rgb.png, depth.png, camera.json), or a BOP image PATH:SCENE/IMAGE; more images of the same scene refine the "
        "objects of the first, their cameras where they say (T_world_camera in camera.json, cam_R_w2c in BOP), else found from the images",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for meshes/, scene.json, scene.glb, metrics.json and report.html")
    parser.add_argument(
        "--box",
        type=float,
        nargs=4,
        action="append",
        metavar=("X0", "Y0", "X1", "Y1"),
        help="an object's box in pixels, once for each object; in place of the masks and boxes that come with the image",
    )
    parser.add_argument(
        "--samples", type=int, default=0, metavar="K", help="draw K shapes an object that the image allows, 2 at least (default: none)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT")


def run(arguments: argparse.Namespace) -> int:
    """Reads, segments, reconstructs, writes and prints. Old results are replaced only once there are new ones.

    A run that was killed goes on after the last stage that it finished, when it is asked for the same again.
    """
    if arguments.samples:
        check_sample_count(arguments.samples)
    check_output_folder(arguments.out, arguments.overwrite)
    frames = [load_frame(name) for name in arguments.frames]
    boxes = _parse_boxes(arguments.box, frames)
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    with _show_progress(messages) as progress:
        progress("masks", 0.0)
        start = time.perf_counter()
        observations = [mask_objects(frame, torch.Generator().manual_seed(arguments.seed), boxes) for frame in frames]
        seconds = time.perf_counter() - start
        checkpoint = arguments.out / CHECKPOINT_FOLDER
        result = reconstruct_views(observations, _relate_cameras(frames), arguments.seed, progress, checkpoint=checkpoint)
        if arguments.samples:
            progress("shape samples", 0.9)
            result = sample_shapes(result, arguments.samples, arguments.seed)
        result = replace(result, seconds={"masks": seconds, **result.seconds})
    for index, reason in sorted(result.left_out.items()):
        messages.print(f"{observations[0].object_names[index]} is left out: {reason}")
    for stage in result.history:
        if stage.stage.startswith("registration"):
            messages.print(f"{stage.stage}: {stage.outcome}")
    masks_are_given = boxes is None and len(frames[0].observation.masks) > 0
    scores = _score(arguments.frames[0], result, arguments.seed, messages) if masks_are_given else []
    claim_output_folder(arguments.out, arguments.overwrite)
    by_mask = {score.mask_index: score.scores for score in scores if score.scores is not None}
    in_scene = {position: by_mask[index] for position, index in enumerate(result.mask_indices) if index in by_mask}
    write_report(arguments.out / "report.html", result, render_pictures(result), in_scene)
    save_reconstruction(result, arguments.out, {"objects": [describe_result(score) for score in scores]} if scores else None)
    shutil.rmtree(arguments.out / CHECKPOINT_FOLDER)
    _print_summary(Console(highlight=False), result, scores, arguments.out)
    return 0


def _parse_boxes(boxes: list[list[float]] | None, frames: Sequence[FrameInput]) -> Float[Tensor, "b 4"] | None:
    if boxes is None:
        return None
    if len(frames) > 1:
        raise InputError("--box holds pixels of one image, and there are several; put boxes.json or mask.png into each frame folder")
    camera = frames[0].observation.camera
    return parse_boxes(boxes, camera.height, camera.width, "--box")


def _relate_cameras(frames: Sequence[FrameInput]) -> Float[Tensor, "k 4 4"] | None:
    """Each camera's coordinates to the first one's; None where any frame does not say where its camera stood."""
    poses = [frame.T_world_camera for frame in frames if frame.T_world_camera is not None]
    return invert(poses[0]) @ torch.stack(poses) if len(poses) == len(frames) else None


@contextmanager
def _show_progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """A bar that a function called with the name of the stage and the fraction done moves on."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda stage, fraction: bar.update(task, description=stage, completed=fraction)


def _score(image: str, result: Reconstruction, seed: int, messages: Console) -> list[ObjectResult]:
    """The objects against the truth, where the dataset has it."""
    try:
        truths = load_ground_truth(image)
    except InputError as error:
        messages.print(f"not scored: {error}")
        return []
    T_camera_world = result.scene.camera.T_camera_world
    meshes = {
        index: shape.mesh.transformed(T_camera_world @ shape.T_world_object)
        for index, shape in zip(result.mask_indices, result.scene.objects, strict=True)
        if shape.mesh is not None
    }
    return score_objects(result.observation.name, truths, meshes, result.left_out, seed)


def _print_summary(console: Console, result: Reconstruction, scores: list[ObjectResult], out: Path) -> None:
    by_mask = {score.mask_index: score.scores for score in scores if score.scores is not None}
    table = Table(title=f"{result.observation.name}: {len(result.scene.objects)} objects", title_justify="left")
    for heading in ("object", "size mm", "distance m", *(_SCORES.values() if by_mask else ())):
        table.add_column(heading, justify="left" if heading == "object" else "right")
    for index, shape in zip(result.mask_indices, result.scene.objects, strict=True):
        table.add_row(f"{index:02d} {shape.name}", *_describe_shape(shape, result), *_describe_scores(by_mask, index))
    console.print(table)
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.seconds.items())
    console.print(f"{sum(result.seconds.values()):.1f} s ({stages}), {result.peak_memory_bytes / 2**30:.2f} GiB", soft_wrap=True)
    console.print(f"wrote {out}/report.html, scene.json, scene.glb, metrics.json and {len(result.scene.objects)} meshes", soft_wrap=True)


def _describe_shape(shape: SceneObject, result: Reconstruction) -> tuple[str, str]:
    extent = sorted((2000 * shape.radii).tolist(), reverse=True)
    centre = (result.scene.camera.T_camera_world @ shape.T_world_object)[:3, 3]
    return " x ".join(f"{length:.0f}" for length in extent), f"{float(centre.norm()):.2f}"


def _describe_scores(by_mask: dict[int, ShapeScores], index: int) -> list[str]:
    if not by_mask:
        return []
    return [f"{getattr(by_mask[index], name):.1f}" if index in by_mask else "" for name in _SCORES]
