"""`invgraphics demo --out OUT`: toys on a table, one photograph, reconstruction, grasp search, execution, report; all simulated."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from invgraphics.demo.run import DemoResult, run_demo
from invgraphics.evaluation import ObjectResult
from invgraphics.output import claim_output_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--out", type=Path, required=True, help="folder for report.html, the frame, the reconstruction and demo.json")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another table (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT")


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo and prints what came of it. 0 once the whole path has run, whether or not the object was held: that is told."""
    claim_output_folder(arguments.out, arguments.overwrite)
    with show_progress(Console(stderr=True)) as progress:
        result = run_demo(arguments.out, arguments.seed, progress)
    _print_result(Console(highlight=False), result, arguments.out)
    return 0


@contextmanager
def show_progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """A bar for every stage."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as bars:

        def tell(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield tell


def _print_result(console: Console, result: DemoResult, out: Path) -> None:
    shapes = Table(title="reconstruction against the truth", title_justify="left")
    for heading in ("object", "Chamfer mm", "F@10 mm %", "grasps found"):
        shapes.add_column(heading, justify="left" if heading == "object" else "right")
    for item in result.objects:
        shapes.add_row(*_object_row(item, result))
    stages = Table(title="time", title_justify="left")
    stages.add_column("stage")
    stages.add_column("s", justify="right")
    for name, seconds in result.seconds.items():
        stages.add_row(name, f"{seconds:.1f}")
    stages.add_row("all", f"{sum(result.seconds.values()):.1f}", style="bold")
    console.print(shapes, stages)
    _print_grasp(console, result)
    console.print(f"wrote {out}/report.html", soft_wrap=True)


def _object_row(item: ObjectResult, result: DemoResult) -> tuple[str, str, str, str]:
    found = sum(result.names[tried.grasp.object_index] == item.name for tried in result.search.ranked)
    if item.scores is None:
        return item.name, "left out", item.missing, ""
    return item.name, f"{item.scores.cd_l1_mm:.1f}", f"{item.scores.f10:.0f}", str(found)


def _print_grasp(console: Console, result: DemoResult) -> None:
    grasp = result.selection.grasp
    table = Table(title="grasp", title_justify="left", show_header=False)
    if grasp is not None:
        table.add_row("object", result.target)
        table.add_row("predicted success", f"{100 * grasp.success_rate:.0f} % of {grasp.trials} trials on the reconstruction")
    if result.selection.skipped:
        table.add_row("better grasps skipped", str(len(result.selection.skipped)))
        for reason, count in _count_reasons(result).items():
            table.add_row("", f"{count} x {reason}")
    table.add_row("executed on the true scene", result.execution.message)
    console.print(table)


def _count_reasons(result: DemoResult) -> dict[str, int]:
    reasons = [unreachable.reason.value for _, unreachable in result.selection.skipped]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
