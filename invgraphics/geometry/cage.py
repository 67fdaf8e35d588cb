"""Cage deformation by three-dimensional mean value coordinates."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.geometry.mesh import icosphere

_POINTS_PER_CHUNK = 4096
"""Bounds the working memory: about 30 float64 arrays of this many points times the cage's faces."""


def mean_value_coordinates(
    points: Float[Tensor, "n 3"], cage_vertices: Float[Tensor, "c 3"], cage_faces: Int[Tensor, "t 3"]
) -> Float[Tensor, "n c"]:
    """Weights `W` such that `W @ cage_vertices` gives the points back, and deforms them smoothly when the cage moves.

    Ju, Schaefer and Warren, Mean value coordinates for closed triangular meshes (SIGGRAPH 2005), fig. 4. The rows add up to
    one and reproduce every affine function. The cage must be closed with outward faces; the points may lie inside, outside or
    on it. Outside, the cage's front and back cancel and digits are lost with distance: points come back to 1e-9 of theirs at twice
    the cage's size, to 1e-6 at ten times. Computed in float64 and returned in the points' dtype.
    """
    chunks = points.double().split(_POINTS_PER_CHUNK)
    weights = [_mean_value_chunk(chunk, cage_vertices.double(), cage_faces) for chunk in chunks]
    return torch.cat(weights).to(points.dtype)


def _mean_value_chunk(points: Tensor, cage_vertices: Tensor, cage_faces: Tensor) -> Tensor:
    offsets = cage_vertices[None] - points[:, None]  # (n, c, 3)
    distances = offsets.norm(dim=-1)
    extent = (cage_vertices.max(0).values - cage_vertices.min(0).values).max()
    tolerance = 1e-9 * extent
    at_vertex = distances <= tolerance
    directions = offsets / distances.clamp(min=tolerance)[..., None]

    corner = [directions[:, cage_faces[:, k]] for k in range(3)]  # each (n, t, 3)
    reach = [distances[:, cage_faces[:, k]] for k in range(3)]
    # Angle opposite corner k, seen from the point; atan2 keeps it accurate near 0 and near pi.
    angle = [_angle_between(corner[(k + 1) % 3], corner[(k + 2) % 3]) for k in range(3)]
    half_sum = (angle[0] + angle[1] + angle[2]) / 2

    face_weights, coplanar = _spherical_weights(corner, reach, angle, half_sum)
    in_triangle = coplanar & (torch.pi - half_sum < 1e-7)
    weights = torch.zeros_like(distances)
    for k in range(3):
        weights.index_add_(1, cage_faces[:, k], face_weights[k])
    weights = _overrule_on_faces(weights, in_triangle, angle, reach, cage_faces)
    weights = torch.where(at_vertex.any(1, keepdim=True), at_vertex.to(weights.dtype), weights)
    return weights / weights.sum(1, keepdim=True)


def _angle_between(a: Tensor, b: Tensor) -> Tensor:
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def _spherical_weights(corner: list[Tensor], reach: list[Tensor], angle: list[Tensor], half_sum: Tensor) -> tuple[list[Tensor], Tensor]:
    """Weight of each face at its three corners, zero for faces whose plane holds the point (they subtend no solid angle); and which do."""
    sine = [a.sin() for a in angle]
    # Sines of the spherical triangle's angles from its triple product: near faces and edges, sqrt(1 - cosine^2) has no digits left.
    triple = (corner[0] * torch.linalg.cross(corner[1], corner[2])).sum(-1)
    cosine, signed_sine = [], []
    for k in range(3):
        denominator = (sine[(k + 1) % 3] * sine[(k + 2) % 3]).clamp(min=1e-300)
        cosine.append((2 * half_sum.sin() * (half_sum - angle[k]).sin() / denominator - 1).clamp(-1, 1))
        signed_sine.append((triple / denominator).clamp(-1, 1))
    coplanar = torch.stack(signed_sine).abs().amin(0) <= 1e-8
    weights = []
    for k in range(3):
        after, before = (k + 1) % 3, (k + 2) % 3
        numerator = angle[k] - cosine[after] * angle[before] - cosine[before] * angle[after]
        denominator = reach[k] * sine[after] * signed_sine[before]
        weights.append(torch.where(coplanar, 0.0, numerator / torch.where(coplanar, 1.0, denominator)))
    return weights, coplanar


def _overrule_on_faces(weights: Tensor, in_triangle: Tensor, angle: list[Tensor], reach: list[Tensor], cage_faces: Tensor) -> Tensor:
    """Points that lie on a face take its barycentric coordinates and nothing else."""
    rows, faces = in_triangle.nonzero(as_tuple=True)
    if len(rows) == 0:
        return weights
    weights = weights.clone()
    weights[rows] = 0.0
    areas = torch.stack([angle[k].sin() * reach[(k + 1) % 3] * reach[(k + 2) % 3] for k in range(3)], dim=-1)[rows, faces]
    # Points on an edge are found on both of its faces; normalised, both say the same.
    weights[rows[:, None], cage_faces[faces]] = areas / areas.sum(-1, keepdim=True)
    return weights


def sphere_cage(subdivisions: int, radii: Float[Tensor, "3"], margin: float) -> tuple[Float[Tensor, "c 3"], Int[Tensor, "t 3"]]:
    """A cage around an ellipsoid in its own frame: an icosphere scaled to `margin` times the radii (metres)."""
    vertices, faces = icosphere(subdivisions)
    return vertices.to(radii) * radii * margin, faces
