"""The same operations by NVIDIA Warp: one set of kernels for CUDA and CPU, installed as a wheel, with no compiler and a free licence."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.errors import InputError, MissingDependencyError
from renderers.rasterize.protocol import Rasterized
from renderers.rasterize.shared_operations import SharedOperations
from renderers.rasterize.topology import EdgeTopology

try:
    import warp as wp
except ImportError as error:
    raise MissingDependencyError("Warp is not installed; pip install 'invgraphics[warp]' (the package warp-lang)") from error

wp.config.log_level = wp.LOG_WARNING

from renderers.rasterize import warp_kernels as kernels  # noqa: E402 - declaring kernels starts Warp, which greets unless told not to


@dataclass(frozen=True)
class _Drawing:
    """The geometry's layout and the triangle at each pixel, as the kernels take them."""

    clip: Tensor
    """(n, 4) float64."""
    faces: Tensor
    """(f, 3) int32."""
    items: Tensor
    """(b, 4) int32: first face, number of faces, first vertex, vertices per item."""
    ids: Tensor
    """(b, h, w) int32, -1 where nothing is drawn."""


class WarpRasterizer(SharedOperations):
    """See `renderers.rasterize.protocol.Rasterizer`. Computes in float64; on CUDA, sums of gradients come in no fixed order.

    A triangle is one thread's work: many small triangles suit it, a few that fill the image do not.
    """

    name = "warp"
    deterministic = False
    float64 = True
    devices = ("cpu", "cuda")

    def __init__(self) -> None:
        """Start Warp: it looks for devices."""
        wp.init()

    def _draw(self, clip: Tensor, faces: Tensor, size: tuple[int, int], ranges: Tensor | None, culls: bool) -> Rasterized:
        items = _build_items(clip, faces, ranges)
        points, triangles = clip.detach().reshape(-1, 4).double().contiguous(), faces.int().contiguous()
        keys = torch.full((len(items), *size), kernels.EMPTY, dtype=torch.int64, device=clip.device)
        buffer = torch.zeros(len(items), *size, 4, dtype=torch.float64, device=clip.device)
        most = int(items[:, 1].max()) if len(items) else 0
        _launch(kernels.draw, (len(items), most), _vectors(points), triangles, items, *size, int(culls), keys.reshape(-1))
        _launch(kernels.resolve, tuple(keys.shape), _vectors(points), triangles, items, keys, _vectors(buffer))
        ids = torch.where(keys == kernels.EMPTY, -1, keys % 2**24).int()
        drawing = _Drawing(points, triangles, items, ids)
        return Rasterized(_Rasterize.apply(clip, buffer.to(clip.dtype), drawing), ranges, drawing)

    def _interpolate(self, attributes: Tensor, rasterized: Rasterized, faces: Tensor) -> Tensor:
        return _Interpolate.apply(attributes, rasterized.buffer, _drawing_of(rasterized))

    def _count_vertices(self, rasterized: Rasterized) -> int:
        items = _drawing_of(rasterized).items
        return int(items[0, 3]) if len(items) else 0

    def antialias(
        self,
        image: Float[Tensor, "b h w c"],
        rasterized: Rasterized,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        topology: EdgeTopology,
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        return _Antialias.apply(image, clip, rasterized.buffer.detach(), _drawing_of(rasterized), topology)


def _drawing_of(rasterized: Rasterized) -> _Drawing:
    if not isinstance(rasterized.private, _Drawing):
        raise InputError("this rasterization was made by another backend than warp")
    return rasterized.private


def _build_items(clip: Tensor, faces: Tensor, ranges: Tensor | None) -> Tensor:
    if ranges is not None:
        spans = ranges.int().to(clip.device)
        return torch.cat([spans, torch.zeros_like(spans[:, :1]), torch.full_like(spans[:, :1], len(clip))], dim=1).contiguous()
    batch, vertices = clip.shape[:2]
    rows = np.array([[0, len(faces), item * vertices, vertices] for item in range(batch)], dtype=np.int32).reshape(-1, 4)
    return torch.as_tensor(rows, device=clip.device)


def _vectors(tensor: Tensor) -> object:
    """Rows of four float64 as Warp's vectors, sharing memory."""
    return wp.from_torch(tensor, dtype=wp.vec4d)


def _launch(kernel: object, dim: tuple[int, ...], *inputs: object) -> None:
    """Run a kernel on the device and stream of its inputs; tensors share their memory with it."""
    if 0 in dim:
        return
    arrays = [wp.from_torch(value) if isinstance(value, Tensor) else value for value in inputs]
    first = next(value for value in arrays if isinstance(value, wp.array)) if not _scene_of(inputs) else _scene_of(inputs).clip
    stream = wp.stream_from_torch(torch.cuda.current_stream(wp.device_to_torch(first.device))) if first.device.is_cuda else None
    wp.launch(kernel, dim=dim, inputs=arrays, device=first.device, stream=stream)


def _scene_of(inputs: tuple[object, ...]) -> object | None:
    """The kernels' scene, if it is their first input."""
    return inputs[0] if hasattr(inputs[0], "edge_faces") else None


class _Rasterize(torch.autograd.Function):
    """Hands out the drawn buffer and carries its gradient to the clip coordinates."""

    @staticmethod
    def forward(ctx, clip, buffer, drawing):
        ctx.drawing, ctx.shape, ctx.dtype = drawing, clip.shape, clip.dtype
        return buffer

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        drawing = ctx.drawing
        out = torch.zeros_like(drawing.clip)
        layout = (drawing.faces, drawing.items, drawing.ids)
        pixels = _vectors(gradient.double().contiguous())
        _launch(kernels.rasterize_gradient, tuple(drawing.ids.shape), _vectors(drawing.clip), *layout, pixels, _vectors(out))
        return out.to(ctx.dtype).reshape(ctx.shape), None, None


class _Interpolate(torch.autograd.Function):
    """Barycentric interpolation of vertex attributes."""

    @staticmethod
    def forward(ctx, attributes, buffer, drawing):
        ctx.save_for_backward(attributes, buffer)
        ctx.drawing = drawing
        out = torch.zeros(*drawing.ids.shape, attributes.shape[-1], dtype=torch.float64, device=buffer.device)
        _launch(kernels.interpolate, tuple(drawing.ids.shape), *_interpolation_inputs(attributes, buffer, drawing), out)
        return out.to(buffer.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        attributes, buffer = ctx.saved_tensors
        inputs = _interpolation_inputs(attributes, buffer, ctx.drawing)
        out, weights = torch.zeros_like(inputs[0]), torch.zeros_like(buffer, dtype=torch.float64)
        _launch(kernels.interpolate_gradient, tuple(ctx.drawing.ids.shape), *inputs, gradient.double().contiguous(), out, _vectors(weights))
        return out.to(attributes.dtype).reshape(attributes.shape), weights.to(buffer.dtype), None


def _interpolation_inputs(attributes: Tensor, buffer: Tensor, drawing: _Drawing) -> tuple:
    """Attribute rows, where each item's begin, triangles, ids, weights."""
    rows = attributes.detach().flatten(0, -2).double().contiguous()
    bases = torch.arange(len(drawing.items), dtype=torch.int32, device=rows.device) * (attributes.shape[-2] if attributes.ndim == 3 else 0)
    return rows, bases, drawing.faces, drawing.ids, _vectors(buffer.detach().double().contiguous())


class _Antialias(torch.autograd.Function):
    """Blends pixels across silhouette edges."""

    @staticmethod
    def forward(ctx, image, clip, buffer, drawing, topology):
        points = clip.detach().reshape(-1, 4).double().contiguous()
        ctx.keeps, scene = _build_scene(points, buffer, drawing, topology)
        pixels = drawing.ids.shape[1] * drawing.ids.shape[2]
        ctx.dim = (len(drawing.items), len(topology.edges))
        best = torch.full((len(drawing.items), 2 * pixels), -1, dtype=torch.int64, device=image.device)
        totals = torch.zeros(len(drawing.items), pixels, dtype=torch.float64, device=image.device)
        flat = image.detach().flatten(1, 2).double().contiguous()
        out = flat.clone()
        _launch(kernels.find_outermost, ctx.dim, scene, best)
        _launch(kernels.sum_blends, ctx.dim, scene, best, totals)
        _launch(kernels.blend, ctx.dim, scene, best, totals, flat, out)
        ctx.found, ctx.flat, ctx.scene, ctx.clip = (best, totals), flat, scene, clip.detach()
        return out.to(image.dtype).reshape(image.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        pixels = gradient.flatten(1, 2).double().contiguous()
        image_gradient, clip_gradient = pixels.clone(), torch.zeros_like(ctx.keeps[0])
        _launch(kernels.blend_gradient, ctx.dim, ctx.scene, *ctx.found, ctx.flat, pixels, image_gradient, _vectors(clip_gradient))
        image_gradient = image_gradient.to(gradient.dtype).reshape(gradient.shape)
        return image_gradient, clip_gradient.to(ctx.clip.dtype).reshape(ctx.clip.shape), None, None, None


def _build_scene(clip: Tensor, buffer: Tensor, drawing: _Drawing, topology: EdgeTopology) -> tuple[list[Tensor], object]:
    """The kernels' view of geometry and drawing, and the tensors whose memory it shares."""
    tables = {name: getattr(topology, name).int().contiguous() for name in ("edges", "starts", "opposite", "edge_faces", "components")}
    weights = buffer.double().contiguous()
    scene = kernels.Scene()
    scene.clip, scene.buffer = _vectors(clip), _vectors(weights)
    scene.items, scene.ids = wp.from_torch(drawing.items), wp.from_torch(drawing.ids)
    for name, table in tables.items():
        setattr(scene, name, wp.from_torch(table))
    return [clip, weights, *tables.values()], scene
