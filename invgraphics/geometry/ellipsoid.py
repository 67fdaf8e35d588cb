"""Ellipsoids in space, batched over n objects: surface points and their derivatives, distances, meshes.

An ellipsoid is `c + R (r * u)` for u on the unit sphere: `T_world_object` holds R and c, `radii` are r in metres. Derivatives are taken
in its nine-dimensional tangent space, in the order of `TANGENT`: centre (world axes, metres), rotation (`R exp([w]x)`: object axes,
radians), logarithms of the radii.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.transforms import invert, rigid, skew, so3_exp, transform_points

TANGENT = {"centre": slice(0, 3), "rotation": slice(3, 6), "log_radii": slice(6, 9)}
"""Where each kind of parameter stands in a tangent vector."""


def move_ellipsoids(
    T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], tangent: Float[Tensor, "n 9"]
) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 3"]]:
    """The ellipsoids a tangent vector away: their new poses and radii."""
    rotation = T_world_object[:, :3, :3] @ so3_exp(tangent[:, TANGENT["rotation"]])
    centre = T_world_object[:, :3, 3] + tangent[:, TANGENT["centre"]]
    return rigid(rotation, centre), radii * tangent[:, TANGENT["log_radii"]].exp()


def surface_points(
    T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], unit: Float[Tensor, "n k 3"]
) -> Float[Tensor, "n k 3"]:
    """World points of the surface at points of the unit sphere (object axes)."""
    return transform_points(T_world_object, unit * radii[:, None])


def surface_jacobian(
    T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], unit: Float[Tensor, "n k 3"]
) -> Float[Tensor, "n k 3 9"]:
    """Derivative of `surface_points` by the tangent, the points of the unit sphere held.

    For points at which the surface is tangent to a plane or to a ray this is also how the plane or the outline moves along its normal,
    wherever the point of tangency goes (the envelope theorem).
    """
    rotation = T_world_object[:, None, :3, :3]
    offset = unit * radii[:, None]
    by_centre = torch.eye(3, dtype=unit.dtype, device=unit.device).expand(*unit.shape, 3)
    return torch.cat([by_centre, -rotation @ skew(offset), rotation * offset[..., None, :]], dim=-1)


def extreme_unit_points(
    T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], directions: Float[Tensor, "n k 3"]
) -> Float[Tensor, "n k 3"]:
    """Points of the unit sphere whose surface points lie farthest along world directions."""
    return torch.nn.functional.normalize(directions @ T_world_object[:, :3, :3] * radii[:, None], dim=-1, eps=1e-12)


def half_extents(
    T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], directions: Float[Tensor, "n k 3"]
) -> Float[Tensor, "n k"]:
    """How far the surface reaches from the centre along unit world directions, in metres: `|r * (R^T d)|`."""
    return (directions @ T_world_object[:, :3, :3] * radii[:, None]).norm(dim=-1)


def limb_unit_points(
    T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], eye: Float[Tensor, "3"], count: int
) -> Float[Tensor, "n count 3"]:
    """Points of the unit sphere evenly round the limb, where rays from the eye (world) graze the surface.

    Seen from e (radii as units) the limb of the unit sphere is a circle about `e / |e|^2` of radius `sqrt(1 - 1 / |e|^2)`. From within
    an ellipsoid there is none: points at which it would vanish, all alike, are returned.
    """
    eye_object = transform_points(invert(T_world_object), eye.expand(len(radii), 1, 3))[:, 0] / radii
    distance = eye_object.norm(dim=-1, keepdim=True).clamp(min=1.0)
    axis = torch.nn.functional.normalize(eye_object, dim=-1, eps=1e-12)
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis)
    first = torch.nn.functional.normalize(torch.linalg.cross(axis, least), dim=-1)
    second = torch.linalg.cross(axis, first)
    angle = torch.arange(count, dtype=axis.dtype, device=axis.device) * (2 * torch.pi / count)
    around = angle.cos()[:, None] * first[:, None] + angle.sin()[:, None] * second[:, None]
    return (axis / distance)[:, None] + (1 - distance**-2).clamp(min=0).sqrt()[:, None] * around


def sampson_distance(
    points: Float[Tensor, "n m 3"], T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m 9"]]:
    """Signed distance in metres from world points to the surfaces, exact to first order there, negative inside; and its Jacobian.

    With `s = sqrt(y^T Q y)` the level of a point y in object axes, `Q = diag(r^-2)`: `d = s (s - 1) / |Q y|` (Sampson 1982, for the
    level set of s - 1, weighted by s so that it also grows like the distance far away).
    """
    rotation = T_world_object[:, :3, :3]
    y = (points - T_world_object[:, None, :3, 3]) @ rotation
    inverse_squared = radii[:, None] ** -2
    normal = inverse_squared * y
    level = (normal * y).sum(-1).clamp(min=1e-12).sqrt()
    steepness = normal.norm(dim=-1).clamp(min=1e-12)
    distance = level * (level - 1) / steepness
    by_level = ((2 * level - 1) / level / steepness)[..., None]
    by_steepness = (distance / steepness**2)[..., None] * normal * inverse_squared
    by_point = by_level * normal - by_steepness
    by_log_radii = -by_level * normal * y + 2 * by_steepness * y
    jacobian = torch.cat([-by_point @ rotation.transpose(-1, -2), torch.linalg.cross(by_point, y), by_log_radii], dim=-1)
    return distance, jacobian


def ellipsoid_mesh(radii: Float[Tensor, "3"], subdivisions: int = 3) -> Mesh:
    """The ellipsoid as a mesh in the object frame: an icosphere of 42, 162, 642 or 2562 vertices (1 to 4 subdivisions), scaled."""
    vertices, faces = icosphere(subdivisions)
    return Mesh(vertices.to(radii) * radii, faces.to(radii.device))
