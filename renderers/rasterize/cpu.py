"""The default rasterizer: compiled loops on the CPU, spread over threads, the same bits whatever their number."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.errors import InputError
from renderers.rasterize import antialias_kernels, image_kernels, raster_kernels
from renderers.rasterize.protocol import Rasterized
from renderers.rasterize.topology import EdgeTopology
from renderers.rasterize.workers import Workers

_LARGEST_FLOAT32_ID = 2**24 - 1
_GRAIN = {"vertices": 4096, "triangles": 2048, "rows": 8, "visible": 256, "edges": 4096}


@dataclass(frozen=True)
class _PixelGroups:
    """The covered pixels of one item, sorted by the triangle they show."""

    pixels: np.ndarray
    starts: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class _Drawing:
    """What the backend remembers of a rasterization: the geometry's layout, and the triangle at each pixel."""

    faces: np.ndarray
    items: np.ndarray
    """Each row (first face, number of faces, first vertex, vertices per item)."""
    ids: np.ndarray
    """(b, h, w) int32, -1 where nothing is drawn."""
    workers: Workers
    _silhouettes: list = field(default_factory=list)
    """The latest (clip coordinates, topology, crossings): several images are often blended across the same silhouettes."""

    def crossings(self, clip: Tensor, buffer: Tensor, topology: EdgeTopology) -> np.ndarray:
        """Where silhouette edges pass between two pixels; see `_find_crossings`."""
        if self._silhouettes:
            known_clip, known_topology, found = self._silhouettes[0]
            if known_topology is topology and torch.equal(known_clip, clip.detach()):
                return found
        found = _find_crossings(self.workers, clip.detach(), buffer.detach(), self, topology)
        self._silhouettes[:] = [(clip.detach().clone(), topology, found)]
        return found

    @cached_property
    def groups(self) -> list[_PixelGroups]:
        """Covered pixels by triangle, for each item; computed when a gradient first asks."""
        n_faces = len(self.faces)
        return self.workers.run(
            lambda item, _: _PixelGroups(*raster_kernels.group_pixels(self.ids[item], n_faces)), [(k, k + 1) for k in range(len(self.ids))]
        )

    @cached_property
    def covered(self) -> Tensor:
        """Covered pixels of all items in the order of their groups, counted through all items row by row."""
        per_item = self.ids.shape[1] * self.ids.shape[2]
        parts = [groups.pixels + item * per_item for item, groups in enumerate(self.groups)]
        return torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))

    @cached_property
    def covered_triangles(self) -> Tensor:
        """The triangles that `covered` pixels show."""
        parts = [np.repeat(groups.triangles, np.diff(groups.starts)) for groups in self.groups]
        return torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of `covered` pixels, item by item."""
        return np.split(values, np.cumsum([len(groups.pixels) for groups in self.groups])[:-1])


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
            ranges_of_bins = bins.balanced_ranges(self.workers.threads)
            self.workers.run(raster_kernels.draw_bins, ranges_of_bins, *layout, buffer.numpy(), ids)
        drawing = _Drawing(corners, items, ids, self.workers)
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
        return Rasterized(buffer, ranges, _Drawing(corners, _build_items(clip, faces, ranges), ids, self.workers))

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
        if texture.shape[0] not in (1, uv.shape[0]) or 0 in texture.shape:
            raise InputError(f"texture has shape {tuple(texture.shape)}; it needs 1 or {uv.shape[0]} items of at least one texel")
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
    if dtype == torch.float32 and len(faces) > _LARGEST_FLOAT32_ID:
        raise InputError(f"{len(faces)} triangles are more than float32 can number ({_LARGEST_FLOAT32_ID}); use float64")


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


def _drawing_of(rasterized: Rasterized) -> _Drawing:
    if not isinstance(rasterized.private, _Drawing):
        raise InputError("this rasterization was made by another backend than cpu")
    return rasterized.private


def _attribute_bases(attributes: Tensor, drawing: _Drawing, n_faces: int) -> np.ndarray:
    """First row of each item's attributes in the flattened attributes."""
    items = drawing.items
    vertices = items[0, 3] if len(items) else 0
    if n_faces != len(drawing.faces):
        raise InputError(f"{n_faces} triangles are given; the rasterization drew {len(drawing.faces)}")
    if attributes.shape[-2] != vertices or (attributes.ndim == 3 and attributes.shape[0] != len(items)):
        raise InputError(f"attributes have shape {tuple(attributes.shape)}; the rasterization has {len(items)} items, {vertices} vertices")
    return np.arange(len(items)) * vertices if attributes.ndim == 3 else np.zeros(len(items), dtype=np.int64)


@dataclass(frozen=True)
class _Bins:
    """Which triangles may touch each band of rows of each item."""

    offsets: np.ndarray
    """Position of each item's first triangle, all items' triangles being counted one after another."""
    bounds: np.ndarray
    """Pixel bounds of the triangle at each position: left, right, top, bottom; left > right where it is not drawn."""
    sides: np.ndarray
    """-1 where a triangle shows its front, 1 its back, 0 where it is degenerate."""
    starts: np.ndarray
    entries: np.ndarray
    """Positions of the triangles of bin k are entries starts[k] to starts[k + 1], ascending."""

    def balanced_ranges(self, threads: int) -> list[tuple[int, int]]:
        """Ranges of bins with about equal work (an empty bin still has to be cleared), four a thread."""
        n_bins = len(self.starts) - 1
        if threads == 1 or n_bins < 4:
            return [(0, n_bins)]
        work = self.starts + 200 * np.arange(n_bins + 1)
        cuts = np.unique(np.searchsorted(work, np.linspace(0, work[-1], 4 * threads + 1)))
        return [(int(a), int(b)) for a, b in pairwise(cuts)]


def bin_triangles(workers: Workers, clip: np.ndarray, faces: np.ndarray, items: np.ndarray, size: tuple[int, int], culls: bool) -> _Bins:
    """Project the vertices, and find the bands of rows that each triangle may touch.

    Raises:
        InputError: a vertex is not finite, or a triangle names one that is not there.
    """
    height, width = size
    screen = np.empty((len(clip), 2))
    statuses = workers.run(raster_kernels.project_vertices, workers.split(len(clip), _GRAIN["vertices"]), clip, height, width, screen)
    if raster_kernels.NON_FINITE_VERTEX in statuses:
        bad = int(np.flatnonzero(~np.isfinite(clip).all(axis=1))[0])
        raise InputError(f"clip coordinates of vertex {bad % items[0, 3]} are {clip[bad].tolist()}; all must be finite")
    n_bands = -(-height // raster_kernels.BAND_ROWS)
    offsets = np.concatenate([[0], np.cumsum(items[:, 1])])
    chunks = workers.split(int(offsets[-1]), _GRAIN["triangles"])
    bounds = np.empty((offsets[-1], 4), dtype=np.int16 if max(size) < 2**15 else np.int32)
    sides = np.empty(offsets[-1], dtype=np.int8)
    counts = np.zeros((len(chunks), len(items) * n_bands), dtype=np.int64)
    numbered = {chunk: index for index, chunk in enumerate(chunks)}
    geometry = (clip, screen, faces, items, offsets, height, width, culls, bounds, sides)

    def count(start: int, stop: int) -> int:
        return raster_kernels.count_triangles(start, stop, *geometry, counts[numbered[start, stop]])

    if raster_kernels.INDEX_OUT_OF_RANGE in workers.run(count, chunks):
        bad = int(np.flatnonzero(((faces < 0) | (faces >= items[0, 3])).any(axis=1))[0])
        raise InputError(f"triangle {bad} has vertex indices {faces[bad].tolist()}; there are {items[0, 3]} vertices")
    starts = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    cursors = starts[:-1] + np.cumsum(counts, axis=0) - counts
    entries = np.empty(starts[-1], dtype=np.int32 if offsets[-1] < 2**31 else np.int64)
    workers.run(
        lambda start, stop: raster_kernels.fill_bins(start, stop, bounds, offsets, n_bands, cursors[numbered[start, stop]], entries), chunks
    )
    return _Bins(offsets, bounds, sides, starts, entries)


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
            ranges = drawing.workers.split(len(groups.triangles), _GRAIN["visible"])
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
        rows = drawing.workers.split(buffer.shape[0] * buffer.shape[1], _GRAIN["rows"])
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
            ranges = drawing.workers.split(len(groups.triangles), _GRAIN["visible"])
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
        ranges = drawing.workers.split(len(groups.triangles), _GRAIN["visible"])
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
        rows = workers.split(uv.shape[0] * uv.shape[1], _GRAIN["rows"])
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


def _find_crossings(workers: Workers, clip: Tensor, buffer: Tensor, drawing: _Drawing, topology: EdgeTopology) -> np.ndarray:
    """Where silhouette edges pass between two pixels, and what each does to them (`antialias_kernels.RECORD`)."""
    tables = [table.numpy() for table in (topology.edges, topology.starts, topology.opposite, topology.edge_faces, topology.components)]
    geometry = clip.reshape(-1, 4).double().numpy()
    room = np.empty(256, dtype=antialias_kernels.RECORD)
    chunks = workers.split(len(drawing.items) * len(topology.edges), _GRAIN["edges"])
    arguments = (geometry, drawing.items, *tables, buffer.numpy(), drawing.ids)
    found = workers.run(lambda start, stop: antialias_kernels.find_crossings(start, stop, *arguments, room.copy()), chunks)
    records = np.concatenate(found) if found else room[:0]
    records = antialias_kernels.keep_outermost(records, np.argsort(records["pair"], kind="stable"))
    antialias_kernels.limit_blends(records, np.argsort(records["item"] * drawing.ids[0].size + records["target"], kind="stable"))
    return records


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
