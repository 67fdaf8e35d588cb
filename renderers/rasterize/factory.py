"""Rasterizer backends by name, each imported when first asked for."""

from invgraphics.errors import InputError
from renderers.rasterize.protocol import Rasterizer

RASTERIZERS = ("cpu",)


def make_rasterizer(name: str = "auto", threads: int | None = None) -> Rasterizer:
    """The rasterizer of a name; "auto" takes the best that this machine can run.

    Args:
        name: "auto" or one of `RASTERIZERS`.
        threads: threads of the "cpu" backend; torch's own number where it is None.

    Raises:
        InputError: there is no backend of that name.
    """
    if name not in ("auto", *RASTERIZERS):
        raise InputError(f"there is no rasterizer {name!r}; choose one of auto, {', '.join(RASTERIZERS)}")
    from renderers.rasterize.cpu import CpuRasterizer

    return CpuRasterizer(threads)
