"""What lets a mesh stand on the support plane: an underside that lies flat on it, under the centre of mass."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from invgraphics.geometry.mesh import vertex_normals, volume

_STANDS_WITHIN, _STANDS_ALONE_WITHIN = 0.006, 0.15
"""Metres over the plane within which the lowest vertex says that an object stands on it; where it touches nothing else, a share of its
height will do, as its underside is often hidden."""
_FACES_DOWN = -0.3
"""Largest z of the normals of an underside."""
_FLATTENED_SHARE, _FLATTENED_LEAST, _FLATTENED_MOST = 0.03, 0.001, 0.003
"""Height over its lowest point, as a share of an object's height and within bounds in metres, in which its underside is laid down."""
_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0)
"""Times that height which are tried until the object stands firmly."""
_FIRM_TILT = 0.1
"""Radians by which what stands firmly may be tilted before it falls."""


def stands_on_plane(heights: Float[Tensor, " v"], touches_others: bool) -> bool:
    """Whether an object with vertices at these heights over the support plane, metres, stands on it."""
    lowest, extent = float(heights.min()), float(heights.max() - heights.min())
    return lowest < (_STANDS_WITHIN if touches_others else max(_STANDS_WITHIN, _STANDS_ALONE_WITHIN * extent))


def lay_flat(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], touches_others: bool) -> Float[Tensor, "v 3"]:
    """The vertices of a closed mesh (world frame, metres), flat where it stands on the support plane.

    As nothing there was seen, what keeps it standing is likeliest. Whatever lies below the plane is raised onto it. Of what stands on it,
    the underside is lowered onto it where it is near, and a little further up where the object would fall over otherwise; what no such
    underside keeps from falling leans on something, and has no more of it laid down than any other.
    """
    height = vertices[:, 2]
    if not stands_on_plane(height, touches_others):
        return vertices
    near = min(max(_FLATTENED_SHARE * float(height.max()), _FLATTENED_LEAST), _FLATTENED_MOST)
    faces_down = vertex_normals(vertices, faces)[:, 2] < _FACES_DOWN
    least = _lower(vertices, faces_down, near)
    for step in _STEPS:
        laid = least if step == 1.0 else _lower(vertices, faces_down, step * near)
        if measure_firmness(laid, faces) > _FIRM_TILT:
            return laid
    return least


def measure_firmness(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> float:
    """The angle, radians, by which an object on the plane may be tilted before its centre of mass leaves what it stands on.

    Negative where it falls by itself: the centre of mass, at even density, is not over the convex hull of the vertices on the plane.
    """
    centre = find_centre_of_mass(vertices, faces).double().numpy()
    on_plane = vertices[vertices[:, 2] <= 0, :2].double().numpy()
    try:
        sides = ConvexHull(on_plane).equations
    except (QhullError, ValueError):  # Fewer than three, or all on a line: nothing to stand on.
        return -np.pi / 2
    margin = -float((sides[:, :2] @ centre[:2] + sides[:, 2]).max())
    return float(np.arctan2(margin, max(centre[2], 1e-6)))


def find_centre_of_mass(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "3"]:
    """Of a closed mesh at even density."""
    origin = vertices.mean(0)
    a, b, c = ((vertices - origin)[faces[:, k]] for k in range(3))
    moments = (torch.linalg.cross(a, b) * c).sum(-1, keepdim=True) * (a + b + c) / 24
    return origin + moments.sum(0) / volume(vertices - origin, faces)


def _lower(vertices: Float[Tensor, "v 3"], faces_down: Tensor, near: float) -> Float[Tensor, "v 3"]:
    """The vertices, with those that face down within `near` metres of the lowest one, and those below the plane, put on the plane."""
    height = vertices[:, 2]
    laid = torch.where(faces_down & (height < height.min().clamp(min=0) + near), 0.0, height.clamp(min=0))
    return torch.cat([vertices[:, :2], laid[:, None]], dim=1)
