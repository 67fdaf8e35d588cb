"""Parts of a report in a notebook, in the report's own style."""

from importlib.resources import files

from invgraphics.errors import MissingDependencyError

_FRAME = (
    "background: #fff; color: var(--ink); padding: 0 .5rem; section { margin-top: .5rem; } h2 { display: none; } "
    "table { table-layout: auto; } td { text-align: left; }"
)
"""What differs from a page: no headings; tables as they are in pages, where JupyterLab has its own mind about them."""


def dress(*sections: str, width: int | None = None) -> str:
    """HTML of parts of a report (sections, charts, tables, figures) with their style, which is kept from whatever stands around.

    `width` in CSS pixels is the most they take; all there is if not given.
    """
    style = (files("invgraphics.report") / "page.css").read_text().replace(":root {", "& {")
    limit = f" style='max-width: {width}px'" if width is not None else ""
    # The class twice: its rules must outweigh JupyterLab's own for tables.
    return f"<style>.invgraphics.invgraphics {{ {style} {_FRAME} }}</style><div class='invgraphics'{limit}>{''.join(sections)}</div>"


def show(*sections: str, width: int | None = None) -> None:
    """Shows parts of a report below the cell; see `dress`.

    Raises:
        MissingDependencyError: IPython is not installed, so this is no notebook.
    """
    try:
        from IPython.display import HTML, display
    except ImportError as missing:
        raise MissingDependencyError("only a notebook can show this; pip install 'invgraphics[notebooks]'") from missing
    display(HTML(dress(*sections, width=width)))
