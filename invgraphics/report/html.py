"""The parts of a page: plain functions from data to HTML. Every text is escaped here; bodies are HTML already."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template


class Html(str):
    """Text that is HTML already and is not escaped again."""


def build_page(title: str, subtitle: str, body: str, footer: str) -> str:
    """A whole page with its style inside: it needs no other file and no network."""
    folder = files("invgraphics.report")
    template = Template((folder / "page.html").read_text())
    style = (folder / "page.css").read_text()
    return template.substitute(title=escape(title), subtitle=escape(subtitle), style=style, body=body, footer=escape(footer))


def section(title: str, *parts: str, note: str = "") -> str:
    """A titled part of the page; `note` says in a sentence what it shows."""
    lead = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{''.join(parts)}</section>"


def figure(image_uri: str, caption: str, extra: str = "") -> str:
    """A picture with its caption; `extra` is HTML below the picture, e.g. a legend."""
    return (
        f'<figure><img src="{image_uri}" alt="{escape(caption)}" loading="lazy">{extra}<figcaption>{escape(caption)}</figcaption></figure>'
    )


def grid(figures: Sequence[str], columns: int, kind: str = "pictures") -> str:
    """Figures side by side, at most `columns` of them; on narrow screens two pictures, or one of the "charts"."""
    return f'<div class="grid {kind}" style="--columns:{columns}">{"".join(figures)}</div>'


def colour_bar(image_uri: str, labels: Sequence[str]) -> str:
    """The legend of a colour map: its gradient and, spread evenly below, what its values mean."""
    marks = "".join(f"<span>{escape(label)}</span>" for label in labels)
    return f'<div class="bar"><img src="{image_uri}" alt=""><div>{marks}</div></div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1, footer: Sequence[Sequence[str]] = ()) -> str:
    """A table; the first `text_columns` columns are set as text, the others as numbers. Cells are escaped unless they are `Html`."""
    head = "".join(f"<th{_cell_class(k, text_columns)}>{escape(name)}</th>" for k, name in enumerate(header))
    body = "".join(_row(row, text_columns) for row in rows)
    foot = f"<tfoot>{''.join(_row(row, text_columns) for row in footer)}</tfoot>" if footer else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table></div>'


def _row(cells: Sequence[str], text_columns: int) -> str:
    columns = "".join(
        f"<td{_cell_class(k, text_columns)}>{cell if isinstance(cell, Html) else escape(cell)}</td>" for k, cell in enumerate(cells)
    )
    return f"<tr>{columns}</tr>"


def _cell_class(column: int, text_columns: int) -> str:
    return "" if column < text_columns else ' class="number"'


def key_figures(values: Sequence[tuple[str, str]]) -> str:
    """The few numbers that matter most, large: (value, what it is)."""
    items = "".join(f"<div><strong>{escape(value)}</strong><span>{escape(label)}</span></div>" for value, label in values)
    return f'<div class="keys">{items}</div>'


def object_label(name: str, colour: str) -> Html:
    """An object's name beside a spot of its colour."""
    return Html(f'<span class="spot" style="background:{colour}"></span>{escape(name)}')


def share_bar(fraction: float) -> Html:
    """A bar whose length shows a fraction in [0, 1]."""
    return Html(f'<span class="share" style="width:{12 * fraction:.2f}rem"></span>')


def count(number: int, noun: str) -> str:
    """The number with its noun, in the plural where it is not 1."""
    return f"{number} {noun}{'s' * (number != 1)}"


def message(text: str, kind: str = "info") -> str:
    """A sentence that must not be overlooked; kind: info, good, bad."""
    return f'<p class="message {kind}">{escape(text)}</p>'


def details(summary: str, body: str) -> str:
    """A part that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"
