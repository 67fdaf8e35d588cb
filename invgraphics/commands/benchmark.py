"""`invgraphics benchmark clutter`: the clutter removal experiment of VGN and GIGA on any folder of meshes."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from grasp_sim.benchmark import (
    ClutterSettings,
    Perception,
    Round,
    Score,
    closed_or_hull,
    describe_rounds,
    load_models,
    read_round,
    run_clutter,
    score_rounds,
    see_hulls,
    see_truth,
)
from grasp_sim.clutter import NOISE, VIEW_DISTANCE, Protocol, View, calibrate_depth
from grasp_sim.engines import ENGINES, check_engine
from grasp_sim.hands import available_hands, load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.solids import PlacedSolid, build_solid, object_surface
from invgraphics.denoise import smooth_depth
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.output import claim_output_folder, write_json
from invgraphics.plane import find_support_plane
from invgraphics.scene import SceneObject
from invgraphics.segment.plain import propose_plain_masks
from optim.options import ReconstructionOptions
from optim.reconstruct import reconstruct

_ROUNDS, _SETTINGS = "rounds", "settings.json"
"""Where a run leaves what a later one goes on from."""
_UNITS = {"m": 1.0, "mm": 1e-3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("what", choices=["clutter"], help="clutter removal: five objects, one noisy side view, until the table is clear")
    parser.add_argument("--objects", type=Path, required=True, metavar="DIR", help="folder of meshes, upright in their own frames")
    parser.add_argument("--unit", choices=sorted(_UNITS), default="m", help="of the meshes (default m)")
    parser.add_argument("--largest", type=float, default=0.15, metavar="M", help="leave out longer meshes, metres (default 0.15)")
    parser.add_argument("--protocol", choices=[each.value for each in Protocol], required=True, help="upright side by side, or poured")
    parser.add_argument("--hand", default="parallel_jaw", metavar="NAME", help=f"{', '.join(available_hands())}, or a description's path")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default 100")
    parser.add_argument("--engine", choices=ENGINES, default="pybullet", help="of the trials that choose grasps; the table is PyBullet's")
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    parser.add_argument(
        "--perception",
        choices=sorted(_PERCEPTIONS),
        default="reconstruction",
        help="what grasps are planned on: the reconstruction (default), it with true masks, the true meshes, hulls of the visible points",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="default: one for each core; the result does not depend on it")
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json")
    parser.add_argument("--overwrite", action="store_true", help="begin anew; an interrupted run goes on otherwise")


def run(arguments: argparse.Namespace) -> int:
    """Plays the rounds, writes `results.json`, prints both rates."""
    for name in ("rounds", "processes", "largest"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise InputError(f"--{name} is {value}; it must be positive")
    check_engine(arguments.engine)
    hand = load_hand(arguments.hand)
    done = _begin(arguments)
    settings = ClutterSettings(Protocol(arguments.protocol))
    settings = replace(settings, search=replace(settings.search, engine=arguments.engine))
    perceive = _PERCEPTIONS[arguments.perception]
    with TrialPool(arguments.processes) as pool:
        models, notes = load_models(arguments.objects, _UNITS[arguments.unit], arguments.largest, pool)
        with _show_progress(Console(stderr=True), arguments.rounds, len(done)) as advance:

            def keep(played: Round) -> None:
                write_json(arguments.out / _ROUNDS / f"{played.number:04d}.json", describe_rounds([played])[0])
                advance()

            options = {"rounds": arguments.rounds, "seed": arguments.seed, "done": done, "finished": keep}
            rounds = run_clutter(models, hand, perceive, settings, pool=pool, **options)
    gsr, dr = score_rounds(rounds, arguments.seed)
    write_json(arguments.out / "results.json", _describe(arguments, rounds, gsr, dr, notes))
    _print_result(Console(highlight=False), arguments, rounds, gsr, dr, len(models), notes)
    return 0


def see_reconstruction(view: View, seed: int) -> Sequence[PlacedSolid]:
    """Objects reconstructed from the noisy view alone, masks by colour; in the true world frame by the known camera pose."""
    observation = calibrate_depth(view.observation)
    plane = find_support_plane(observation, torch.Generator().manual_seed(seed))
    if plane is None:
        return []
    return _reconstruct(observation.with_masks(propose_plain_masks(observation, plane)), seed)


def see_reconstruction_with_masks(view: View, seed: int) -> Sequence[PlacedSolid]:
    """The same with the true masks."""
    masks = torch.tensor(np.stack([view.seen == k for k in range(len(view.truth))]))
    visible = [k for k in range(len(masks)) if bool(masks[k].any())]
    return _reconstruct(calibrate_depth(view.observation).with_masks(masks[visible]), seed)


_PERCEPTIONS: dict[str, Perception] = {
    "reconstruction": see_reconstruction,
    "reconstruction-with-masks": see_reconstruction_with_masks,
    "truth": see_truth,
    "hull": see_hulls,
}


def _reconstruct(observation: Observation, seed: int) -> Sequence[PlacedSolid]:
    """Nothing where no mask holds enough depth."""
    T_world_camera = observation.camera.T_world_camera.double().numpy()
    in_camera_frame = observation.with_camera_pose(torch.eye(4, dtype=observation.depth.dtype))
    in_camera_frame = smooth_depth(in_camera_frame, NOISE / VIEW_DISTANCE**2, in_camera_frame.masks.any(0))
    try:
        scene = reconstruct(in_camera_frame, seed=seed, options=ReconstructionOptions(appearance=False)).scene
    except InputError:
        return []
    T_world_scene = T_world_camera @ np.linalg.inv(scene.camera.T_world_camera.detach().double().numpy())
    return [
        PlacedSolid(build_solid(closed_or_hull(object_surface(item))), T_world_scene @ _pose(item), item.name) for item in scene.objects
    ]


def _pose(item: SceneObject) -> np.ndarray:
    return item.T_world_object.detach().double().numpy()


@contextmanager
def _show_progress(console: Console, rounds: int, done: int) -> Iterator[Callable[[], None]]:
    """A bar over the rounds; the value moves it on by one."""
    columns = (TextColumn("rounds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("rounds", total=rounds, completed=min(done, rounds))
        yield lambda: bars.advance(task)


def _begin(arguments: argparse.Namespace) -> list[Round]:
    """The rounds that an interrupted run, begun with the same settings, left in OUT; else OUT made anew."""
    path = arguments.out / _SETTINGS
    mine = {
        name: str(getattr(arguments, name)) for name in ("objects", "unit", "largest", "protocol", "hand", "engine", "perception", "seed")
    }
    if path.is_file() and not arguments.overwrite:
        if json.loads(path.read_text()) != mine:
            raise InputError(f"{arguments.out} was begun with other settings ({path}); name another folder, or give --overwrite")
        return [read_round(json.loads(file.read_text())) for file in sorted((arguments.out / _ROUNDS).glob("*.json"))]
    claim_output_folder(arguments.out, arguments.overwrite)
    (arguments.out / _ROUNDS).mkdir()
    write_json(path, mine)
    return []


def _describe(arguments: argparse.Namespace, rounds: Sequence[Round], gsr: Score, dr: Score, notes: dict[str, str]) -> dict:
    return {
        "benchmark": "clutter",
        "protocol": arguments.protocol,
        "hand": arguments.hand,
        "perception": arguments.perception,
        "engine": arguments.engine,
        "seed": arguments.seed,
        "gsr": gsr.percent,
        "gsr_interval": [gsr.low, gsr.high],
        "dr": dr.percent,
        "dr_interval": [dr.low, dr.high],
        "objects_changed": notes,
        "rounds": describe_rounds(rounds),
    }


def _print_result(
    console: Console, arguments: argparse.Namespace, rounds: Sequence[Round], gsr: Score, dr: Score, count: int, notes: dict[str, str]
) -> None:
    for name, note in notes.items():
        console.print(f"{name}: {note}", soft_wrap=True)
    attempts = sum(len(each.attempts) for each in rounds)
    console.print(
        f"{arguments.protocol}, {arguments.hand}, {arguments.perception}: {len(rounds)} rounds, {count} meshes, {attempts} attempts"
    )
    console.print(f"GSR {gsr.percent:.1f} % (95 % interval {gsr.low:.1f} to {gsr.high:.1f})")
    console.print(f"DR  {dr.percent:.1f} % (95 % interval {dr.low:.1f} to {dr.high:.1f})")
    console.print(f"wrote {arguments.out}/results.json", soft_wrap=True)
