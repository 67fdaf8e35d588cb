"""`invgraphics grasp OUT`: grasps for a reconstructed scene, tried in simulation, ranked by success."""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from grasp_sim.candidates import CandidateSettings
from grasp_sim.engines import ENGINES, check_engine
from grasp_sim.hands import available_hands, load_hand
from grasp_sim.occlusion import Occlusion
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchResult, SearchSettings, search_grasps
from grasp_sim.solids import PlacedSolid, place_scene
from invgraphics.commands.grasp_pictures import render_grasps, save_picture
from invgraphics.datasets.frames import load_frame_folder
from invgraphics.errors import InputError
from invgraphics.grasp import Grasp, save_search
from invgraphics.output import FRAME_FOLDER, load_samples, load_scene

_ROWS_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder that `invgraphics reconstruct` wrote; grasps.json and grasps.png are added to it"
    )
    parser.add_argument(
        "--hand",
        default="parallel_jaw",
        metavar="NAME",
        help=f"{', '.join(available_hands())}, or the path of a description (.json) or its folder; default parallel_jaw",
    )
    parser.add_argument("--object", type=int, action="append", metavar="INDEX", help="only this object of the scene, once for each; from 0")
    parser.add_argument("--max-trials", type=int, metavar="N", help="try no more grasps than this")
    parser.add_argument("--max-seconds", type=float, metavar="S", help="stop trying after so long; the result then depends on the machine")
    parser.add_argument(
        "--over-table",
        type=float,
        default=0.5,
        metavar="MM",
        help="millimetres that the hand keeps from the table (default 0.5); more for an arm that does not know its table's height as well",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="processes for the trials (default: one for each core); the result does not depend on it"
    )
    parser.add_argument("--engine", choices=ENGINES, default="pybullet", help="physics engine of the trials (default pybullet)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an older grasps.json")


def run(arguments: argparse.Namespace) -> int:
    """Reads the scene, searches, writes `grasps.json`, prints. 1 where no grasp of any object succeeded."""
    path = arguments.out / "grasps.json"
    _check(arguments, path)
    check_engine(arguments.engine)
    hand = load_hand(arguments.hand)
    scene = load_scene(arguments.out)
    if scene.plane is None:
        raise InputError(f"{arguments.out}: the scene has no support plane, on which trials rest; give an image that shows one")
    objects = place_scene(scene, load_samples(arguments.out, scene)[0])
    frame = load_frame_folder(arguments.out / FRAME_FOLDER).observation
    occlusion = Occlusion.of(frame.with_camera_pose(scene.camera.T_world_camera))
    indices = _chosen_objects(arguments.object, objects)
    settings = SearchSettings(
        max_trials=arguments.max_trials,
        max_seconds=arguments.max_seconds,
        candidate=CandidateSettings(plane_clearance=1e-3 * arguments.over_table),
        engine=arguments.engine,
    )
    with TrialPool(arguments.processes) as pool, _show_progress(Console(stderr=True)) as progress:
        options = {"indices": indices, "seed": arguments.seed, "settings": settings, "occlusion": occlusion, "progress": progress}
        result = search_grasps(objects, hand, pool=pool, **options)
    save_search(result.grasps, result.failures, arguments.out)
    save_picture(render_grasps(scene, result.grasps, hand), arguments.out / "grasps.png")
    _print_result(Console(highlight=False), result, objects, path)
    return 0 if result.ranked else 1


def _check(arguments: argparse.Namespace, path: Path) -> None:
    """What can be known to be wrong before anything is computed."""
    if path.exists() and not arguments.overwrite:
        raise InputError(f"{path} exists already; give --overwrite to replace it")
    for name in ("max_trials", "max_seconds", "over_table", "processes"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise InputError(f"--{name.replace('_', '-')} is {value}; it must be positive")


def _chosen_objects(chosen: list[int] | None, objects: tuple[PlacedSolid, ...]) -> list[int]:
    if chosen is None:
        return list(range(len(objects)))
    for index in chosen:
        if not 0 <= index < len(objects):
            raise InputError(f"--object {index}: the scene has {len(objects)} objects, numbered from 0")
    return sorted(set(chosen))


@contextmanager
def _show_progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar over the trials."""
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("trials", total=None)
        yield lambda done, expected: bars.update(task, completed=done, total=expected)


def _describe_success(grasp: Grasp) -> str:
    low, high = grasp.success_interval
    return f"{100 * grasp.success_rate:.0f} % of {grasp.trials} ({100 * low:.0f}-{100 * high:.0f})"


def _summarize_failures(result: SearchResult) -> str:
    counts = Counter(why.reason.value for why in result.failures.values())
    return "; ".join(f"{count} x {reason}" for reason, count in counts.most_common())


def _print_result(console: Console, result: SearchResult, objects: tuple[PlacedSolid, ...], path: Path) -> None:
    if result.ranked:
        console.print(_build_table(result, objects))
    for index, why in sorted(result.failures.items()):
        console.print(f"no grasp of {objects[index].name}: {why.message}", soft_wrap=True)
    if not result.ranked:
        console.print(f"nothing graspable: {_summarize_failures(result) or 'the scene has no objects'}", soft_wrap=True)
    rate = result.trials / result.seconds
    console.print(f"{len(result.ranked)} grasps from {result.trials} trials in {result.seconds:.1f} s ({rate:.1f} a second)")
    console.print(f"wrote {path} and {path.with_suffix('.png').name}", soft_wrap=True)


def _build_table(result: SearchResult, objects: tuple[PlacedSolid, ...]) -> Table:
    """The best grasps, narrow enough for a terminal of 80 columns."""
    table = Table(title="grasps, best first", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("object", "way", "succeeded (95 %)", "width", "x y z", "tilt"):
        table.add_column(heading, justify="left" if heading in ("object", "way") else "right", no_wrap=True)
    for tried in result.ranked[:_ROWS_SHOWN]:
        T = tried.grasp.T_world_hand
        table.add_row(
            objects[tried.grasp.object_index].name,
            tried.template,
            _describe_success(tried.grasp),
            f"{1e3 * tried.grasp.width:.0f}",
            " ".join(f"{1e3 * value:.0f}" for value in T[:3, 3]),
            f"{math.degrees(math.acos(min(max(-float(T[2, 2]), -1.0), 1.0))):.0f}°",
        )
    table.caption = "millimetres; tilt: of the way in from straight down"
    table.caption_justify = "left"
    return table
