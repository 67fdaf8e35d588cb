"""`invgraphics evaluate DATASET --out OUT`: every image of a set reconstructed, and its meshes scored against the true ones."""

import argparse
import os
import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from invgraphics import __version__
from invgraphics.commands.pictures import render_gallery_pictures
from invgraphics.datasets import GroundTruth, list_images, load_frame, load_ground_truth
from invgraphics.errors import InputError
from invgraphics.evaluation import ObjectResult, average, average_by_name, describe_result, mark_missing, score_objects, worst_first
from invgraphics.geometry.mesh import load_mesh
from invgraphics.metrics import SURFACE_SAMPLES
from invgraphics.output import claim_output_folder, save_reconstruction, write_json
from invgraphics.report.gallery import GalleryPictures, write_gallery
from invgraphics.report.html import count
from invgraphics.segment import mask_objects
from optim.reconstruct import reconstruct

_COLUMNS = {"cd_l1_mm": "CD mm", "f5": "F@5", "f10": "F@10", "nc": "NC", "accuracy_mm": "acc.", "completeness_mm": "compl."}
_WORST_SHOWN = 5
_FAILURES = (ArithmeticError, LookupError, MemoryError, RuntimeError, ValueError)
"""What a frame may fail with and the others still be done. `InputError` is a ValueError."""


@dataclass(frozen=True)
class ImageResult:
    """What came of one image."""

    image: str
    """As `load_frame` takes it."""
    objects: list[ObjectResult]
    seconds: dict[str, float]
    """Of each stage of the reconstruction."""
    peak_memory_bytes: int
    left_out: dict[int, str]
    pictures: dict[int, GalleryPictures]
    """By mask index."""
    failure: str = ""
    """Empty, or how it failed: one line."""
    details: str = ""
    """The traceback of a failure."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("dataset", metavar="DATASET", help="a BOP dataset (its folder), or frames:DIR for a folder of frame folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for meshes, results.json and gallery.html")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT")
    parser.add_argument("--scenes", nargs="+", metavar="NAME", help="only these scenes (of a BOP dataset) or frames (by folder)")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    parser.add_argument("--processes", type=int, default=1, help="images reconstructed at a time (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Reconstructs, scores, writes and prints. 0 unless an image failed."""
    console = Console()
    if arguments.processes < 1:
        raise InputError(f"--processes is {arguments.processes}; it must be at least 1")
    images = _select(list_images(arguments.dataset), arguments.scenes)
    claim_output_folder(arguments.out, arguments.overwrite)
    start = time.perf_counter()
    done = _evaluate_all(images, arguments.out, arguments.seed, arguments.processes, console)
    results = [result for image in done for result in image.objects]
    if not any(image.seconds or image.failure for image in done):
        raise InputError(f"{arguments.dataset} has no masks and no boxes: nothing to reconstruct")
    run_facts = _describe_run(arguments, time.perf_counter() - start)
    write_json(arguments.out / "results.json", {**run_facts, **_describe_results(done, results)})
    _write_gallery(arguments, done, results, run_facts)
    _print_results(console, done, results, arguments.out)
    return 1 if any(image.failure for image in done) else 0


def evaluate_image(image: str, out: Path, seed: int) -> ImageResult:
    """Reconstructs one image into its folder under `out` and scores what was written. What fails is recorded, not raised."""
    truths: list[GroundTruth] = []
    name = _name_of(image)
    try:
        truths = load_ground_truth(image)
        frame = load_frame(image)
        name = frame.observation.name
        if len(frame.observation.masks) + len(frame.boxes) == 0:
            return ImageResult(image, [], {}, 0, {}, {})
        observation = mask_objects(frame, torch.Generator().manual_seed(seed))
        reconstruction = reconstruct(observation, seed=seed)
        save_reconstruction(reconstruction, out / name)
        meshes = {index: load_mesh(out / name / "meshes" / f"object_{index:02d}.ply") for index in reconstruction.mask_indices}
        objects = score_objects(name, truths, meshes, reconstruction.left_out, seed)
        pictures = render_gallery_pictures(reconstruction, truths, meshes)
        return ImageResult(image, objects, reconstruction.seconds, reconstruction.peak_memory_bytes, reconstruction.left_out, pictures)
    except _FAILURES as error:
        reason = (
            " ".join(f"{error}".split()) if isinstance(error, InputError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
        )
        return ImageResult(image, mark_missing(name, truths, reason), {}, 0, {}, {}, reason, traceback.format_exc())


def _select(images: Sequence[str], scenes: Sequence[str] | None) -> list[str]:
    if scenes is None:
        return list(images)
    known = {_name_of(image) for image in images}
    wanted = {_match_scene(scene, known) for scene in scenes}
    return [image for image in images if _name_of(image) in wanted]


def _match_scene(scene: str, known: set[str]) -> str:
    for name in known:
        if name == scene or (name.isdigit() and scene.isdigit() and int(name) == int(scene)):
            return name
    raise InputError(f"--scenes names {scene}, which the dataset does not have; it has {', '.join(sorted(known))}")


def _name_of(image: str) -> str:
    """The scene of a BOP image (`PATH:SCENE/IMAGE`), the folder of a frame."""
    return Path(image).name if Path(image).is_dir() else image.rsplit(":", 1)[-1].split("/")[0]


def _evaluate_all(images: Sequence[str], out: Path, seed: int, processes: int, console: Console) -> list[ImageResult]:
    """The results in the order of the images, behind one progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    results = {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("images", total=len(images))
        for result in _stream(images, out, seed, processes):
            results[result.image] = result
            progress.advance(task)
            if result.failure:
                console.print(f"[red]failed[/red] {_name_of(result.image)}: {result.failure}", soft_wrap=True, highlight=False)
    return [results[image] for image in images]


def _stream(images: Sequence[str], out: Path, seed: int, processes: int) -> Iterator[ImageResult]:
    if processes == 1:
        yield from (evaluate_image(image, out, seed) for image in images)
        return
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        futures = {pool.submit(evaluate_image, image, out, seed): image for image in images}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                reason = "its process died (out of memory?), and the pool with it; run again with fewer --processes"
                truths = load_ground_truth(futures[future])
                yield ImageResult(futures[future], mark_missing(_name_of(futures[future]), truths, reason), {}, 0, {}, {}, reason)


def _describe_run(arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    return {
        "format": "invgraphics evaluation",
        "dataset": str(arguments.dataset),
        "seed": arguments.seed,
        "seconds": seconds,
        "processes": arguments.processes,
        "device": f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {"invgraphics": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "definitions": {
            "samples": SURFACE_SAMPLES,
            "missing": "objects without a mesh count as 0 in f5, f10, f20, f30 and nc and are left out of the distances",
        },
    }


def _describe_results(done: Sequence[ImageResult], results: Sequence[ObjectResult]) -> dict[str, Any]:
    seconds = [sum(image.seconds.values()) for image in done if image.seconds]
    return {
        "count": len(results),
        "missing": sum(result.scores is None for result in results),
        **average(results),
        "seconds_per_image": {"mean": sum(seconds) / len(seconds) if seconds else None, "max": max(seconds, default=None)},
        "by_name": average_by_name(results),
        "objects": [describe_result(result) for result in results],
        "images": [
            {
                "image": image.image,
                "seconds": image.seconds,
                "peak_memory_bytes": image.peak_memory_bytes,
                "left_out": {str(index): reason for index, reason in image.left_out.items()},
                "failure": image.failure or None,
                "details": image.details or None,
            }
            for image in done
        ],
    }


def _write_gallery(
    arguments: argparse.Namespace, done: Sequence[ImageResult], results: Sequence[ObjectResult], facts: dict[str, Any]
) -> None:
    pictures = {
        (result.image, result.mask_index): image.pictures[result.mask_index]
        for image in done
        for result in image.objects
        if result.mask_index in image.pictures
    }
    subtitle = f"{count(len(done), 'image')} · seed {arguments.seed} · {facts['seconds']:.0f} s on {facts['device']}"
    footer = f"invgraphics {__version__} · torch {torch.__version__} · {SURFACE_SAMPLES} points a surface"
    write_gallery(arguments.out / "gallery.html", Path(arguments.dataset).name, subtitle, results, pictures, footer)


def _print_results(console: Console, done: Sequence[ImageResult], results: Sequence[ObjectResult], out: Path) -> None:
    if results:
        console.print(_build_table(results))
    for line in _list_remarks(done, results):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"wrote {out}/results.json and {out}/gallery.html", highlight=False, soft_wrap=True)


def _build_table(results: Sequence[ObjectResult]) -> Table:
    """Means, medians and the worst objects."""
    table = Table(title=count(len(results), "object"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True, max_width=28)
    for column in _COLUMNS.values():
        table.add_column(column, justify="right", no_wrap=True, min_width=5)
    for row, values in average(results).items():
        table.add_row(row, *(f"{values[key]:.2f}" for key in _COLUMNS))
    for result in worst_first(results)[:_WORST_SHOWN]:
        cells = [f"{getattr(result.scores, key):.2f}" for key in _COLUMNS] if result.scores else ["missing"]
        table.add_row(f"{result.image}/{result.mask_index} {result.name}", *cells, style="dim")
    return table


def _list_remarks(done: Sequence[ImageResult], results: Sequence[ObjectResult]) -> Iterator[str]:
    seconds = [sum(image.seconds.values()) for image in done if image.seconds]
    missing = sum(result.scores is None for result in results)
    unmasked = sum(not image.seconds and not image.failure for image in done)
    unscored = sum(bool(image.seconds) and not image.objects for image in done)
    failed = sum(bool(image.failure) for image in done)
    if seconds:
        yield f"{count(len(seconds), 'image')} reconstructed, {sum(seconds) / len(seconds):.1f} s each (longest {max(seconds):.1f} s)"
    if unscored:
        yield f"{count(unscored, 'image')} reconstructed without a score: no true shape is known"
    if unmasked:
        yield f"{count(unmasked, 'image')} passed over: no masks and no boxes"
    if missing:
        yield f"{count(missing, 'object')} missing: 0 in F and NC, left out of the distances; results.json says why"
    if failed:
        yield f"[red]{count(failed, 'image')} failed[/red]; results.json says how"
