"""`invgraphics benchmark WHAT`: clutter removal, lifts of single objects, forces on held objects, time to decide."""

import argparse
import importlib
from types import ModuleType

BENCHMARKS = {
    "clutter": "five objects, one noisy side view, until the table is clear: the VGN and GIGA protocol",
    "lifts": "single objects in random poses, lifted and held, by a floating hand or by an arm",
    "forces": "held objects pulled along six axes, by the rules of DexGraspBench",
    "speed": "from a frame to ranked grasps, and trials a second, of both engines",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each benchmark."""
    benchmarks = parser.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=type(parser))
    for name, description in BENCHMARKS.items():
        _import(name).add_arguments(
            benchmarks.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
        )


def run(arguments: argparse.Namespace) -> int:
    """Runs the benchmark that was asked for."""
    return _import(arguments.what).run(arguments)


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"invgraphics.commands.benchmarks.{name}")
