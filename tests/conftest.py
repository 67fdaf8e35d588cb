"""Shape and type annotations of the packages are checked while the tests run (jaxtyping with beartype); Ctrl-C is heard."""

import signal
from pathlib import Path

from jaxtyping import install_import_hook

import invgraphics  # noqa: F401  (before torch: it sets how threads wait)

ROOT = Path(__file__).parents[1]
PACKAGES = ("invgraphics", "renderers", "optim", "grasp_sim", "robot")


def _checked_modules() -> list[str]:
    """Every module but the numba kernels, whose functions must stay plain for the compiler."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if not file.stem.endswith("kernels") and file.name != "__init__.py"
    ]


# What a shell starts in the background ignores Ctrl-C, and so does all that it starts; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
install_import_hook(_checked_modules(), "beartype.beartype")
