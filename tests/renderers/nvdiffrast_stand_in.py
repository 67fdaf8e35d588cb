"""nvdiffrast's documented interface on the CPU, to check what our adapter passes where there is no GPU.

It asks of its arguments what nvdiffrast's sources ask (version 0.4.0: `torch/ops.py` and the checks in `csrc/torch/*.cpp`), then draws with
the CPU backend. What nvdiffrast itself draws is not checked by it: `record_reference.py` is for that, on a machine that has a GPU.
"""

from types import ModuleType

import torch
from torch import Tensor

from renderers.rasterize import Rasterized, build_topology
from renderers.rasterize.cpu import CpuRasterizer


class RasterizeCudaContext:
    def __init__(self, device: torch.device | str | int | None = None):
        self.device = torch.device(device)
        self.draws = CpuRasterizer(threads=1)


def check(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(message)


def check_tensors(floats: tuple[Tensor, ...], indices: tuple[Tensor, ...]) -> None:
    check(all(tensor.is_contiguous() for tensor in (*floats, *indices)), "inputs must be contiguous")
    check(all(tensor.dtype == torch.float32 for tensor in floats), "inputs must be float32")
    check(all(tensor.dtype == torch.int32 for tensor in indices), "inputs must be int32")
    check(all(0 not in tensor.shape for tensor in floats), "no side may be 0")
    check(all(len(index) > 0 for index in indices), "there must be triangles")


def rasterize(glctx, pos, tri, resolution, ranges=None, grad_db=True):
    assert isinstance(glctx, RasterizeCudaContext)
    assert grad_db is True or grad_db is False
    height, width = tuple(resolution)
    check_tensors((pos,), (tri,) if ranges is None else (tri, ranges))
    check(pos.device == glctx.device, "context and inputs must lie on the same device")
    check(ranges is None or (ranges.device.type == "cpu" and pos.ndim == 2 and ranges.shape[1] == 2), "range mode: pos [>0, 4], CPU ranges")
    check(ranges is not None or pos.ndim == 3, "instance mode: pos [>0, >0, 4]")
    drawn = glctx.draws.rasterize(pos, tri.long(), (height, width), ranges)
    rast = torch.cat([drawn.buffer[..., :2], drawn.buffer[..., 2:].detach()], dim=-1)
    return rast, torch.zeros_like(rast)


def interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
    check_tensors((attr, rast), (tri,))
    check(rast.ndim == 4 and rast.shape[3] == 4, "rast must have shape [>0, >0, >0, 4]")
    check(attr.ndim == 2 or len(attr) in (1, len(rast)), "minibatch size mismatch between inputs rast, attr")
    ids = rast[..., 3].detach().long() - 1
    offset = torch.arange(len(rast))[:, None, None] if attr.ndim == 3 and len(attr) > 1 else torch.zeros(1, 1, 1, dtype=torch.int64)
    corners = tri.long()[ids.clamp(min=0)] + (offset * attr.shape[-2])[..., None]
    weights = torch.stack([rast[..., 0], rast[..., 1], 1 - rast[..., 0] - rast[..., 1]], dim=-1)
    values = (attr.flatten(0, -2)[corners] * weights[..., None]).sum(-2)
    return values * (ids >= 0)[..., None], values.new_zeros(*ids.shape, 0)


def texture(tex, uv, uv_da=None, mip_level_bias=None, mip=None, filter_mode="auto", boundary_mode="wrap", max_mip_level=None):
    assert filter_mode == "linear"
    assert boundary_mode in ("wrap", "clamp")
    check_tensors((tex, uv), ())
    check(len(tex) in (1, len(uv)), "minibatch size mismatch between inputs tex, uv")
    return CpuRasterizer(threads=1).texture(tex, uv, boundary_mode)


def antialias(color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
    check_tensors((color, rast, pos), (tri,))
    check(color.shape[:3] == rast.shape[:3], "color and rast inputs must have same dimensions")
    check(pos.ndim == 2 or len(pos) == len(color), "minibatch size mismatch between inputs color, rast, pos")
    faces = tri.long()
    spans = None if pos.ndim == 3 else torch.tensor([[0, len(tri)]]).expand(len(color), 2)
    draws = CpuRasterizer(threads=1)
    again: Rasterized = draws.rasterize(pos.detach(), faces, tuple(color.shape[1:3]), spans)
    return draws.antialias(color, again, pos, build_topology(faces))


def build_modules() -> dict[str, ModuleType]:
    """What to put into `sys.modules` so that `import nvdiffrast.torch` finds this."""
    package, operations = ModuleType("nvdiffrast"), ModuleType("nvdiffrast.torch")
    package.__version__ = "0.4.0"
    package.torch = operations
    for function in (RasterizeCudaContext, rasterize, interpolate, texture, antialias):
        setattr(operations, function.__name__, function)
    return {"nvdiffrast": package, "nvdiffrast.torch": operations}
