"""`invgraphics benchmark clutter`: the clutter removal experiment of VGN and GIGA on any folder of meshes."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from grasp_sim.benchmark import ClutterSettings, Round, Score, describe_rounds, read_round, run_clutter, score_rounds
from grasp_sim.clutter import Protocol
from grasp_sim.engines import check_engine
from grasp_sim.hands import load_hand
from grasp_sim.pool import TrialPool
from invgraphics.commands.benchmarks.common import (
    add_common_arguments,
    add_perception,
    begin,
    check_counts,
    keep,
    read_models,
    show_progress,
)
from invgraphics.commands.benchmarks.perceptions import PERCEPTIONS
from invgraphics.output import write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's arguments."""
    add_common_arguments(parser)
    add_perception(parser)
    parser.add_argument("--protocol", choices=[each.value for each in Protocol], required=True, help="upright side by side, or poured")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default 100")


def run(arguments: argparse.Namespace) -> int:
    """Plays the rounds, writes `results.json`, prints both rates."""
    check_counts(arguments)
    check_engine(arguments.engine)
    hand = load_hand(arguments.hand)
    done = [read_round(entries) for entries in begin(arguments, ("protocol", "perception"))]
    settings = ClutterSettings(Protocol(arguments.protocol))
    settings = replace(settings, search=replace(settings.search, engine=arguments.engine))
    with TrialPool(arguments.processes) as pool:
        models, notes = read_models(arguments, pool)
        with show_progress("rounds", arguments.rounds, len(done)) as advance:

            def finish(played: Round) -> None:
                keep(arguments, played.number, describe_rounds([played])[0])
                advance()

            options = {"rounds": arguments.rounds, "seed": arguments.seed, "done": done, "finished": finish}
            rounds = run_clutter(models, hand, PERCEPTIONS[arguments.perception], settings, pool=pool, **options)
    gsr, dr = score_rounds(rounds, arguments.seed)
    write_json(arguments.out / "results.json", _describe(arguments, rounds, gsr, dr, notes))
    _print_result(Console(highlight=False), arguments, rounds, gsr, dr, len(models), notes)
    return 0


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
