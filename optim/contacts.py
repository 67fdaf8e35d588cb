"""Where things nearly touch: the gaps between neighbours, and between a thing and the plane, that a force could act across."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int

from invgraphics.geometry.distances import find_inside
from invgraphics.geometry.distances_kernels import build_tree, nearest_triangles
from invgraphics.geometry.mesh import Mesh, face_cross

PLANE = -1
"""Stands for the support plane where an object's number could be."""
_SPACING = 0.006
"""Metres: longest edge between the points of a surface that are looked at."""
_APART = 2e-4
"""Metres from which the way from one surface to the other says which way they push; nearer, their normals do."""
_FACING = 0.5
"""Least cosine between that way and the normals of the two surfaces, edges' and corners' being means of their faces'."""
_CELL = 0.008
"""Metres: of the gaps between two surfaces, the least in every cube of this side is kept."""


@dataclass(frozen=True)
class Gaps:
    """Places where two things touch or would, were they a little larger. World frame, metres."""

    upper: Int[np.ndarray, " g"]
    """The object that is pushed along `direction`."""
    lower: Int[np.ndarray, " g"]
    """The object that is pushed back, or `PLANE`."""
    at_upper: Float[np.ndarray, "g 3"]
    """On the surface of `upper`."""
    at_lower: Float[np.ndarray, "g 3"]
    """The nearest point of `lower`."""
    direction: Float[np.ndarray, "g 3"]
    """Unit, from `lower` to `upper`."""
    width: Float[np.ndarray, " g"]
    """From surface to surface; negative where they overlap."""

    def __len__(self) -> int:
        return len(self.width)

    def chosen(self, which: Bool[np.ndarray, " g"] | Int[np.ndarray, " k"]) -> "Gaps":
        """Some of them."""
        return Gaps(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class SurfacePoints:
    """Points of a closed mesh's surface."""

    corners: Int[np.ndarray, "n 3"]
    """Vertices of the triangle that each lies on."""
    shares: Float[np.ndarray, "n 3"]
    """Barycentric coordinates."""
    position: Float[np.ndarray, "n 3"]
    """Metres, the mesh's frame."""
    distance: Float[np.ndarray, " n"]
    """Metres from the point that was asked for; negative where that lies inside."""
    normal: Float[np.ndarray, "n 3"]
    """Mean of the normals around, outward: a unit vector where the surface is flat, shorter at edges."""


class Surface:
    """A closed mesh, prepared for looking up what is near."""

    def __init__(self, mesh: Mesh):
        self.mesh = mesh
        self.vertices = mesh.vertices.double().numpy()
        self.faces = mesh.faces.numpy()
        self._normals = _mean_normals(mesh)
        self._triangles = np.ascontiguousarray(self.vertices[self.faces])
        self._tree = build_tree(self._triangles)

    def find_nearest(self, points: Float[np.ndarray, "n 3"]) -> SurfacePoints:
        """The points of the surface that are nearest to given ones."""
        distance, nearest = nearest_triangles(np.ascontiguousarray(points), self._triangles, *self._tree)
        triangles, corners = self._triangles[nearest], self.faces[nearest]
        position = trimesh.triangles.closest_point(triangles, points)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = trimesh.triangles.points_to_barycentric(triangles, position, method="cross")
        shares[~np.isfinite(shares).all(1)] = [1.0, 0.0, 0.0]  # Triangles that are lines.
        normal = (self._normals[corners] * shares[..., None]).sum(1)
        behind = np.flatnonzero(((points - position) * normal).sum(1) < 0)
        distance[behind[self._contain(points[behind])]] *= -1
        return SurfacePoints(corners, shares, position, distance, normal)

    def _contain(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which points lie inside: normals alone mislead behind sharp rims."""
        if not len(points):
            return np.zeros(0, dtype=bool)
        return find_inside(torch.as_tensor(points), self.mesh.vertices.double(), self.mesh.faces).numpy()


def find_gaps(surfaces: Sequence[Surface], reach: float) -> Gaps:
    """The gaps of at most `reach` metres between closed meshes (world frame) and between each and the plane z = 0."""
    found = [_find_gaps_to_plane(k, surface, reach) for k, surface in enumerate(surfaces)]
    for upper, lower in itertools.permutations(range(len(surfaces)), 2):
        points = _sample_near(surfaces[upper], surfaces[lower], reach)
        if len(points):
            found.append(_find_gaps_between(surfaces, upper, lower, points, reach))
    return Gaps(*(np.concatenate([getattr(part, field.name) for part in found]) for field in fields(Gaps)))


def _find_gaps_to_plane(index: int, surface: Surface, reach: float) -> Gaps:
    points = surface.vertices[surface.vertices[:, 2] <= reach]
    up = np.broadcast_to([0.0, 0.0, 1.0], points.shape)
    return _thin_out(_build(index, PLANE, points, points * [1, 1, 0], up, points[:, 2]))


def _find_gaps_between(surfaces: Sequence[Surface], upper: int, lower: int, points: np.ndarray, reach: float) -> Gaps:
    """From points of one surface to the other surface, where the two face each other."""
    there = surfaces[lower].find_nearest(points)
    gaps = _build(upper, lower, points, there.position, points - there.position, there.distance)
    gaps = _thin_out(gaps.chosen(np.abs(gaps.width) <= reach))
    above, below = (surfaces[k].find_nearest(at).normal for k, at in ((upper, gaps.at_upper), (lower, gaps.at_lower)))
    direction = np.where(gaps.width[:, None] > _APART, gaps.direction, _weigh_flatness(below) - _weigh_flatness(above))
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-20)
    facing = ((below * direction).sum(1) > _FACING) & ((above * direction).sum(1) < -_FACING)
    return replace(gaps, direction=direction).chosen(facing)


def _mean_normals(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """At each vertex the mean, by area, of its faces' normals."""
    cross = face_cross(mesh.vertices.double(), mesh.faces)
    corners, count = mesh.faces.reshape(-1), len(mesh.vertices)
    summed = cross.new_zeros(count, 3).index_add(0, corners, cross.repeat_interleave(3, dim=0))
    area = cross.new_zeros(count).index_add(0, corners, cross.norm(dim=1).repeat_interleave(3))
    return (summed / area[:, None].clamp(min=1e-20)).numpy()


def _weigh_flatness(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Mean normals, longer the flatter the surface: where an edge lies on a face, the face says which way they push."""
    return normals / (1.02 - np.linalg.norm(normals, axis=1, keepdims=True).clip(max=1.0))


def _sample_near(surface: Surface, other: Surface, reach: float) -> Float[np.ndarray, "n 3"]:
    """Points of a surface near the box around another, `_SPACING` apart at most."""
    low, high = other.vertices.min(0) - reach, other.vertices.max(0) + reach
    corners = surface.vertices[surface.faces]
    near = (corners.max(1) >= low).all(1) & (corners.min(1) <= high).all(1)
    if not near.any():
        return np.zeros((0, 3))
    points, _ = trimesh.remesh.subdivide_to_size(surface.vertices, surface.faces[near], _SPACING, max_iter=12)
    points = np.unique(points, axis=0)
    return points[(points >= low).all(1) & (points <= high).all(1)]


def _build(upper: int, lower: int, points: np.ndarray, onto: np.ndarray, direction: np.ndarray, width: np.ndarray) -> Gaps:
    return Gaps(np.full(len(points), upper), np.full(len(points), lower), points, onto, direction, width)


def _thin_out(gaps: Gaps) -> Gaps:
    """The least gap in every cell."""
    order = np.argsort(gaps.width, kind="stable")
    cells = np.floor(gaps.at_upper[order] / _CELL).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return gaps.chosen(np.sort(order[first]))
