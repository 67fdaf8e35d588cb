"""Convex pieces that stand in for a closed surface in collision: recursive plane cuts, by manifold3d.

A piece is cut again while its hull bulges over the surface by more than a tolerance. The cut is the plane, of a few along the piece's
and the object's principal axes, that leaves the least hull volume; where none of them gains (a bowl's first halves do not) the more
even cut wins, so that rings and shells come apart in sectors.
"""

import numpy as np
from jaxtyping import Float, Int
from manifold3d import Error, Manifold
from manifold3d import Mesh as ManifoldMesh

from grasp_sim.convex_kernels import estimate_cuts
from invgraphics.geometry.mesh import icosphere

DEFAULT_BULGE = 5e-4
"""Metres: mean distance that hulls may bulge over the surface that they stand in for."""
_MAX_FACES = 1500
"""Of the surface that is cut; more detail than that changes no contact."""
_OFFSETS = np.array([0.15, 0.325, 0.5, 0.675, 0.85])
_SPHERE = tuple(part.double().numpy() if part.is_floating_point() else part.numpy() for part in icosphere(2))
"""Directions in which the hulls that a cut would leave are measured, and the triangles between them."""
_BALANCE = 0.05
"""Share of the hull volume by which the most uneven cut is worse than an even one."""


def solid_from_surface(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Manifold | None:
    """A surface as a manifold3d solid of positive volume; None where it is not closed."""
    scale = float(np.ptp(vertices, axis=0).max()) or 1.0
    mesh = ManifoldMesh(np.ascontiguousarray(vertices / scale, np.float32), np.ascontiguousarray(faces, np.uint32))
    mesh.merge()
    solid = Manifold(mesh).scale((scale,) * 3)
    return solid if solid.status() == Error.NoError and solid.volume() > 0 else None


def decompose(solid: Manifold, *, bulge: float = DEFAULT_BULGE, max_pieces: int = 32) -> list[Manifold]:
    """Convex solids that together cover `solid` and bulge over its surface by `bulge` metres on average, or `max_pieces` of them."""
    axes = _principal_axes(np.array(solid.to_mesh().vert_properties, np.float64)[:, :3])
    allowed = bulge * solid.surface_area()
    pieces = [_Piece(solid)]
    while len(pieces) < max_pieces and sum(piece.excess for piece in pieces) > allowed:
        worst = max(pieces, key=lambda piece: piece.excess)
        parts = _best_cut(worst, axes)
        if parts is None:
            break
        pieces = [piece for piece in pieces if piece is not worst] + parts
    return [piece.hull for piece in pieces]


class _Piece:
    """A part of the solid, with its hull."""

    def __init__(self, solid: Manifold):
        self.solid = solid
        self.hull = solid.hull()
        self.excess = self.hull.volume() - solid.volume()


def simplify(solid: Manifold) -> Manifold:
    """The solid with about `_MAX_FACES` faces at most: the tolerance, 0.02 % of the diagonal, doubles until it is met (5 times)."""
    low, high = np.split(np.array(solid.bounding_box()), 2)
    tolerance = 2e-4 * float(np.linalg.norm(high - low))
    simple = solid
    for _ in range(5):
        if simple.num_tri() <= _MAX_FACES:
            break
        simple = solid.simplify(tolerance)
        tolerance *= 2
    return simple


def _best_cut(piece: _Piece, axes: Float[np.ndarray, "3 3"]) -> list[_Piece] | None:
    """The connected parts on both sides of the best plane; None where no plane cuts the piece."""
    mesh = piece.solid.to_mesh()
    points, faces = np.array(mesh.vert_properties, np.float64)[:, :3], np.array(mesh.tri_verts, np.int64)
    normals = np.repeat(np.concatenate([_principal_axes(points), axes]), len(_OFFSETS), axis=0)
    along = points @ normals[:: len(_OFFSETS)].T
    low, high = along.min(0)[:, None], along.max(0)[:, None]
    offsets = (low + _OFFSETS * (high - low)).reshape(-1)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    hulls, above = estimate_cuts(points, faces, edges[edges[:, 0] < edges[:, 1]], normals, offsets, *_SPHERE)
    imbalance = np.abs(2 * above / piece.solid.volume() - 1)
    for plane in np.argsort(hulls.sum(1) + _BALANCE * imbalance * piece.hull.volume(), kind="stable"):
        sides = piece.solid.split_by_plane(normals[plane].tolist(), float(offsets[plane]))
        if not any(side.is_empty() for side in sides):
            return [_Piece(part) for side in sides for part in side.decompose()]
    return None


def _principal_axes(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """Unit axes in rows, by the spread of the points."""
    return np.linalg.svd(points - points.mean(0), full_matrices=False)[2]
