"""Closed triangle meshes from implicit functions sampled on a regular lattice."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

_EDGE_FRACTION_MARGIN = 0.02
"""Crossings stay this far, as a fraction of the edge, from lattice points: no two vertices of a face coincide."""


@dataclass(frozen=True)
class Lattice:
    """A regular grid of sample points, aligned with the axes of its frame."""

    origin: np.ndarray
    """(3,) first sample, metres."""
    spacing: float
    """Distance between neighbouring samples, metres."""
    shape: tuple[int, int, int]
    """Number of samples along x, y, z."""

    def points(self) -> np.ndarray:
        """(x*y*z, 3) samples, z fastest, metres."""
        axes = [self.origin[k] + self.spacing * np.arange(self.shape[k]) for k in range(3)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def build_lattice(low: np.ndarray, high: np.ndarray, samples: int, finest: float, padding: int = 3) -> Lattice:
    """A lattice over a box with about `samples` points, `padding` of them beyond each side, no finer than `finest` metres."""
    extent = np.maximum(high - low, 1e-6)
    spacing = max(finest, float(np.cbrt(extent.prod() / samples)))
    counts = _count_samples(extent, spacing, padding)
    while counts.prod() > samples and spacing < extent.max():
        spacing *= 1.05
        counts = _count_samples(extent, spacing, padding)
    return Lattice(low - padding * spacing, spacing, (int(counts[0]), int(counts[1]), int(counts[2])))


def _count_samples(extent: np.ndarray, spacing: float, padding: int) -> np.ndarray:
    return np.ceil(extent / spacing).astype(int) + 2 * padding + 1


def _kuhn_tetrahedra() -> np.ndarray:
    """(6, 4, 3) corners of the six tetrahedra about a cube's main diagonal; neighbouring cubes agree on shared faces."""
    paths = []
    for order in permutations(range(3)):
        corners = np.zeros((4, 3), dtype=np.int64)
        for step, axis in enumerate(order):
            corners[step + 1 :, axis] = 1
        paths.append(corners)
    return np.stack(paths)


_TETRAHEDRA = _kuhn_tetrahedra()


def extract_isosurface(field: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The surface `field = 0` by marching tetrahedra: closed, manifold, outward faces; `field` is negative inside.

    Samples on the border of the lattice count as outside, so that the surface closes there.

    Args:
        field: (x, y, z) values.
        lattice: where the values were sampled.

    Returns:
        Vertices (v, 3) in metres, and faces (f, 3) of int64. Both empty where nothing is inside.
    """
    field = _close_border(field, lattice.spacing)
    flat = field.reshape(-1)
    tetrahedra = _find_crossed_tetrahedra(field)
    edges = _triangulate(tetrahedra, flat[tetrahedra] < 0, field.shape)  # (t, 3, 2): inside and outside sample of each corner
    keys = edges[..., 0] * flat.size + edges[..., 1]
    unique_keys, faces = np.unique(keys.reshape(-1), return_inverse=True)
    inside, outside = unique_keys // flat.size, unique_keys % flat.size
    fraction = flat[inside] / (flat[inside] - flat[outside])
    fraction = np.clip(fraction, _EDGE_FRACTION_MARGIN, 1 - _EDGE_FRACTION_MARGIN)[:, None]
    grid = _unravel(inside, field.shape) * (1 - fraction) + _unravel(outside, field.shape) * fraction
    return lattice.origin + lattice.spacing * grid, faces.reshape(-1, 3).astype(np.int64)


def _close_border(field: np.ndarray, spacing: float) -> np.ndarray:
    closed = np.full_like(field, spacing)
    closed[1:-1, 1:-1, 1:-1] = field[1:-1, 1:-1, 1:-1]
    return closed


def _find_crossed_tetrahedra(field: np.ndarray) -> np.ndarray:
    """(t, 4) flat sample indices of the tetrahedra of all cubes that the surface crosses."""
    inside = field < 0
    count = np.zeros(tuple(n - 1 for n in field.shape), dtype=np.int8)
    for dx, dy, dz in np.ndindex(2, 2, 2):
        count += inside[dx : dx + count.shape[0], dy : dy + count.shape[1], dz : dz + count.shape[2]]
    cubes = np.argwhere((count > 0) & (count < 8))
    strides = np.array([field.shape[1] * field.shape[2], field.shape[2], 1])
    return ((cubes[:, None, None, :] + _TETRAHEDRA[None]) @ strides).reshape(-1, 4)


def _triangulate(tetrahedra: np.ndarray, inside: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(t, 3, 2) triangles as pairs (inside sample, outside sample), wound outward."""
    count = inside.sum(1)
    ordered = np.take_along_axis(tetrahedra, np.argsort(~inside, axis=1, kind="stable"), axis=1)

    def edges(rows: np.ndarray, *pairs: tuple[int, int]) -> np.ndarray:
        return np.stack([ordered[rows][:, list(pair)] for pair in pairs], axis=1)

    triangles = np.concatenate(
        [
            edges(count == 1, (0, 1), (0, 2), (0, 3)),
            edges(count == 3, (0, 3), (1, 3), (2, 3)),
            edges(count == 2, (0, 2), (0, 3), (1, 3)),
            edges(count == 2, (0, 2), (1, 3), (1, 2)),
        ]
    )
    start, end = _unravel(triangles[..., 0], shape), _unravel(triangles[..., 1], shape)
    middle = (start + end) / 2
    normal = np.cross(middle[:, 1] - middle[:, 0], middle[:, 2] - middle[:, 0])
    inward = (normal * (end - start).sum(1)).sum(1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return triangles


def _unravel(indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.unravel_index(indices, shape), axis=-1).astype(np.float64)
