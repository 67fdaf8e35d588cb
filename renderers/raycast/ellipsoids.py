"""Ellipsoids seen by a pinhole camera, in closed form: depth, normals, and silhouettes that have a gradient.

All functions are batched over n objects and p rays, and differentiable in poses, radii and rays. Rays are given in the camera frame,
scaled to z = 1 (as `Camera.rays` does), so that a parameter along a ray is a depth; each object may have its own (n, p, 3), or all share
(1, p, 3).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_FAR_AWAY_PIXELS = 1e4
"""Distance from the silhouette that is reported where there is no silhouette: object behind the camera, or around it."""

_RIM = 1e-4
"""Least 1 - r^2 taken at a ray's closest approach r (radii as units): bounds the slope of the depth at the rim, which is infinite."""


@dataclass(frozen=True)
class EllipsoidHits:
    """Where rays meet ellipsoids."""

    depth: Float[Tensor, "n p"]
    """Metres along z of the first surface in front of the camera; on rays that miss, of about the closest approach."""
    hit: Bool[Tensor, "n p"]
    """Whether the ray meets the ellipsoid in front of the camera."""


@dataclass(frozen=True)
class ProjectedEllipses:
    """Silhouettes of ellipsoids as `(x - centre)^T covariance^-1 (x - centre) = 1` in normalised image coordinates x = (X / Z, Y / Z)."""

    centre: Float[Tensor, "n 2"]
    covariance: Float[Tensor, "n 2 2"]
    whole: Bool[Tensor, " n"]
    """Whether the ellipsoid is wholly before or wholly behind the plane z = 0: else its silhouette is no ellipse, and the rest is void."""
    in_front: Bool[Tensor, " n"]
    """Whether its centre is before the plane z = 0."""


def ellipsoid_depth(T_camera_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], rays: Float[Tensor, "#n p 3"]) -> EllipsoidHits:
    """First hits of rays with ellipsoids. From inside an ellipsoid, rays hit its far wall."""
    origin, directions = _in_unit_sphere(T_camera_object, radii, rays)
    speed_squared = (directions**2).sum(-1)
    middle = -(origin[:, None] * directions).sum(-1) / speed_squared
    # Through the closest approach, not the discriminant: thin plates would lose it to rounding.
    slack = 1 - ((origin[:, None] + middle[..., None] * directions) ** 2).sum(-1)
    half_chord = (slack.clamp(min=_RIM) / speed_squared).sqrt()
    front, back = middle - half_chord, middle + half_chord
    depth = torch.where(front > 0, front, back)
    return EllipsoidHits(depth, (slack > 0) & (depth > 0))


def _in_unit_sphere(T_camera_object: Tensor, radii: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Camera centre (n, 3) and ray directions (n, p, 3) in object axes, radii as units: the ellipsoids become unit spheres."""
    rotation, centre = T_camera_object[:, :3, :3], T_camera_object[:, :3, 3]
    origin = -(centre[:, None] @ rotation)[:, 0] / radii
    return origin, rays @ rotation / radii[:, None]


def ellipsoid_normals(
    T_camera_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], rays: Float[Tensor, "#n p 3"], depth: Float[Tensor, "n p"]
) -> Float[Tensor, "n p 3"]:
    """Unit outward normals, camera frame, of the ellipsoids' level surfaces through the points at `depth` on the rays."""
    origin, directions = _in_unit_sphere(T_camera_object, radii, rays)
    points = origin[:, None] + depth[..., None] * directions
    normals = (points / radii[:, None]) @ T_camera_object[:, :3, :3].transpose(-1, -2)
    return torch.nn.functional.normalize(normals, dim=-1, eps=1e-12)


def project_ellipsoids(T_camera_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"]) -> ProjectedEllipses:
    """Silhouette ellipses, from the dual quadric `Q* = diag(S, -1)` moved to t: `C* = P Q* P^T = S - t t^T`.

    With `L = R diag(radii)` (so S = L L^T), k its third row, `w = t_z^2 - k.k` and `B = [I | -t_xy / t_z] L` the linearised projection,
    C*'s centre and covariance rearrange to `t_xy / t_z - B k / w` and `B (I + k k^T / w) B^T / w`: sums of squares, so that thin plates
    and small objects far off the axis keep their digits.
    """
    t = T_camera_object[:, :3, 3]
    scaled_axes = T_camera_object[:, :3, :3] * radii[:, None]
    k = scaled_axes[:, 2]
    gap = t[:, 2] ** 2 - (k**2).sum(-1)
    whole = gap > 1e-6 * t[:, 2] ** 2
    w = torch.where(whole, gap, 1.0)[:, None]
    axis = t[:, :2] / torch.where(whole, t[:, 2], 1.0)[:, None]
    B = scaled_axes[:, :2] - axis[..., None] * k[:, None]
    shift = (B @ k[..., None])[..., 0] / w
    covariance = B @ B.transpose(-1, -2) / w[..., None] + shift[..., None] * shift[:, None]
    return ProjectedEllipses(axis - shift, covariance, whole, t[:, 2] > 0)


def ellipsoid_signed_distance(
    T_camera_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"], rays: Float[Tensor, "#n p 3"], focal: Float[Tensor, "#n 2"]
) -> Float[Tensor, "n p"]:
    """Distance in pixels from the rays' pixels to the ellipsoids' silhouettes, negative inside, exact to first order at the silhouette.

    `focal` are the focal lengths in pixels. Outside, it is Sampson's distance to the projected ellipse and grows without bound; it is
    less than the true distance beyond the tips of slender ellipses. Inside, it follows the shorter half axis and is smooth over the centre.
    """
    return _silhouette_distances(T_camera_object, radii, rays, focal)[0]


def ellipsoid_coverage(
    T_camera_object: Float[Tensor, "n 4 4"],
    radii: Float[Tensor, "n 3"],
    rays: Float[Tensor, "#n p 3"],
    focal: Float[Tensor, "#n 2"],
    softness: float = 1.0,
) -> Float[Tensor, "n p"]:
    """Share of each pixel that the ellipsoid covers, other objects left aside: a sigmoid, `softness` pixels wide, across the silhouette.

    With d the distance to the near side of the silhouette and D that to the far side along the same line, the share is `sigmoid(-4 d /
    softness) - sigmoid(-4 D / softness)`: an ellipse thinner than a pixel covers its pixels in part. Reach: the gradient falls to 1 % of
    its value at the silhouette 1.5 `softness` away from it, to under 1e-6 at 4. Where object and mask may lie further apart, raise
    `softness`, or use `ellipsoid_signed_distance`, whose gradient does not fade.
    """
    return _share_covered(*_silhouette_distances(T_camera_object, radii, rays, focal), softness)


def _share_covered(near: Tensor, far: Tensor, softness: float) -> Tensor:
    return torch.sigmoid(near * (-4 / softness)) - torch.sigmoid(far * (-4 / softness))


def differentiate_coverage(
    ellipses: ProjectedEllipses, rays: Float[Tensor, "#n p 3"], focal: Float[Tensor, "#n 2"]
) -> Float[Tensor, "n p 5"]:
    """Derivative of `ellipsoid_coverage` (softness 1) at each ray by the ellipse's centre (x, y) and covariance (xx, xy, yy).

    Every ray is given its own copy of the five numbers, so that one reverse pass finds all derivatives. Zero for ellipsoids whose
    silhouette is no ellipse, and for those behind the camera.
    """
    covariance = ellipses.covariance.detach()
    numbers = torch.cat([ellipses.centre.detach(), covariance[:, 0], covariance[:, 1, 1:]], dim=-1)
    with torch.enable_grad():
        numbers = numbers[:, None].repeat(1, rays.shape[1], 1).requires_grad_()
        coverage = _share_covered(*_ellipse_distances(numbers, rays, focal), softness=1.0)
        (slopes,) = torch.autograd.grad(coverage.sum(), numbers)
    return torch.where((ellipses.whole & ellipses.in_front)[:, None, None], slopes, 0.0)


def _silhouette_distances(T_camera_object: Tensor, radii: Tensor, rays: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances (n, p) in pixels to the near and to the far side of the silhouettes."""
    ellipses = project_ellipsoids(T_camera_object, radii)
    numbers = torch.cat([ellipses.centre, ellipses.covariance[:, 0], ellipses.covariance[:, 1, 1:]], dim=-1)
    near, far = _ellipse_distances(numbers[:, None], rays, focal)
    behind = (ellipses.whole & ~ellipses.in_front)[:, None]
    near, far = torch.where(behind, _FAR_AWAY_PIXELS, near), torch.where(behind, 2 * _FAR_AWAY_PIXELS, far)
    if ellipses.whole.all():
        return near, far
    whole = ellipses.whole[:, None]
    near = torch.where(whole, near, _straddling_distance(T_camera_object, radii, rays, focal))
    return near, torch.where(whole, far, 2 * _FAR_AWAY_PIXELS)


def _ellipse_distances(numbers: Tensor, rays: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to ellipses given as (n, 1 or p, 5), centre (x, y) and covariance (xx, xy, yy).

    With `r^2 = x^T S^-1 x`, `g = |S^-1 x|` and b the shorter half axis (S, x in pixels).

    Outside, near = (r - 1) r / g (Sampson) and far = near + 2 b^2 g / r. Inside, near is the least distance at which r can reach 1 given g
    and the curvature 1 / b^2, and far = near + 2 b^2 g: both exact on the shorter axis and for circles.
    """
    scale = torch.stack([focal[:, 0] ** 2, focal[:, 0] * focal[:, 1], focal[:, 1] ** 2], dim=-1)
    first, cross, second = (numbers[..., 2:] * scale[:, None]).unbind(-1)
    offset = (rays[..., :2] - numbers[..., :2]) * focal[:, None]
    determinant = first * second - cross**2
    x, y = offset.unbind(-1)
    solved_x, solved_y = (second * x - cross * y) / determinant, (first * y - cross * x) / determinant
    level = x * solved_x + y * solved_y
    slope = (solved_x**2 + solved_y**2 + 1e-12).sqrt()
    half_difference = (((first - second) / 2) ** 2 + cross**2 + 1e-12 * (first + second) ** 2).sqrt()
    shorter_squared = determinant / ((first + second) / 2 + half_difference)
    radius = level.clamp(min=1).sqrt()
    inner = (1 - level).clamp(min=0)
    inside = -inner / (slope + (slope**2 + inner / shorter_squared).sqrt())
    outside = (radius - 1) * radius / slope
    thickness = 2 * shorter_squared * slope / radius
    near = torch.where(level < 1, inside, outside)
    return near, near.abs() + thickness


def _straddling_distance(T_camera_object: Tensor, radii: Tensor, rays: Tensor, focal: Tensor) -> Tensor:
    """Distance to the silhouettes of ellipsoids that reach through the plane z = 0, to first order, from the rays' discriminant."""
    origin, directions = _in_unit_sphere(T_camera_object, radii, rays)
    excess = (origin**2).sum(-1)[:, None] - 1
    along = (origin[:, None] * directions).sum(-1)
    discriminant = along**2 - (directions**2).sum(-1) * excess
    gradient = 2 * (along[..., None] * origin[:, None] - excess[..., None] * directions) / radii[:, None]
    gradient = (gradient @ T_camera_object[:, :3, :3].transpose(-1, -2))[..., :2] / focal[:, None]
    distance = -discriminant / ((gradient**2).sum(-1) + 1e-12).sqrt()
    distance = torch.where(along < 0, distance, _FAR_AWAY_PIXELS)
    return torch.where(excess < 0, -_FAR_AWAY_PIXELS, distance).clamp(-_FAR_AWAY_PIXELS, _FAR_AWAY_PIXELS)


def bounding_boxes(
    T_camera_object: Float[Tensor, "n 4 4"],
    radii: Float[Tensor, "n 3"],
    K: Float[Tensor, "3 3"],
    height: int,
    width: int,
    margin: float = 3.0,
) -> Int[Tensor, "n 4"]:
    """Pixel boxes (left, top, right, bottom; the last two exclusive) within the image that hold the silhouettes and `margin` pixels around.

    Empty boxes have right = left or bottom = top. An ellipsoid that reaches through the camera's plane gets the whole image.
    """
    ellipses = project_ellipsoids(T_camera_object.detach(), radii.detach())
    focal = torch.stack([K[0, 0], K[1, 1]]).detach()
    reach = torch.diagonal(ellipses.covariance, dim1=-2, dim2=-1).sqrt() * focal + margin
    centre = ellipses.centre * focal + K[:2, 2].detach()
    image = torch.tensor([width, height], device=K.device)
    low = (centre - reach).ceil().to(torch.int64).clamp(min=torch.zeros_like(image), max=image)
    high = (centre + reach).floor().to(torch.int64).add(1).clamp(min=torch.zeros_like(image), max=image)
    boxes = torch.cat([low, torch.maximum(low, high)], dim=-1)
    everything = torch.cat([torch.zeros_like(image), image])
    boxes = torch.where(ellipses.whole[:, None], boxes, everything)
    return torch.where((ellipses.whole & ~ellipses.in_front)[:, None], 0, boxes)
