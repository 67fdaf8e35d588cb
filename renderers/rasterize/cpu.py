"""The default rasterizer: compiled loops on the CPU, spread over threads, the same bits whatever their number."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.errors import InputError
from renderers.rasterize import antialias_kernels, image_kernels, raster_kernels
from renderers.rasterize.checks import LARGEST_ID, check_attributes, check_texture
from renderers.rasterize.drawing import GRAIN, Drawing, bin_triangles
from renderers.rasterize.protocol import Rasterized
from renderers.rasterize.topology import EdgeTopology
from renderers.rasterize.workers import Workers


class CpuRasterizer:
    """See `renderers.rasterize.protocol.Rasterizer`. float32 and float64; inside, everything is computed in float64."""

    name = "cpu"
    deterministic = True
    float64 = True
    devices = ("cpu",)

    def __init__(self, threads: int | None = None):
        """`threads` defaults to torch's own number."""
        self.workers = Workers(threads)

    def rasterize(
        self,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        faces: Int[Tensor, "f 3"],
        size: tuple[int, int],
        ranges: Int[Tensor, "b 2"] | None = None,
        cull_back_faces: bool = False,
    ) -> Rasterized:
        """See the protocol."""
        _check_size(size, faces, clip.dtype)
        items = _build_items(clip, faces, ranges)
        geometry = clip.detach().reshape(-1, 4).double().numpy()
        corners = np.ascontiguousarray(faces.detach().numpy(), dtype=np.int64)
        buffer = torch.empty((len(items), *size, 4), dtype=clip.dtype)
        ids = np.empty((len(items), *size), dtype=np.int32)
        if len(items):
            bins = bin_triangles(self.workers, geometry, corners, items, size, cull_back_faces)
            layout = (geometry, corners, items, bins.offsets, bins.bounds, bins.starts, bins.entries)
            self.workers.run(raster_kernels.draw_bins, bins.balanced_ranges(self.workers.threads), *layout, buffer.numpy(), ids)
        drawing = Drawing(corners, items, ids, self.workers)
        return Rasterized(_Rasterize.apply(clip, buffer, geometry, drawing), ranges, drawing)

    def adopt(
        self,
        buffer: Float[Tensor, "b h w 4"],
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        faces: Int[Tensor, "f 3"],
        ranges: Int[Tensor, "b 2"] | None = None,
    ) -> Rasterized:
        """A buffer that another backend has drawn of this geometry, for this one's other operations."""
        corners = np.ascontiguousarray(faces.detach().numpy(), dtype=np.int64)
        ids = buffer[..., 3].detach().numpy().astype(np.int32) - 1
        return Rasterized(buffer, ranges, Drawing(corners, _build_items(clip, faces, ranges), ids, self.workers))

    def interpolate(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        drawing = _drawing_of(rasterized)
        bases = _attribute_bases(attributes, drawing, len(faces))
        return _Interpolate.apply(attributes.to(rasterized.buffer.dtype), rasterized.buffer, drawing, bases)

    def interpolate_covered(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, "n c"]]:
        """See the protocol. Pixels come sorted by the triangle that they show."""
        drawing = _drawing_of(rasterized)
        bases = _attribute_bases(attributes, drawing, len(faces))
        values = _InterpolateCovered.apply(attributes.to(rasterized.buffer.dtype), rasterized.buffer, drawing, bases)
        return drawing.covered, drawing.covered_triangles, values

    def texture(
        self, texture: Float[Tensor, "bt ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: Literal["wrap", "clamp"] = "wrap"
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        check_texture(texture, uv)
        return _Texture.apply(texture.to(uv.dtype), uv, boundary == "wrap", self.workers)

    def antialias(
        self,
        image: Float[Tensor, "b h w c"],
        rasterized: Rasterized,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        topology: EdgeTopology,
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        drawing = _drawing_of(rasterized)
        if image.shape[:3] != rasterized.buffer.shape[:3]:
            raise InputError(f"image is {tuple(image.shape[:3])}; the rasterization is {tuple(rasterized.buffer.shape[:3])}")
        if len(topology.faces) != len(drawing.faces):
            raise InputError(f"topology has {len(topology.faces)} triangles; the rasterization drew {len(drawing.faces)}")
        return _Antialias.apply(image, clip, drawing.crossings(clip, rasterized.buffer, topology))


def _check_size(size: tuple[int, int], faces: Tensor, dtype: torch.dtype) -> None:
    if min(size) < 1:
        raise InputError(f"image size is {size[0]} x {size[1]}; both sides must be at least 1 pixel")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"clip coordinates are {dtype}; use float32 or float64")
    if dtype == torch.float32 and len(faces) > LARGEST_ID:
        raise InputError(f"{len(faces)} triangles are more than float32 can number ({LARGEST_ID}); use float64")


def _build_items(clip: Tensor, faces: Tensor, ranges: Tensor | None) -> np.ndarray:
    """Rows (first face, number of faces, first vertex, vertices per item)."""
    if ranges is None:
        if clip.ndim != 3:
            raise InputError("clip coordinates without a batch axis need ranges")
        batch, vertices = clip.shape[:2]
        rows = [[0, len(faces), item * vertices, vertices] for item in range(batch)]
        return np.array(rows, dtype=np.int64).reshape(-1, 4)
    if clip.ndim != 2:
        raise InputError("clip coordinates must be (v, 4), without a batch axis, where ranges are given")
    spans = ranges.detach().numpy().astype(np.int64)
    if len(spans) and (spans.min() < 0 or spans.sum(axis=1).max() > len(faces)):
        raise InputError(f"ranges reach outside the {len(faces)} triangles; each row is (first, number)")
    return np.concatenate([spans, np.broadcast_to(np.array([[0, len(clip)]]), spans.shape)], axis=1)


def _drawing_of(rasterized: Rasterized) -> Drawing:
    if not isinstance(rasterized.private, Drawing):
        raise InputError("this rasterization was made by another backend than cpu")
    return rasterized.private


def _attribute_bases(attributes: Tensor, drawing: Drawing, n_faces: int) -> np.ndarray:
    """First row of each item's attributes in the flattened attributes."""
    items = drawing.items
    vertices = int(items[0, 3]) if len(items) else 0
    if n_faces != len(drawing.faces):
        raise InputError(f"{n_faces} triangles are given; the rasterization drew {len(drawing.faces)}")
    check_attributes(attributes, len(items), vertices)
    return np.arange(len(items)) * vertices if attributes.ndim == 3 else np.zeros(len(items), dtype=np.int64)


class _Rasterize(torch.autograd.Function):
    """Hands out the drawn buffer and carries its gradient to the clip coordinates."""

    @staticmethod
    def forward(ctx, clip, buffer, geometry, drawing):
        ctx.geometry, ctx.drawing, ctx.shape, ctx.dtype = geometry, drawing, clip.shape, clip.dtype
        return buffer

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        drawing, clip = ctx.drawing, ctx.geometry
        pixels = gradient.contiguous().numpy()
        total = np.zeros((len(clip), 4))
        for item, groups in enumerate(drawing.groups):
            corners = np.empty((len(groups.triangles), 3, 4))
            base = drawing.items[item, 2]
            layout = (groups.pixels, groups.starts, groups.triangles)
            ranges = drawing.workers.split(len(groups.triangles), GRAIN["visible"])
            drawing.workers.run(raster_kernels.rasterize_gradient, ranges, clip, drawing.faces, base, *layout, pixels[item], corners)
            raster_kernels.add_corners(groups.triangles, drawing.faces, base, corners, total)
        return torch.from_numpy(total).to(ctx.dtype).reshape(ctx.shape), None, None, None


class _Interpolate(torch.autograd.Function):
    """Barycentric interpolation of vertex attributes, at all pixels."""

    @staticmethod
    def forward(ctx, attributes, buffer, drawing, bases):
        ctx.save_for_backward(attributes, buffer)
        ctx.drawing, ctx.bases = drawing, bases
        out = torch.empty((*buffer.shape[:3], attributes.shape[-1]), dtype=buffer.dtype)
        rows = drawing.workers.split(buffer.shape[0] * buffer.shape[1], GRAIN["rows"])
        arguments = (_as_rows(attributes), bases, drawing.faces, buffer.detach().numpy(), drawing.ids, out.numpy())
        drawing.workers.run(image_kernels.interpolate, rows, *arguments)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return *_interpolation_gradient(ctx, _as_pixels(gradient), lambda groups: groups.pixels), None, None


class _InterpolateCovered(torch.autograd.Function):
    """Barycentric interpolation of vertex attributes, at covered pixels, group by group."""

    @staticmethod
    def forward(ctx, attributes, buffer, drawing, bases):
        ctx.save_for_backward(attributes, buffer)
        ctx.drawing, ctx.bases = drawing, bases
        flat, weights = _as_rows(attributes), _as_pixels(buffer.detach())
        out = torch.empty((len(drawing.covered), attributes.shape[-1]), dtype=buffer.dtype)
        for item, (groups, values) in enumerate(zip(drawing.groups, drawing.split(out.numpy()), strict=True)):
            ranges = drawing.workers.split(len(groups.triangles), GRAIN["visible"])
            layout = (groups.pixels, groups.starts, groups.triangles)
            drawing.workers.run(image_kernels.interpolate_groups, ranges, flat, bases[item], drawing.faces, weights[item], *layout, values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        values = ctx.drawing.split(gradient.contiguous().numpy())
        return *_interpolation_gradient(ctx, values, lambda groups: np.arange(len(groups.pixels))), None, None


def _interpolation_gradient(ctx, gradients, slots_of) -> tuple[Tensor, Tensor]:
    """Gradient with respect to attributes and buffer. `gradients[item][slots_of(groups)]` are those of the item's covered pixels."""
    attributes, buffer = ctx.saved_tensors
    drawing, flat, weights = ctx.drawing, _as_rows(attributes), _as_pixels(buffer.detach())
    total = np.zeros(flat.shape)
    buffer_gradient = torch.zeros_like(buffer, memory_format=torch.contiguous_format)
    targets = _as_pixels(buffer_gradient)
    for item, groups in enumerate(drawing.groups):
        corners = np.empty((len(groups.triangles), 3, flat.shape[1]))
        ranges = drawing.workers.split(len(groups.triangles), GRAIN["visible"])
        layout = (groups.pixels, slots_of(groups), groups.starts, groups.triangles)
        arguments = (weights[item], *layout, gradients[item], corners, targets[item])
        drawing.workers.run(image_kernels.interpolate_gradient, ranges, flat, ctx.bases[item], drawing.faces, *arguments)
        raster_kernels.add_corners(groups.triangles, drawing.faces, ctx.bases[item], corners, total)
    return torch.from_numpy(total).to(attributes.dtype).reshape(attributes.shape), buffer_gradient


class _Texture(torch.autograd.Function):
    """Bilinear look-up."""

    @staticmethod
    def forward(ctx, texture, uv, wraps, workers):
        ctx.save_for_backward(texture, uv)
        ctx.wraps = wraps
        out = torch.empty((*uv.shape[:3], texture.shape[-1]), dtype=uv.dtype)
        rows = workers.split(uv.shape[0] * uv.shape[1], GRAIN["rows"])
        arguments = (texture.detach().contiguous().numpy(), uv.detach().contiguous().numpy(), wraps, out.numpy())
        workers.run(image_kernels.sample_texture, rows, *arguments)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        texture, uv = (tensor.detach().contiguous() for tensor in ctx.saved_tensors)
        texture_gradient, uv_gradient = np.zeros(texture.shape), torch.empty_like(uv)
        arguments = (texture.numpy(), uv.numpy(), ctx.wraps, gradient.contiguous().numpy(), texture_gradient, uv_gradient.numpy())
        image_kernels.sample_texture_gradient(*arguments)
        return torch.from_numpy(texture_gradient).to(texture.dtype), uv_gradient, None, None


class _Antialias(torch.autograd.Function):
    """Blends across crossings that are already known."""

    @staticmethod
    def forward(ctx, image, clip, crossings):
        ctx.save_for_backward(image)
        ctx.crossings, ctx.clip_shape, ctx.clip_dtype = crossings, clip.shape, clip.dtype
        out = image.detach().clone(memory_format=torch.contiguous_format)
        antialias_kernels.blend(crossings, _as_pixels(image.detach()), _as_pixels(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (image,) = ctx.saved_tensors
        image_gradient = gradient.clone(memory_format=torch.contiguous_format) if ctx.needs_input_grad[0] else None
        clip_gradient = np.zeros((int(np.prod(ctx.clip_shape[:-1])), 4))
        pixels = (_as_pixels(image.detach()), _as_pixels(gradient))
        antialias_kernels.clip_gradient(ctx.crossings, *pixels, clip_gradient)
        if image_gradient is not None:
            antialias_kernels.image_gradient(ctx.crossings, pixels[1], _as_pixels(image_gradient))
        return image_gradient, torch.from_numpy(clip_gradient).to(ctx.clip_dtype).reshape(ctx.clip_shape), None


def _as_rows(attributes: Tensor) -> np.ndarray:
    """(b, v, c) or (v, c) as contiguous rows of c values."""
    return attributes.detach().flatten(0, -2).contiguous().numpy()


def _as_pixels(image: Tensor) -> np.ndarray:
    """(b, h, w, c) as contiguous (b, h * w, c)."""
    return image.contiguous().flatten(1, 2).numpy()
