"""What the benchmarks of the reconstruction share: tables as Markdown."""

import math
from collections.abc import Sequence
from pathlib import Path


def format_table(header: Sequence[str], rows: Sequence[Sequence[str | float | int]]) -> str:
    """A Markdown table: the first column as text, numbers with two decimals, whole numbers as they are."""
    lines = [" | ".join(header), " | ".join([":--", *["--:"] * (len(header) - 1)])]
    lines += [" | ".join(_format(cell) for cell in row) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def write_markdown(path: Path, title: str, paragraphs: Sequence[str], table: str) -> None:
    """A page with a title, what was measured and how, and the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join([f"# {title}", *paragraphs, table]))


def _format(cell: str | float | int) -> str:
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:.2f}"
    return str(cell)
