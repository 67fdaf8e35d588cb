"""What the benchmarks share: their arguments, the folder that an interrupted run goes on from, the progress bar."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from grasp_sim.benchmark import load_models
from grasp_sim.clutter import Model
from grasp_sim.engines import ENGINES
from grasp_sim.hands import available_hands
from grasp_sim.pool import TrialPool
from invgraphics.commands.benchmarks.perceptions import PERCEPTIONS
from invgraphics.errors import InputError
from invgraphics.grasp import wilson_interval
from invgraphics.output import claim_or_carry_on, write_json

_PARTS = "rounds"
"""Where a run leaves what a later one goes on from."""
UNITS = {"m": 1.0, "mm": 1e-3}
_POSITIVE = ("rounds", "poses", "count", "attempts", "tables", "processes", "largest", "scale")
"""Arguments that must be positive, where a benchmark has them."""


def add_common_arguments(parser: argparse.ArgumentParser, hand: str = "parallel_jaw") -> None:
    """Objects, hand, engine, seed, processes, output."""
    parser.add_argument("--objects", type=Path, required=True, metavar="DIR", help="folder of meshes, upright in their own frames")
    parser.add_argument("--unit", choices=sorted(UNITS), default="m", help="unit of the meshes (default m)")
    parser.add_argument("--largest", type=float, default=0.15, metavar="M", help="leave out longer meshes, metres (default 0.15)")
    parser.add_argument(
        "--hand", default=hand, metavar="NAME", help=f"{', '.join(available_hands())}, or a description's path (default {hand})"
    )
    parser.add_argument("--engine", choices=ENGINES, default="pybullet", help="of the trials that choose grasps; the table is PyBullet's")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="processes for the trials (default: one for each core); the result does not depend on it"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json")
    parser.add_argument("--overwrite", action="store_true", help="begin anew; an interrupted run goes on otherwise")


def add_perception(parser: argparse.ArgumentParser, default: str = "reconstruction") -> None:
    """What grasps are planned on."""
    parser.add_argument(
        "--perception",
        choices=sorted(PERCEPTIONS),
        default=default,
        help=f"what grasps are planned on: the reconstruction, it with true masks, the true meshes, hulls of the visible points "
        f"(default {default})",
    )


def check_counts(arguments: argparse.Namespace) -> None:
    """`InputError` where a count, length or scale is not positive."""
    for name in _POSITIVE:
        value = getattr(arguments, name, None)
        if value is not None and value <= 0:
            raise InputError(f"--{name} is {value}; it must be positive")


def read_models(arguments: argparse.Namespace, pool: TrialPool) -> tuple[list[Model], dict[str, str]]:
    """The objects, and what was changed or left out."""
    return load_models(arguments.objects, UNITS[arguments.unit], arguments.largest, pool)


def choose_models(models: Sequence[Model], count: int, seed: int) -> list[Model]:
    """`count` of the models in their order, drawn without replacement; all, where there are no more."""
    chosen = np.random.default_rng(seed).permutation(len(models))[:count]
    return [models[k] for k in sorted(chosen)]


def begin(arguments: argparse.Namespace, names: Sequence[str]) -> list[dict]:
    """What an interrupted run, begun with the same values of the arguments `names`, left in OUT; else OUT is made anew."""
    settings = {name: str(getattr(arguments, name)) for name in ("what", "objects", "unit", "largest", "hand", "engine", "seed", *names)}
    claim_or_carry_on(arguments.out, settings, arguments.overwrite)
    (arguments.out / _PARTS).mkdir(exist_ok=True)
    return [json.loads(file.read_text()) for file in sorted((arguments.out / _PARTS).glob("*.json"))]


def keep(arguments: argparse.Namespace, number: int, part: dict) -> None:
    """Leaves a part for `begin`."""
    write_json(arguments.out / _PARTS / f"{number:04d}.json", part)


@contextmanager
def show_progress(what: str, count: int, done: int) -> Iterator[Callable[[], None]]:
    """A bar over so many of `what`; the value moves it on by one."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=count, completed=min(done, count))
        yield lambda: bars.advance(task)


def describe_ratio(successes: Sequence[bool]) -> tuple[str, str]:
    """How many of how many, and the 95 % interval of their probability, in words."""
    low, high = wilson_interval(sum(successes), len(successes))
    return f"{sum(successes)} / {len(successes)}", f"{100 * low:.0f} to {100 * high:.0f} %"
