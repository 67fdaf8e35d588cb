"""Rasterizer backends by name, each imported when first asked for."""

import importlib.util

import torch

from invgraphics.errors import InputError, MissingDependencyError
from renderers.rasterize.protocol import Rasterizer

RASTERIZERS = ("cpu", "nvdiffrast", "pytorch3d", "warp")


def make_rasterizer(name: str = "auto", threads: int | None = None, device: torch.device | str = "cpu") -> Rasterizer:
    """The rasterizer of a name; "auto" takes the fastest here for tensors on a device: nvdiffrast, else warp, on CUDA; cpu on the CPU.

    Args:
        name: "auto" or one of `RASTERIZERS`.
        threads: threads of the "cpu" backend; torch's own number where it is None.
        device: where the tensors lie that will be drawn; counts for "auto" and "nvdiffrast".

    Raises:
        InputError: there is no backend of that name.
        MissingDependencyError: it needs a package or device that is not there; the message says which.
    """
    if name not in ("auto", *RASTERIZERS):
        raise InputError(f"there is no rasterizer {name!r}; choose one of auto, {', '.join(RASTERIZERS)}")
    if name == "auto":
        name = _choose_for(torch.device(device))
    if name == "nvdiffrast":
        from renderers.rasterize.nvdiffrast import NvdiffrastRasterizer

        return NvdiffrastRasterizer(device if torch.device(device).type == "cuda" else None)
    if name == "pytorch3d":
        from renderers.rasterize.pytorch3d import Pytorch3dRasterizer

        return Pytorch3dRasterizer()
    if name == "warp":
        from renderers.rasterize.warp_backend import WarpRasterizer

        return WarpRasterizer()
    from renderers.rasterize.cpu import CpuRasterizer

    return CpuRasterizer(threads)


def _choose_for(device: torch.device) -> str:
    """The fastest backend that is installed and draws tensors on a device."""
    if device.type == "cpu":
        return "cpu"
    found = next((name for name in ("nvdiffrast", "warp") if importlib.util.find_spec(name) is not None), None)
    if found is None:
        raise MissingDependencyError(f"no rasterizer for tensors on {device} is installed; pip install 'invgraphics[warp]' draws on CUDA")
    return found
