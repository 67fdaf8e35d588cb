"""Many images, each a scene of its own, reconstructed into `OUT/<image>`: in parallel, resumable, failures recorded and the rest done.

`OUT/batch.json` lists every image with its folder, its seconds and, where it failed, why. The same command again does what is missing.
"""

import functools
import io
import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from invgraphics import __version__
from invgraphics.commands.executors import run_all, show_progress
from invgraphics.commands.reconstruct import Settings, reconstruct_frames
from invgraphics.commands.scoring import FAILURES, describe_error, name_of
from invgraphics.datasets import load_frame
from invgraphics.errors import InputError
from invgraphics.output import claim_or_carry_on, write_json
from invgraphics.report.html import count
from optim.threads import one_thread

_TABLE, _RECORDS = "batch.json", ".records"


@dataclass(frozen=True)
class BatchResult:
    """What came of one image."""

    image: str
    """As `load_frame` takes it."""
    folder: str
    """In the output."""
    objects: int = 0
    seconds: float = 0.0
    messages: tuple[str, ...] = ()
    failure: str = ""
    """Empty, or how it failed: one line."""
    details: str = ""
    """The traceback of a failure that is not bad input."""


def run_batch(images: Sequence[str], out: Path, settings: Settings, workers: int | None, executor: str) -> int:
    """Reconstructs every image that is not done yet. 0 unless one failed.

    Raises:
        InputError: the folder holds something else, or two images would have the same folder in it.
    """
    folders = _choose_folders(images)
    claim_or_carry_on(out, _describe(settings), settings.overwrite)
    console = Console()
    done = {image: result for image in images if (result := _read_record(out, folders[image], image)) is not None}
    left = [image for image in images if image not in done]
    work = functools.partial(_reconstruct_image, out=out, folders=folders, settings=settings)
    bury = functools.partial(_bury, out=out, folders=folders)
    start = time.perf_counter()
    for result in show_progress(run_all(work, left, bury, workers, executor), len(images), len(done), console):
        done[result.image] = result
        if result.failure:
            console.print(f"[red]failed[/red] {result.folder}: {result.failure}", soft_wrap=True, highlight=False)
    results = [done[image] for image in images]
    facts = {"format": "invgraphics batch", **_describe(settings), "seconds": time.perf_counter() - start}
    write_json(out / _TABLE, facts | {"images": [asdict(result) for result in results]})
    failed = sum(bool(result.failure) for result in results)
    console.print(f"{count(len(results) - failed, 'image')} reconstructed, {failed} failed; wrote {out}/{_TABLE}", highlight=False)
    return 1 if failed else 0


def _choose_folders(images: Sequence[str]) -> dict[str, str]:
    """The name of each image's folder: the scene's name, with the image's number where the scene has more images here."""
    plain = [name_of(image) for image in images]
    folders = {image: name_of(image, with_number=plain.count(name) > 1) for image, name in zip(images, plain, strict=True)}
    taken: dict[str, str] = {}
    for image in images:
        folder = folders[image]
        if folder in taken:
            raise InputError(
                f"{taken[folder]} and {image} would both be written to {folder}; reconstruct them into different output folders"
            )
        taken[folder] = image
    return folders


def _describe(settings: Settings) -> dict[str, Any]:
    """What must be the same for results to belong together."""
    sam2 = None if settings.sam2 is None else str(settings.sam2)
    return {"command": "reconstruct", "seed": settings.seed, "samples": settings.samples, "sam2": sam2, "version": __version__}


def _reconstruct_image(image: str, out: Path, folders: dict[str, str], settings: Settings) -> BatchResult:
    """One image on one thread. What fails is recorded, not raised."""
    folder, said = folders[image], io.StringIO()
    start = time.perf_counter()
    objects, failure, details = 0, "", ""
    with one_thread():
        try:
            frame = load_frame(image)
            place = Settings(settings.seed, settings.samples, settings.sam2, overwrite=True)
            messages = Console(file=said, soft_wrap=True, highlight=False)
            result, _ = reconstruct_frames([image], [frame], None, out / folder, place, _ignore_progress, messages)
            objects = len(result.scene.objects)
        except InputError as error:
            failure = describe_error(error)
        except FAILURES as error:
            failure, details = describe_error(error), traceback.format_exc()
    messages_said = tuple(said.getvalue().splitlines())
    return _record(BatchResult(image, folder, objects, time.perf_counter() - start, messages_said, failure, details), out)


def _ignore_progress(stage: str, fraction: float) -> None:
    """Stages of single images are not shown: the bar counts images."""


def _bury(image: str, out: Path, folders: dict[str, str]) -> BatchResult:
    return _record(BatchResult(image, folders[image], failure="its process died (out of memory?)"), out)


def _record(result: BatchResult, out: Path) -> BatchResult:
    (out / _RECORDS).mkdir(exist_ok=True)
    write_json(out / _RECORDS / f"{result.folder}.json", asdict(result))
    return result


def _read_record(out: Path, folder: str, image: str) -> BatchResult | None:
    """What an earlier run recorded of an image, if it was done and nothing failed."""
    path = out / _RECORDS / f"{folder}.json"
    if not path.is_file():
        return None
    row = json.loads(path.read_text())
    if row["image"] != image or row["failure"]:
        return None
    return BatchResult(**(row | {"messages": tuple(row["messages"])}))
