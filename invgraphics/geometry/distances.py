"""Distances between points and surfaces, and whether a point lies inside one."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

_WINDING_CHUNK = 4_000_000
"""Solid angles computed at once: bounds the memory of `compute_winding_number` to some 500 MB in float64."""


def find_nearest(queries: Float[Tensor, "n 3"], points: Float[Tensor, "m 3"]) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Distance from every query to the nearest of the points, and that point's index. Not differentiable; computed on the CPU."""
    tree = cKDTree(points.detach().cpu().double().numpy())
    distances, indices = tree.query(queries.detach().cpu().double().numpy(), workers=-1)
    return torch.as_tensor(distances).to(queries), torch.as_tensor(np.asarray(indices, dtype=np.int64), device=queries.device)


def compute_winding_number(points: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, " n"]:
    """How often the surface winds round each point: 1 inside a closed outward mesh, 0 outside, in between where it has holes.

    The sum of the faces' signed solid angles / 4 pi (van Oosterom and Strackee 1983; Jacobson et al. 2013).
    """
    corners = vertices[faces]
    step = max(1, _WINDING_CHUNK // max(1, len(faces)))
    chunks = [_solid_angles(chunk, corners).sum(-1) for chunk in points.split(step)]
    return torch.cat(chunks) / (4 * torch.pi)


def _solid_angles(points: Float[Tensor, "n 3"], corners: Float[Tensor, "f 3 3"]) -> Float[Tensor, "n f"]:
    """Signed solid angle of every face seen from every point."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
    numerator = (a * torch.cross(b, c, dim=-1)).sum(-1)
    denominator = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return 2 * torch.atan2(numerator, denominator)
