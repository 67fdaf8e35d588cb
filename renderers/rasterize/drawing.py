"""What the CPU backend remembers of a rasterization: which triangle each pixel shows, pixels by triangle, and silhouettes."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from invgraphics.errors import InputError
from renderers.rasterize import antialias_kernels, raster_kernels
from renderers.rasterize.topology import EdgeTopology
from renderers.rasterize.workers import Workers

GRAIN = {"vertices": 16384, "triangles": 8192, "rows": 32, "visible": 1024, "edges": 8192, "bins": 2500}
"""The least work that is worth sharing between threads: about 0.2 ms."""
_BIN_WORK = 200
"""What clearing a bin costs, in triangles."""


@dataclass(frozen=True)
class PixelGroups:
    """The covered pixels of one item, sorted by the triangle they show."""

    pixels: np.ndarray
    starts: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class Drawing:
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
        """Where silhouette edges pass between two pixels; see `find_crossings`."""
        if self._silhouettes:
            known_clip, known_topology, found = self._silhouettes[0]
            if known_topology is topology and torch.equal(known_clip, clip.detach()):
                return found
        geometry, offsets = clip.detach().reshape(-1, 4).double().numpy(), count_up(self.items[:, 1])
        sides = np.empty(offsets[-1], dtype=np.int8)
        ranges = self.workers.split(len(sides), GRAIN["triangles"])
        self.workers.run(raster_kernels.find_sides, ranges, geometry, self.faces, self.items, offsets, sides)
        found = find_crossings(geometry, sides, buffer.detach().numpy()[..., 2], self, topology)
        self._silhouettes[:] = [(clip.detach().clone(), topology, found)]
        return found

    @cached_property
    def groups(self) -> list[PixelGroups]:
        """Covered pixels by triangle, for each item; computed when a gradient first asks."""
        n_faces = len(self.faces)
        return self.workers.run(
            lambda item, _: PixelGroups(*raster_kernels.group_pixels(self.ids[item], n_faces)), [(k, k + 1) for k in range(len(self.ids))]
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


@dataclass(frozen=True)
class Bins:
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
        work = self.starts + _BIN_WORK * np.arange(n_bins + 1)
        if threads == 1 or n_bins < 4 or work[-1] < GRAIN["bins"]:
            return [(0, n_bins)]
        cuts = np.unique(np.searchsorted(work, np.linspace(0, work[-1], 4 * threads + 1)))
        return [(int(a), int(b)) for a, b in pairwise(cuts)]


def count_up(numbers: np.ndarray) -> np.ndarray:
    """0, and the sums of the first one, two, ... numbers."""
    return np.concatenate([[0], np.cumsum(numbers)])


def bin_triangles(workers: Workers, clip: np.ndarray, faces: np.ndarray, items: np.ndarray, size: tuple[int, int], culls: bool) -> Bins:
    """Project the vertices, and find the bands of rows that each triangle may touch.

    Raises:
        InputError: a vertex is not finite, or a triangle names one that is not there.
    """
    height, width = size
    screen = np.empty((len(clip), 2))
    statuses = workers.run(raster_kernels.project_vertices, workers.split(len(clip), GRAIN["vertices"]), clip, height, width, screen)
    if raster_kernels.NON_FINITE_VERTEX in statuses:
        bad = int(np.flatnonzero(~np.isfinite(clip).all(axis=1))[0])
        raise InputError(f"clip coordinates of vertex {bad % items[0, 3]} are {clip[bad].tolist()}; all must be finite")
    n_bands = -(-height // raster_kernels.BAND_ROWS)
    offsets = count_up(items[:, 1])
    chunks = workers.split(int(offsets[-1]), GRAIN["triangles"])
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
    starts = count_up(counts.sum(axis=0))
    cursors = starts[:-1] + np.cumsum(counts, axis=0) - counts
    entries = np.empty(starts[-1], dtype=np.int32 if offsets[-1] < 2**31 else np.int64)
    workers.run(
        lambda start, stop: raster_kernels.fill_bins(start, stop, bounds, offsets, n_bands, cursors[numbered[start, stop]], entries), chunks
    )
    return Bins(offsets, bounds, sides, starts, entries)


def draw_visible(workers: Workers, clip: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> tuple[Drawing, np.ndarray, np.ndarray]:
    """Draw one item: the triangle at each pixel, z/w (1, h, w) where there is one, and the side (see `Bins`) that each triangle shows.

    Raises:
        InputError: see `bin_triangles`.
    """
    items = np.array([[0, len(faces), 0, len(clip)]])
    ids, depths = np.empty((1, *size), dtype=np.int32), np.empty((1, *size))
    bins = bin_triangles(workers, clip, faces, items, size, culls=False)
    layout = (clip, faces, items, bins.offsets, bins.bounds, bins.starts, bins.entries)
    workers.run(raster_kernels.draw_visible, bins.balanced_ranges(workers.threads), *layout, depths, ids)
    return Drawing(faces, items, ids, workers), depths, bins.sides


def find_crossings(clip: np.ndarray, sides: np.ndarray, depths: np.ndarray, drawing: Drawing, topology: EdgeTopology) -> np.ndarray:
    """Where silhouette edges pass between two pixels, and what each does to them (`antialias_kernels.RECORD`).

    `clip` has all vertices as rows of four float64, `sides` is that of `Bins`, `depths` has z/w at each pixel of each item.
    """
    workers = drawing.workers
    edges = (topology.edges, topology.starts, topology.edge_faces, topology.directions, topology.components)
    room = np.empty(256, dtype=antialias_kernels.RECORD)
    chunks = workers.split(len(drawing.items) * len(topology.edges), GRAIN["edges"])
    arguments = (clip, drawing.items, count_up(drawing.items[:, 1]), sides, *(table.numpy() for table in edges), depths, drawing.ids)
    found = workers.run(lambda start, stop: antialias_kernels.find_crossings(start, stop, *arguments, room.copy()), chunks)
    records = np.concatenate(found) if found else room[:0]
    records = antialias_kernels.keep_outermost(records, np.argsort(records["pair"], kind="stable"))
    antialias_kernels.limit_blends(records, np.argsort(records["item"] * drawing.ids[0].size + records["target"], kind="stable"))
    return records
