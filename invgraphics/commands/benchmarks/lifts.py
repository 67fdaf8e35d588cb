"""`invgraphics benchmark lifts`: how often single objects, in random resting poses, are lifted and held."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.table import Table

from grasp_sim.clutter import Model, add_protocol_noise
from grasp_sim.engines import check_engine
from grasp_sim.hands import load_hand
from grasp_sim.lifts import Lift, LiftSettings, lift_freely, run_lifts
from grasp_sim.pool import TrialPool
from invgraphics.commands.benchmarks.common import (
    add_common_arguments,
    add_perception,
    begin,
    check_counts,
    choose_models,
    describe_ratio,
    keep,
    read_models,
    show_progress,
)
from invgraphics.commands.benchmarks.perceptions import PERCEPTIONS
from invgraphics.demo.lifting import MIDDLE, check_hand, lift_with_arm
from invgraphics.demo.sensor import see_as_stereo
from invgraphics.grasp import wilson_interval
from invgraphics.output import write_json

_SENSORS = {"stereo": see_as_stereo, "protocol": add_protocol_noise}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's arguments."""
    add_common_arguments(parser, hand="mia_right")
    add_perception(parser)
    parser.add_argument("--arm", choices=["none", "ur5"], default="none", help="what moves the hand: it floats (default), or the UR5")
    parser.add_argument(
        "--noise", choices=sorted(_SENSORS), default="stereo", help="a stereo camera's (default), or the clutter protocol's"
    )
    parser.add_argument("--count", type=int, default=10, metavar="N", help="objects, drawn from those of the folder (default 10)")
    parser.add_argument("--poses", type=int, default=10, metavar="N", help="of each object (default 10)")
    parser.add_argument("--attempts", type=int, default=1, metavar="N", help="looks and grasps that an object gets at most (default 1)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="S", help="of the objects (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Lifts them all, writes `results.json`, prints a row an object."""
    check_counts(arguments)
    check_engine(arguments.engine)
    hand = load_hand(arguments.hand)
    settings = LiftSettings(sensor=_SENSORS[arguments.noise], attempts=arguments.attempts)
    settings = replace(settings, search=replace(settings.search, engine=arguments.engine))
    lifter = lift_freely
    if arguments.arm == "ur5":
        check_hand(hand.name)
        settings, lifter = replace(settings, middle=MIDDLE), lift_with_arm
    parts = begin(arguments, ("perception", "arm", "noise", "count", "scale", "attempts"))
    done = [Lift(**(entries | {"failed": tuple(entries["failed"])})) for entries in parts]
    with TrialPool(arguments.processes) as pool:
        models, notes = read_models(arguments, pool)
        models = [Model(each.name, each.solid.scaled(arguments.scale)) for each in choose_models(models, arguments.count, arguments.seed)]
        with show_progress("lifts", arguments.poses * len(models), len(done)) as advance:

            def finish(lift: Lift) -> None:
                keep(arguments, lift.number, asdict(lift))
                advance()

            options = {"seed": arguments.seed, "pool": pool, "done": done, "finished": finish}
            lifts = run_lifts(models, arguments.poses, hand, PERCEPTIONS[arguments.perception], lifter, settings, **options)
    write_json(arguments.out / "results.json", _describe(arguments, lifts, notes))
    _print_result(Console(highlight=False), arguments, lifts)
    return 0


def _describe(arguments: argparse.Namespace, lifts: Sequence[Lift], notes: dict[str, str]) -> dict:
    held, at_once = sum(each.success for each in lifts), sum(each.success and each.attempts == 1 for each in lifts)
    return {
        "benchmark": "lifts",
        "hand": arguments.hand,
        "arm": arguments.arm,
        "perception": arguments.perception,
        "noise": arguments.noise,
        "engine": arguments.engine,
        "seed": arguments.seed,
        "attempts": arguments.attempts,
        "held_at_first": 100 * at_once / len(lifts),
        "held_at_first_interval": [100 * bound for bound in wilson_interval(at_once, len(lifts))],
        "held": 100 * held / len(lifts),
        "held_interval": [100 * bound for bound in wilson_interval(held, len(lifts))],
        "objects_changed": notes,
        "lifts": [asdict(each) for each in lifts],
    }


def _print_result(console: Console, arguments: argparse.Namespace, lifts: Sequence[Lift]) -> None:
    table = Table(title=f"lifts, {arguments.hand}, arm {arguments.arm}, {arguments.perception}", title_justify="left")
    for heading in ("object", "held at first", "95 %", "held", "95 %", "otherwise"):
        table.add_column(heading, justify="left" if heading in ("object", "otherwise") else "right")
    for name in (*dict.fromkeys(each.name for each in lifts), None):
        mine = [each for each in lifts if name in (each.name, None)]
        others = Counter(outcome.split(":")[0] for each in mine for outcome in _losses(each))
        at_first = describe_ratio([each.success and each.attempts == 1 for each in mine])
        told = "; ".join(f"{count} x {outcome}" for outcome, count in others.most_common())
        table.add_row(name or "all", *at_first, *describe_ratio([each.success for each in mine]), told)
    console.print(table)
    console.print(f"wrote {arguments.out}/results.json", soft_wrap=True)


def _losses(lift: Lift) -> tuple[str, ...]:
    """What came of every attempt that failed."""
    return lift.failed if lift.success else (*lift.failed, lift.outcome)
