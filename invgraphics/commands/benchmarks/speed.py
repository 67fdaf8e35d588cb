"""`invgraphics benchmark speed`: how long a decision takes, from a frame to ranked grasps, and how many trials an engine does a second."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from grasp_sim.benchmark import ClutterSettings
from grasp_sim.candidates import find_candidates
from grasp_sim.clutter import Model, Protocol, View, photograph, set_table
from grasp_sim.engines import ENGINES, check_engine
from grasp_sim.hands import Hand, load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.search import search_grasps
from grasp_sim.solids import PlacedSolid
from grasp_sim.trial import Physics, try_grasps
from grasp_sim.world import World
from invgraphics.commands.benchmarks.common import add_common_arguments, add_perception, check_counts, read_models
from invgraphics.commands.benchmarks.perceptions import PERCEPTIONS
from invgraphics.output import claim_output_folder, write_json

_OBJECTS = 5
"""On a table, as in the clutter benchmark."""
_TRIALS = 32
"""Trials that are timed in each engine, on each table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's arguments."""
    add_common_arguments(parser)
    add_perception(parser)
    parser.add_argument("--tables", type=int, default=3, metavar="N", help="of five poured objects (default 3)")


def run(arguments: argparse.Namespace) -> int:
    """Measures, writes `results.json`, prints two tables. The first table of objects is done twice: once to compile what is compiled."""
    check_counts(arguments)
    check_engine(arguments.engine)
    claim_output_folder(arguments.out, arguments.overwrite)
    hand = load_hand(arguments.hand)
    engines = [name for name in ENGINES if find_spec(name) is not None]
    decisions, trials = [], []
    with TrialPool(arguments.processes) as pool:
        models, _ = read_models(arguments, pool)
        views = [_look(models, arguments.seed, number) for number in range(arguments.tables)]
        for number, view in enumerate([views[0], *views]):
            objects, decision = _time_decision(arguments, view, hand, pool)
            timed = {engine: _time_trials(objects, hand, engine) for engine in engines}
            if number > 0:
                decisions.append(decision)
                trials.append(timed)
    result = _describe(arguments, hand, decisions, trials)
    write_json(arguments.out / "results.json", result)
    _print_result(Console(highlight=False), result)
    return 0


def _look(models: Sequence[Model], seed: int, number: int) -> View:
    """A view of objects poured on a table, as many of them as were seen."""
    generator = np.random.default_rng([seed, number])
    with World() as world:
        return photograph(set_table(world, models, Protocol.PILE, _OBJECTS, generator), generator, f"table {number}")


def _time_decision(arguments: argparse.Namespace, view: View, hand: Hand, pool: TrialPool) -> tuple[Sequence[PlacedSolid], dict]:
    """What is perceived, and how long it and the search took: seconds by the clock, and of this process alone."""
    settings = replace(ClutterSettings(Protocol.PILE).search, engine=arguments.engine)
    percept, seeing = _timed(lambda: PERCEPTIONS[arguments.perception](view, arguments.seed))
    options = {"seed": arguments.seed, "settings": settings, "pool": pool, "occlusion": percept.occlusion}
    found, searching = _timed(lambda: search_grasps(percept.objects, hand, **options))
    return percept.objects, {
        "objects": len(view.truth),
        "perceive": seeing[0],
        "perceive_cpu": seeing[1],
        "search": searching[0],
        "total": seeing[0] + searching[0],
        "trials": found.trials,
        "grasps": len(found.ranked),
    }


def _time_trials(objects: Sequence[PlacedSolid], hand: Hand, engine: str) -> dict:
    """Trials a second of one process in one engine, of the objects' best candidates by geometry."""
    slim = tuple(item.without_detail() for item in objects)
    found = [find_candidates(slim, index, hand, np.random.default_rng(index), count=_TRIALS)[0] for index in range(len(slim))]
    trials = [(candidate.grasp, Physics()) for group in found for candidate in group[: -(-_TRIALS // len(slim))]][:_TRIALS]
    if not trials:
        return {"trials": 0, "seconds": 0.0, "per_second": None}
    _, (_, seconds) = _timed(lambda: try_grasps(slim, hand, trials, engine=engine))
    return {"trials": len(trials), "seconds": seconds, "per_second": len(trials) / seconds}


def _timed(work: Callable) -> tuple:
    """What it gives, and the seconds it took: by the clock, and of this process's CPU time."""
    clock, processor = time.perf_counter(), time.process_time()
    value = work()
    return value, (time.perf_counter() - clock, time.process_time() - processor)


def _describe(arguments: argparse.Namespace, hand: Hand, decisions: list[dict], trials: list[dict]) -> dict:
    return {
        "benchmark": "speed",
        "hand": hand.name,
        "perception": arguments.perception,
        "engine": arguments.engine,
        "seed": arguments.seed,
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "load": os.getloadavg()[0]},
        "decisions": decisions,
        "decision_seconds": median(each["total"] for each in decisions),
        "trials_per_second_and_core": {engine: _median_rate([each[engine] for each in trials]) for engine in trials[0]},
        "trials": trials,
    }


def _median_rate(timed: Sequence[dict]) -> float | None:
    """Trials a second; None where there was nothing to try on any table."""
    rates = [each["per_second"] for each in timed if each["per_second"] is not None]
    return median(rates) if rates else None


def _print_result(console: Console, result: dict) -> None:
    table = Table(title=f"from a frame to ranked grasps, {result['hand']}, {result['perception']}", title_justify="left")
    for heading in ("objects", "perceive s", "search s", "total s", "trials", "grasps"):
        table.add_column(heading, justify="right")
    for each in result["decisions"]:
        numbers = (f"{each[name]:.1f}" for name in ("perceive", "search", "total"))
        table.add_row(str(each["objects"]), *numbers, str(each["trials"]), str(each["grasps"]))
    console.print(table)
    console.print(f"median {result['decision_seconds']:.1f} s by the clock; machine: {json.dumps(result['machine'])}", soft_wrap=True)
    for engine, rate in result["trials_per_second_and_core"].items():
        console.print(f"{engine}: " + ("nothing to try" if rate is None else f"{rate:.1f} trials a second of one core's time"))
