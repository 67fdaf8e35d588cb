"""Distances from points to points and to surfaces, and whether a point lies inside one. None of it is differentiable."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from invgraphics.geometry.distances_kernels import build_dipoles, build_tree, fast_winding_numbers, nearest_triangles, winding_numbers

_DIPOLE_REACH = 2.5
"""Radii beyond which a group of faces is taken for a dipole: winding numbers are then wrong by a few hundredths at most."""


def find_nearest_points(queries: Float[Tensor, "n 3"], points: Float[Tensor, "m 3"]) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Distance from every query to the nearest of the points, and that point's index."""
    distances, indices = cKDTree(_to_numpy(points)).query(_to_numpy(queries))
    return torch.as_tensor(distances).to(queries), torch.as_tensor(np.asarray(indices, dtype=np.int64), device=queries.device)


def find_nearest_faces(
    queries: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Distance from every query to the surface, exact, and the index of the nearest face. At least one face."""
    triangles = _to_numpy(vertices[faces])
    distances, indices = nearest_triangles(_to_numpy(queries), triangles, *build_tree(triangles))
    return torch.as_tensor(distances).to(queries), torch.as_tensor(indices, device=queries.device)


def compute_winding_number(points: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, " n"]:
    """How often the surface winds round each point: 1 inside a closed outward mesh, 0 outside, in between where it has holes.

    The faces' signed solid angles over 4 pi (Jacobson et al. 2013), computed directly: points x faces operations.
    """
    return torch.as_tensor(winding_numbers(_to_numpy(points), _to_numpy(vertices[faces]))).to(points)


def find_inside(points: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Bool[Tensor, " n"]:
    """Which points the surface winds round more than half a time, whichever way its faces look.

    For closed meshes that is what lies inside; scans with small holes count as solid. Groups of faces far from a point count as dipoles
    (Barill et al. 2018), so that the time grows with the logarithm of the number of faces. False everywhere where there are no faces.
    """
    if len(faces) == 0:
        return torch.zeros(len(points), dtype=torch.bool, device=points.device)
    triangles = _to_numpy(vertices[faces])
    _, ranges, right, order = build_tree(triangles)
    dipoles = build_dipoles(triangles, ranges, order)
    winding = fast_winding_numbers(_to_numpy(points), triangles, ranges, right, order, *dipoles, _DIPOLE_REACH)
    return torch.as_tensor(np.abs(winding) > 0.5, device=points.device)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().double().numpy())
