"""`invgraphics clear --out OUT`: a simulated table cleared object by object, each from a new photograph."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from invgraphics.commands.demo import show_progress
from invgraphics.demo.clear import PERCEPTIONS, ClearResult, clear_table
from invgraphics.output import claim_output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--out", type=Path, required=True, help="folder for clear.json, the film clear.webp, and a folder for every look")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another table (default 0)")
    parser.add_argument(
        "--perception", choices=sorted(PERCEPTIONS), default="reconstruction", help="what grasps are planned on (default reconstruction)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT")


def run(arguments: argparse.Namespace) -> int:
    """Clears the table and prints what came of every object. 0 where all were put at their places, else 1."""
    claim_output_folder(arguments.out, arguments.overwrite)
    with show_progress(Console(stderr=True)) as progress:
        result = clear_table(arguments.out, arguments.seed, progress, perceive=PERCEPTIONS[arguments.perception])
    print_result(result, arguments.out)
    return 0 if len(result.placed) == len(result.objects) else 1


def print_result(result: ClearResult, out: Path) -> None:
    """A table of the objects, and why it ended."""
    console = Console(highlight=False)
    table = Table(title="objects", title_justify="left")
    for heading in ("object", "attempts", "last outcome"):
        table.add_column(heading, justify="right" if heading == "attempts" else "left")
    for name in result.objects:
        tries = result.tries(name)
        table.add_row(name, str(len(tries)), tries[-1].message if tries else "not tried")
    console.print(table)
    for attempt in result.attempts:
        if not attempt.target:
            console.print(f"attempt {attempt.number + 1}: {attempt.message}", soft_wrap=True)
    console.print(f"{len(result.placed)} of {len(result.objects)} objects put at their places; ended: {result.ended}", soft_wrap=True)
    console.print(f"wrote {out}/clear.json" + (f" and {out}/clear.webp" if (out / "clear.webp").exists() else ""), soft_wrap=True)
