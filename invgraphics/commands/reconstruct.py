"""`invgraphics reconstruct FRAME... --out OUT`: one RGB-D image, or several of one scene, to meshes, poses, materials and lights."""

import argparse
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from invgraphics.commands.executors import add_executor_arguments
from invgraphics.commands.pictures import render_pictures
from invgraphics.commands.prompting import add_prompt_arguments, parse_prompts, segment_frame
from invgraphics.datasets import FrameInput, is_set, list_images, load_frame, load_ground_truth
from invgraphics.errors import InputError
from invgraphics.evaluation import ObjectResult, describe_result, score_objects
from invgraphics.metrics import ShapeScores
from invgraphics.output import CHECKPOINT_FOLDER, check_output_folder, claim_output_folder, save_reconstruction
from invgraphics.reconstruction import Reconstruction
from invgraphics.report import write_report
from invgraphics.report.html import count
from invgraphics.scene import SceneObject
from invgraphics.segment import Prompt
from invgraphics.surfaces import build_surface
from invgraphics.transforms import invert
from optim.reconstruct import reconstruct_views
from optim.uncertainty import check_sample_count, sample_shapes

_SCORES = {"cd_l1_mm": "CD-L1 mm", "f10": "F@10 mm"}


@dataclass(frozen=True)
class Settings:
    """How an image, or the images of a scene, are reconstructed."""

    seed: int = 0
    samples: int = 0
    """Shapes drawn of every object; 0 for none."""
    sam2: Path | None = None
    """Folder of a SAM 2 checkpoint; None for depth and GrabCut."""
    overwrite: bool = False
    """Whether old results in the output folder are replaced."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "frames",
        metavar="FRAME",
        nargs="+",
        help="a frame folder (rgb.png, depth.png, camera.json), or an image of a dataset, PATH:SCENE/IMAGE (BOP) or KIND:PATH:SCENE/IMAGE "
        "(docs/datasets.md); more images of the same scene refine the objects of the first, their cameras where they say, else found from "
        "the images; a set of images (PATH of BOP, KIND:PATH, frames:DIR) is reconstructed image by image into OUT/<image>",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for meshes/, scene.json, scene.glb, metrics.json and report.html")
    add_prompt_arguments(parser)
    parser.add_argument(
        "--samples", type=int, default=0, metavar="K", help="draw K shapes per object that the image allows, at least 2 (default: none)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT")
    parser.add_argument("--each", action="store_true", help="every FRAME is a scene of its own, reconstructed into OUT/<its name>")
    add_executor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reads, segments, reconstructs, writes and prints. Old results are replaced only once there are new ones.

    A run that was killed goes on after the last stage that it finished, when it is asked for the same again.
    """
    if arguments.samples:
        check_sample_count(arguments.samples)
    settings = Settings(arguments.seed, arguments.samples, arguments.sam2, arguments.overwrite)
    if arguments.each or any(is_set(name) for name in arguments.frames):
        return _run_batch(arguments, settings)
    if arguments.workers is not None or arguments.executor != "processes":
        raise InputError(
            "--workers and --executor are for sets of images, or several with --each; one scene is reconstructed by one process"
        )
    check_output_folder(arguments.out, arguments.overwrite)
    frames = [load_frame(name) for name in arguments.frames]
    prompts = parse_prompts(arguments.marks, frames)
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    with _show_progress(messages) as progress:
        result, scores = reconstruct_frames(arguments.frames, frames, prompts, arguments.out, settings, progress, messages)
    _print_summary(Console(highlight=False), result, scores, arguments.out)
    return 0


def _run_batch(arguments: argparse.Namespace, settings: Settings) -> int:
    """Every image for itself: see `batch.run_batch`."""
    from invgraphics.commands.batch import run_batch

    if arguments.marks:
        raise InputError(
            "--box and --click hold pixels of one image, and there are several; put boxes.json or mask.png into each frame folder"
        )
    images = [image for name in arguments.frames for image in (list_images(name) if is_set(name) else [name])]
    return run_batch(images, arguments.out, settings, arguments.workers, arguments.executor)


def reconstruct_frames(
    names: Sequence[str],
    frames: Sequence[FrameInput],
    prompts: Sequence[Prompt] | None,
    out: Path,
    settings: Settings,
    progress: Callable[[str, float], None],
    messages: Console,
) -> tuple[Reconstruction, list[ObjectResult]]:
    """Segments and reconstructs the images of one scene and writes everything to a folder; the scores where the truth is known.

    Args:
        names: of the images, as `load_frame` takes them.
        frames: the images.
        prompts: what was marked on the only image; None where nothing was.
        out: the folder; claimed once there are results.
        settings: how.
        progress: called with the name of a stage and the fraction done.
        messages: gets what the user should know.
    """
    progress("masks", 0.0)
    start = time.perf_counter()
    segmented = [segment_frame(frame, prompts, settings.sam2, settings.seed) for frame in frames]
    observations = [observation for observation, _ in segmented]
    seconds = time.perf_counter() - start
    checkpoint = out / CHECKPOINT_FOLDER
    result = reconstruct_views(observations, _relate_cameras(frames, messages), settings.seed, progress, checkpoint=checkpoint)
    if settings.samples:
        progress("shape samples", 0.9)
        result = sample_shapes(result, settings.samples, settings.seed)
    result = replace(result, seconds={"masks": seconds, **result.seconds})
    messages.print("masks: " + "; ".join(dict.fromkeys(source for _, source in segmented)))
    for index, reason in sorted(result.left_out.items()):
        messages.print(f"{observations[0].object_names[index]} is left out: {reason}")
    for stage in result.history:
        if stage.stage.startswith("registration"):
            messages.print(f"{stage.stage}: {stage.outcome}")
    masks_are_given = prompts is None and len(frames[0].observation.masks) > 0
    scores = _score(names[0], result, settings.seed, messages) if masks_are_given else []
    _write(result, scores, out, settings.overwrite)
    return result, scores


def _write(result: Reconstruction, scores: Sequence[ObjectResult], out: Path, overwrite: bool) -> None:
    """Puts results in the place of what an earlier run left."""
    claim_output_folder(out, overwrite)
    by_mask = {score.mask_index: score.scores for score in scores if score.scores is not None}
    in_scene = {position: by_mask[index] for position, index in enumerate(result.mask_indices) if index in by_mask}
    write_report(out / "report.html", result, render_pictures(result), in_scene)
    save_reconstruction(result, out, {"objects": [describe_result(score) for score in scores]} if scores else None)
    shutil.rmtree(out / CHECKPOINT_FOLDER)


def _relate_cameras(frames: Sequence[FrameInput], messages: Console) -> Float[Tensor, "k 4 4"] | None:
    """Each camera's coordinates to the first one's; None where any frame does not say where its camera stood."""
    poses = [frame.T_world_camera for frame in frames if frame.T_world_camera is not None]
    if 0 < len(poses) < len(frames):
        messages.print(
            f"{len(poses)} of {len(frames)} images say where their camera stood; that is not used, all are found from the images"
        )
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
    table = Table(title=f"{result.observation.name}: {count(len(result.scene.objects), 'object')}", title_justify="left")
    for heading in ("object", "size mm", "distance m", *(_SCORES.values() if by_mask else ())):
        table.add_column(heading, justify="left" if heading == "object" else "right")
    for index, shape in zip(result.mask_indices, result.scene.objects, strict=True):
        table.add_row(f"{index:02d} {shape.name}", *_describe_shape(shape, result), *_describe_scores(by_mask, index))
    console.print(table)
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.seconds.items())
    console.print(f"{sum(result.seconds.values()):.1f} s ({stages}), {result.peak_memory_bytes / 2**30:.2f} GiB", soft_wrap=True)
    meshes = f"{len(result.scene.objects)} mesh" + "es" * (len(result.scene.objects) != 1)
    console.print(f"wrote {out}/report.html, scene.json, scene.glb, metrics.json and {meshes}", soft_wrap=True)


def _describe_shape(shape: SceneObject, result: Reconstruction) -> tuple[str, str]:
    """Sides of the mesh's bounding box along the object's axes, millimetres, and the distance from the camera, metres."""
    vertices = build_surface(shape).vertices
    extent = sorted((1e3 * (vertices.max(0).values - vertices.min(0).values)).tolist(), reverse=True)
    centre = (result.scene.camera.T_camera_world @ shape.T_world_object)[:3, 3]
    return " x ".join(f"{length:.0f}" for length in extent), f"{float(centre.norm()):.2f}"


def _describe_scores(by_mask: dict[int, ShapeScores], index: int) -> list[str]:
    if not by_mask:
        return []
    return [f"{getattr(by_mask[index], name):.1f}" if index in by_mask else "" for name in _SCORES]
