"""`invgraphics benchmark forces`: held objects pulled along six axes, by DexGraspBench's rules."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from grasp_sim.clutter import Model
from grasp_sim.engines import check_engine
from grasp_sim.forces import withstand_forces
from grasp_sim.hands import Hand, load_hand
from grasp_sim.lifts import LiftSettings, lay_down
from grasp_sim.pool import TrialPool
from grasp_sim.search import search_grasps
from grasp_sim.world import World
from invgraphics.commands.benchmarks.common import (
    add_common_arguments,
    begin,
    check_counts,
    choose_models,
    describe_ratio,
    keep,
    read_models,
    show_progress,
)
from invgraphics.grasp import wilson_interval
from invgraphics.output import write_json


@dataclass(frozen=True)
class Pull:
    """One grasp of one object, and what came of it."""

    number: int
    name: str
    """The object's."""
    outcome: str
    """In words."""
    success: bool
    overlap_m: float | None
    """Of the hand and the object before it closes; None where there was no grasp. The same for the others."""
    shift_m: float | None
    turn_degrees: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's arguments."""
    add_common_arguments(parser, hand="mia_right")
    parser.add_argument("--count", type=int, default=10, metavar="N", help="objects, drawn from those of the folder (default 10)")
    parser.add_argument("--poses", type=int, default=10, metavar="N", help="resting poses in which each is grasped (default 10)")


def run(arguments: argparse.Namespace) -> int:
    """Pulls at all grasps, writes `results.json`, prints a row an object."""
    check_counts(arguments)
    check_engine(arguments.engine)
    hand = load_hand(arguments.hand)
    settings = LiftSettings()
    settings = replace(settings, search=replace(settings.search, engine=arguments.engine))
    pulls = {each.number: each for each in (Pull(**entries) for entries in begin(arguments, ("count",)))}
    with TrialPool(arguments.processes) as pool:
        models, notes = read_models(arguments, pool)
        models = choose_models(models, arguments.count, arguments.seed)
        count = arguments.poses * len(models)
        missing = [number for number in range(count) if number not in pulls]
        tasks = [(models[number % len(models)], hand, settings, arguments.seed, number) for number in missing]
        with show_progress("grasps", count, count - len(missing)) as advance:
            for each in pool.map(pull_once, tasks):
                pulls[each.number] = each
                keep(arguments, each.number, asdict(each))
                advance()
    done = [pulls[number] for number in range(count)]
    write_json(arguments.out / "results.json", _describe(arguments, done, notes))
    _print_result(Console(highlight=False), arguments, done)
    return 0


def pull_once(model: Model, hand: Hand, settings: LiftSettings, seed: int, number: int) -> Pull:
    """The best grasp of the true mesh in one resting pose, pulled at; the same for the same seed and number."""
    generator = np.random.default_rng([seed, number])
    with World() as world, TrialPool(1) as pool:
        (item,) = lay_down(world, model, settings.middle, generator).placed()
        result = search_grasps([item], hand, seed=int(generator.integers(2**31)), settings=settings.search, pool=pool)
    if not result.ranked:
        return Pull(number, model.name, f"no grasp was found: {result.failures[0].message}", False, None, None, None)
    test = withstand_forces(item, result.grasps[0], hand)
    moved = (None, None) if test.shift is None else (test.shift, float(np.degrees(test.turn)))
    return Pull(number, model.name, test.outcome.value, test.succeeded, test.overlap, *moved)


def _describe(arguments: argparse.Namespace, pulls: Sequence[Pull], notes: dict[str, str]) -> dict:
    held = sum(each.success for each in pulls)
    names = {each.name for each in pulls}
    return {
        "benchmark": "forces",
        "hand": arguments.hand,
        "engine": arguments.engine,
        "seed": arguments.seed,
        "grasps_held": 100 * held / len(pulls),
        "grasps_held_interval": [100 * bound for bound in wilson_interval(held, len(pulls))],
        "objects_held": 100 * len({each.name for each in pulls if each.success}) / len(names),
        "objects_changed": notes,
        "pulls": [asdict(each) for each in pulls],
    }


def _print_result(console: Console, arguments: argparse.Namespace, pulls: Sequence[Pull]) -> None:
    table = Table(title=f"six axis forces, {arguments.hand}", title_justify="left")
    for heading in ("object", "held", "95 %", "overlap mm", "otherwise"):
        table.add_column(heading, justify="left" if heading in ("object", "otherwise") else "right")
    for name in (*dict.fromkeys(each.name for each in pulls), None):
        mine = [each for each in pulls if name in (each.name, None)]
        others = Counter(each.outcome.split(":")[0] for each in mine if not each.success)
        told = "; ".join(f"{count} x {outcome}" for outcome, count in others.most_common())
        overlaps = [1e3 * each.overlap_m for each in mine if each.overlap_m is not None]
        row = (name or "all", *describe_ratio([each.success for each in mine]), f"{np.mean(overlaps):.1f}" if overlaps else "-", told)
        table.add_row(*row)
    console.print(table)
    console.print(f"wrote {arguments.out}/results.json", soft_wrap=True)
