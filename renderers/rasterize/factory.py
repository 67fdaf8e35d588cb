"""Rasterizer backends by name, each imported when first asked for."""

import importlib.util

import torch

from invgraphics.errors import InputError
from renderers.rasterize.protocol import Rasterizer

RASTERIZERS = ("cpu", "nvdiffrast", "pytorch3d", "warp")


def make_rasterizer(name: str = "auto", threads: int | None = None) -> Rasterizer:
    """The rasterizer of a name; "auto" takes the fastest that this machine can run: nvdiffrast, else warp, on a GPU; else cpu.

    Args:
        name: "auto" or one of `RASTERIZERS`.
        threads: threads of the "cpu" backend; torch's own number where it is None.

    Raises:
        InputError: there is no backend of that name.
        MissingDependencyError: it needs a package or device that is not there; the message says which.
    """
    if name not in ("auto", *RASTERIZERS):
        raise InputError(f"there is no rasterizer {name!r}; choose one of auto, {', '.join(RASTERIZERS)}")
    if name == "auto":
        name = _best_here()
    if name == "nvdiffrast":
        from renderers.rasterize.nvdiffrast import NvdiffrastRasterizer

        return NvdiffrastRasterizer()
    if name == "pytorch3d":
        from renderers.rasterize.pytorch3d import Pytorch3dRasterizer

        return Pytorch3dRasterizer()
    if name == "warp":
        from renderers.rasterize.warp_backend import WarpRasterizer

        return WarpRasterizer()
    from renderers.rasterize.cpu import CpuRasterizer

    return CpuRasterizer(threads)


def _best_here() -> str:
    if torch.cuda.is_available():
        for name, package in (("nvdiffrast", "nvdiffrast"), ("warp", "warp")):
            if importlib.util.find_spec(package) is not None:
                return name
    return "cpu"
