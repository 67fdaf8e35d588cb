"""`invgraphics evaluate DATASET --out OUT`: every image of a set reconstructed, and its meshes scored against the true ones."""

import argparse
import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from invgraphics import __version__
from invgraphics.commands.executors import add_executor_arguments, choose_workers, describe_machine, run_all, show_progress
from invgraphics.commands.pose_tables import build_pose_table, describe_poses
from invgraphics.commands.prompting import add_sam2_argument
from invgraphics.commands.scoring import ImageResult, Job, describe_image, evaluate_image, fail, name_of, read_record
from invgraphics.commands.view_poses import score_between_images
from invgraphics.datasets import list_images, load_pose_truth
from invgraphics.errors import InputError
from invgraphics.evaluation import (
    ObjectResult,
    average,
    average_by_category,
    average_by_name,
    compare_hypotheses,
    describe_result,
    measure_shares,
    worst_first,
)
from invgraphics.metrics import SURFACE_SAMPLES, VOLUME_SAMPLES
from invgraphics.output import claim_or_carry_on, write_json
from invgraphics.pose_metrics import PoseResult
from invgraphics.report.gallery import write_gallery
from invgraphics.report.html import count
from invgraphics.spread import summarize_spread
from optim.options import INGREDIENTS, ReconstructionOptions
from optim.uncertainty import check_sample_count

_COLUMNS = {"cd_l1_mm": "CD mm", "f5": "F@5", "f10": "F@10", "nc": "NC", "iou": "IoU", "add_s_mm": "ADD-S mm"}
_CHECK_COLUMNS = {
    "depth_mm": "depth",
    "silhouette_iou": "silh.",
    "colour_psnr_db": "colour",
    "penetration_mm": "overlap",
    "sinking_mm": "sunk",
    "moved_mm": "moved",
    "turned_degrees": "turned",
}
"""In millimetres, percent, decibels, millimetres, millimetres, millimetres, degrees."""
_SHARES = {"stable": "stable", "closed": "closed", "add_s_auc": "ADD-S AUC"}
_WORST_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("dataset", metavar="DATASET", help="a BOP dataset (its folder), or frames:DIR for a folder of frame folders")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for meshes, results.json and gallery.html; one that the same command began before is carried on with",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT, and begin anew")
    parser.add_argument("--scenes", nargs="+", metavar="NAME", help="only these scenes (of a BOP dataset) or frames (by folder)")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    add_executor_arguments(parser)
    parser.add_argument(
        "--without",
        default="",
        metavar="NAME[,NAME...]",
        help=f"leave ingredients of the reconstruction out, to see what they are worth: {', '.join(INGREDIENTS)}",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="K",
        help="draw K shapes per object, at least 2, and say whether their spread predicts the error (default: none)",
    )
    parser.add_argument(
        "--from-boxes", action="store_true", help="segment inside the boxes of the given masks, instead of taking the masks"
    )
    add_sam2_argument(parser)
    parser.add_argument("--no-poses", action="store_true", help="lay no models over the reconstructions to score poses")
    parser.add_argument("--hypotheses", action="store_true", help="score every completion that could have been chosen, too")


def run(arguments: argparse.Namespace) -> int:
    """Reconstructs, scores, writes and prints. 0 unless an image failed."""
    console = Console()
    choose_workers(arguments.workers, arguments.executor)
    options = ReconstructionOptions().without([name.strip() for name in arguments.without.split(",") if name.strip()])
    if arguments.samples:
        check_sample_count(arguments.samples)
    images = _select(list_images(arguments.dataset), arguments.scenes)
    job = Job(
        arguments.out,
        arguments.seed,
        options,
        arguments.hypotheses,
        arguments.samples,
        not arguments.no_poses,
        arguments.from_boxes,
        arguments.sam2,
    )
    claim_or_carry_on(arguments.out, _describe_settings(arguments, job), arguments.overwrite)
    start = time.perf_counter()
    done = _evaluate_all(images, job, arguments.workers, arguments.executor, console)
    poses = [pose for image in done for pose in image.poses]
    if job.poses:
        poses += score_between_images(done, job, arguments.workers, arguments.executor)
    results = [result for image in done for result in image.objects]
    if not any(image.seconds or image.failure for image in done):
        raise InputError(f"{arguments.dataset} has no masks and no boxes: nothing to reconstruct")
    run_facts = _describe_run(arguments, job, time.perf_counter() - start)
    write_json(arguments.out / "results.json", {**run_facts, **_describe_results(done, results), "poses": describe_poses(poses)})
    _write_gallery(arguments, done, results, run_facts)
    _print_results(console, done, results, poses, arguments.out)
    return 1 if any(image.failure for image in done) else 0


def _describe_settings(arguments: argparse.Namespace, job: Job) -> dict[str, Any]:
    """What must be the same for results to belong together."""
    return {
        "dataset": str(arguments.dataset),
        "seed": job.seed,
        "without": list(job.options.left_out),
        "hypotheses": job.candidates,
        "samples": job.samples,
        "poses": job.poses,
        "from_boxes": job.from_boxes,
        "sam2": None if job.sam2 is None else str(job.sam2),
        "version": __version__,
    }


def _select(images: Sequence[str], scenes: Sequence[str] | None) -> list[str]:
    if scenes is None:
        return list(images)
    known = {name_of(image) for image in images}
    wanted = {_match_scene(scene, known) for scene in scenes}
    return [image for image in images if name_of(image) in wanted]


def _match_scene(scene: str, known: set[str]) -> str:
    for name in known:
        if name == scene or (name.isdigit() and scene.isdigit() and int(name) == int(scene)):
            return name
    raise InputError(f"--scenes names {scene}, which the dataset does not have; it has {', '.join(sorted(known))}")


def _evaluate_all(images: Sequence[str], job: Job, workers: int | None, executor: str, console: Console) -> list[ImageResult]:
    """The results in the order of the images, behind one progress bar; those that an earlier run recorded are taken from there."""
    results = {image: result for image in images if (result := read_record(job.out, image)) is not None}
    left = [image for image in images if image not in results]
    for result in show_progress(evaluate_images(left, job, workers, executor), len(images), len(results), console):
        results[result.image] = result
        if result.failure:
            console.print(f"[red]failed[/red] {name_of(result.image)}: {result.failure}", soft_wrap=True, highlight=False)
    return [results[image] for image in images]


def evaluate_images(images: Sequence[str], job: Job, workers: int | None, executor: str = "processes") -> Iterator[ImageResult]:
    """Results as they come; an image on which the process died has failed."""
    return run_all(functools.partial(evaluate_image, job=job), images, _bury, workers, executor)


def _bury(image: str) -> ImageResult:
    return fail(image, name_of(image), load_pose_truth(image), "its process died (out of memory?)")


def _describe_run(arguments: argparse.Namespace, job: Job, seconds: float) -> dict[str, Any]:
    return {
        "format": "invgraphics evaluation",
        **_describe_settings(arguments, job),
        "seconds": seconds,
        "workers": choose_workers(arguments.workers, arguments.executor),
        "executor": arguments.executor,
        **describe_machine(),
        "definitions": {
            "samples": SURFACE_SAMPLES,
            "volume_samples": VOLUME_SAMPLES,
            "missing": "objects without a mesh count as 0 in f5, f10, f20, f30, nc, iou and silhouette_iou, else they are left out",
        },
    }


def _describe_results(done: Sequence[ImageResult], results: Sequence[ObjectResult]) -> dict[str, Any]:
    seconds = [sum(image.seconds.values()) for image in done if image.seconds]
    known, unknown = _split(results)
    return {
        "count": len(known),
        "missing": sum(result.scores is None for result in known),
        **average(known),
        "shares": measure_shares(results),
        "seconds_per_image": {"mean": sum(seconds) / len(seconds) if seconds else None, "max": max(seconds, default=None)},
        "by_category": average_by_category(known),
        "by_name": average_by_name(known),
        "spread": _summarize_spread(known),
        "hypotheses_by_category": compare_hypotheses(known),
        "objects": [describe_result(result) for result in known],
        "objects_without_truth": {"count": len(unknown), **average(unknown), "objects": [describe_result(result) for result in unknown]},
        "images": [describe_image(image) for image in done],
    }


def _summarize_spread(known: Sequence[ObjectResult]) -> dict[str, Any] | None:
    """How well the shape samples predict the errors; None where none were drawn."""
    spreads = [result.spread for result in known if result.spread]
    return summarize_spread(spreads) if spreads else None


def _split(results: Sequence[ObjectResult]) -> tuple[list[ObjectResult], list[ObjectResult]]:
    """Objects with a true shape, and those of which none is known."""
    known = [result for result in results if result.scores or result.missing]
    return known, [result for result in results if not (result.scores or result.missing)]


def _write_gallery(
    arguments: argparse.Namespace, done: Sequence[ImageResult], results: Sequence[ObjectResult], facts: dict[str, Any]
) -> None:
    pictures = {}
    for image in done:
        for row in image.objects:
            if row.mask_index in image.pictures:
                pictures[row.image, row.mask_index] = image.pictures[row.mask_index]
    without = f" · without {', '.join(facts['without'])}" if facts["without"] else ""
    subtitle = f"{count(len(done), 'image')} · seed {arguments.seed} · {facts['device']}{without}"
    footer = f"invgraphics {__version__} · torch {torch.__version__} · {SURFACE_SAMPLES} points a surface"
    write_gallery(arguments.out / "gallery.html", Path(arguments.dataset).name, subtitle, results, pictures, footer)


def _print_results(
    console: Console, done: Sequence[ImageResult], results: Sequence[ObjectResult], poses: Sequence[PoseResult], out: Path
) -> None:
    known, _ = _split(results)
    if known:
        console.print(_build_table(known))
    if results:
        console.print(_build_check_table(results))
    if poses:
        console.print(build_pose_table(poses))
    for line in _list_remarks(done, results):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"wrote {out}/results.json and {out}/gallery.html", highlight=False, soft_wrap=True)


def _build_table(results: Sequence[ObjectResult]) -> Table:
    """Means, medians and the worst objects."""
    table = Table(title=count(len(results), "object"), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True, max_width=24)
    for column in _COLUMNS.values():
        table.add_column(column, justify="right", no_wrap=True, min_width=5)
    for row, values in average(results).items():
        table.add_row(row, *(_format(values[key]) for key in _COLUMNS))
    for result in worst_first(results)[:_WORST_SHOWN]:
        cells = [_format(getattr(result.scores, key)) for key in _COLUMNS] if result.scores else ["missing"]
        table.add_row(f"{result.image}/{result.mask_index} {result.name}", *cells, style="dim")
    return table


def _build_check_table(results: Sequence[ObjectResult]) -> Table:
    """What needs no truth: agreement with the image, contact, stability."""
    shares = measure_shares(results)
    title = ", ".join(f"{name} {_format(shares[key])} %" for key, name in _SHARES.items() if not math.isnan(shares[key]))
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for column in _CHECK_COLUMNS.values():
        table.add_column(column, justify="right", no_wrap=True)
    for row, values in average(results).items():
        table.add_row(row, *(_format(values[key]) for key in _CHECK_COLUMNS))
    return table


def _format(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _list_remarks(done: Sequence[ImageResult], results: Sequence[ObjectResult]) -> Iterator[str]:
    seconds = [sum(image.seconds.values()) for image in done if image.seconds]
    missing = sum(bool(result.missing) for result in results)
    unknown = len(_split(results)[1])
    unmasked = sum(not image.seconds and not image.failure for image in done)
    failed = sum(bool(image.failure) for image in done)
    spread = _summarize_spread(_split(results)[0])
    if spread:
        yield (
            f"{spread['samples']} shapes per object: predicted error {spread['predicted_mm']:.2f} mm, actual {spread['actual_mm']:.2f} mm, "
            f"rank correlation {_format(spread['rank_correlation'])} over objects and {_format(spread['point_rank_correlation'])} over "
            f"points, shares off by {100 * spread['miscalibration']:.0f} % in the mean"
        )
    if seconds:
        yield f"{count(len(seconds), 'image')} reconstructed, {sum(seconds) / len(seconds):.1f} s each (longest {max(seconds):.1f} s)"
    if unknown:
        yield f"{count(unknown, 'object')} reconstructed whose true shape is not known: only what needs no truth is said of them"
    if unmasked:
        yield f"{count(unmasked, 'image')} passed over: no masks and no boxes"
    if missing:
        yield f"{count(missing, 'object')} missing: 0 in F and NC, left out of the distances; results.json says why"
    if failed:
        yield f"[red]{count(failed, 'image')} failed[/red]; results.json says how"
