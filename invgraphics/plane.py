"""The support plane of an image: found by RANSAC, refitted robustly, and the world frame that stands on it.

All fitting is done in inverse depth. A plane `normal . x = offset_m` seen along the rays `r` (scaled to z = 1) satisfies
`1 / z = (normal / offset_m) . r`, which is linear in the unknown `inverse_plane = normal / offset_m`, and the noise of a stereo camera,
which in depth grows with z^2, is there the same at every distance.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.observation import Observation
from invgraphics.transforms import rigid

_HYPOTHESES = 1000
_SCORED_POINTS = 6000
_REFIT_POINTS = 50_000
_REFIT_STEPS = 12
_RANSAC_TOLERANCE = 0.008
"""Inverse depth, 1/m: 2 mm at 0.5 m, 8 mm at 1 m, as far as a cheap stereo camera bends a plane."""
_SMALLEST_NOISE = 5e-4
"""Inverse depth, 1/m: below this the quantization of depth files shows."""
_LARGEST_NOISE = 0.012
"""Inverse depth, 1/m: what scatters more is no plane."""
_TUKEY_CUTOFF = 4.685
_MIN_POINTS = 300
_MIN_SUPPORT = 0.08
"""Share of the (weighted) points that the plane must carry."""
_MASK_MARGIN_PIXELS = 4
_NEIGHBOURHOOD_SHARE = 0.06
"""Width of the band around the masks whose points count more, as a share of the image's width."""
_FAR_WEIGHT = 0.1
_CENTRE_SPREAD = 0.35
"""Standard deviation of the weight around the image's centre, as a share of half its width."""
_EXPECTED_UP = (0.0, -0.7071, -0.7071)
"""Camera frame: between "up in the image" (a shallow view) and "towards the camera" (a view from above)."""
_UP_TOLERANCE_COSINE = 0.7
"""All normals within 45 degrees of the expected one are alike."""


@dataclass(frozen=True)
class SupportPlane:
    """The plane that the objects stand on, and the world frame on it."""

    normal: Float[Tensor, "3"]
    """Camera frame, unit length, towards the camera's side of the plane."""
    offset_m: Float[Tensor, ""]
    """`normal . x = offset_m` for points x of the plane, camera frame, metres; negative."""
    inliers: Bool[Tensor, "h w"]
    """Pixels outside the masks whose depth agrees with the plane."""
    noise: float
    """Standard deviation of the inliers in inverse depth, 1/m: `noise * z**2` is that of the depth at z, metres."""
    T_world_camera: Float[Tensor, "4 4"]
    """World frame: z along the normal, the plane at z = 0, x along the camera's x axis as far as the plane allows, origin below the mean
    point of the objects (of the plane's pixels where there are no masks)."""

    def height(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Height above the plane in metres of camera-frame points; negative behind it."""
        return points @ self.normal - self.offset_m


def find_support_plane(observation: Observation, generator: torch.Generator) -> SupportPlane | None:
    """Finds the plane that carries the objects.

    Points near the masks count more; hypotheses with object points behind them, or whose normal points down in the image or away from
    the camera (walls), count less. Deterministic given the generator (which lives on the CPU).

    Returns:
        None where no plane explains enough of what is not an object.
    """
    usable = observation.valid & ~_dilate(observation.masks.any(0), _MASK_MARGIN_PIXELS)
    if int(usable.sum()) < _MIN_POINTS:
        return None
    rays, inverse_depth = observation.camera.rays(), _invert_depth(observation)
    weights = _compute_weights(observation, usable)
    objects = observation.camera.unproject(observation.depth)[observation.valid & observation.masks.any(0)]
    scored = _sample(weights.reshape(-1), _SCORED_POINTS, generator)
    hypotheses = _draw_hypotheses(rays.reshape(-1, 3)[scored], inverse_depth.reshape(-1)[scored], generator)
    objects = objects[:: max(1, len(objects) // 1000)]
    scores = _score(hypotheses, rays.reshape(-1, 3)[scored], inverse_depth.reshape(-1)[scored], objects)
    if len(hypotheses) == 0 or float(scores.max()) < _MIN_SUPPORT**2:
        return None
    fitted = _sample(weights.reshape(-1), _REFIT_POINTS, generator)
    plane, noise = _refit(hypotheses[scores.argmax()], rays.reshape(-1, 3)[fitted], inverse_depth.reshape(-1)[fitted])
    inliers = usable & ((inverse_depth - rays @ plane).abs() < 3 * noise)
    if float((inliers * weights).sum() / weights.sum()) < _MIN_SUPPORT:
        return None
    return _build_plane(plane, noise, inliers, observation)


def _invert_depth(observation: Observation) -> Float[Tensor, "h w"]:
    ones = torch.ones_like(observation.depth)
    return torch.where(observation.valid, 1 / torch.where(observation.valid, observation.depth, ones), torch.zeros_like(ones))


def _dilate(mask: Bool[Tensor, "h w"], radius: int) -> Bool[Tensor, "h w"]:
    """The mask grown by a square of the given radius in pixels (running sums, so that the cost does not grow with the radius)."""
    for axis in (0, 1):
        padded = torch.nn.functional.pad(mask.movedim(axis, -1).int(), (radius + 1, radius)).cumsum(-1)
        mask = (padded[:, 2 * radius + 1 :] > padded[:, : -2 * radius - 1]).movedim(-1, axis)
    return mask


def _compute_weights(observation: Observation, usable: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """How much each pixel counts: more in a band around the masks; without masks, more towards the centre of the image."""
    height, width = usable.shape
    if len(observation.masks) == 0:
        v, u = (torch.linspace(-1, 1, size, dtype=observation.depth.dtype, device=usable.device) for size in (height, width))
        return torch.exp(-0.5 * (u**2 + (v[:, None] * height / width) ** 2) / _CENTRE_SPREAD**2) * usable
    band = round(_NEIGHBOURHOOD_SHARE * width)
    near = _dilate(observation.masks.any(0), band)
    return torch.where(near, 1.0, _FAR_WEIGHT).to(observation.depth.dtype) * usable


def _sample(weights: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Tensor:
    """Indices of points drawn without replacement in proportion to their weights; all points of positive weight if there are fewer."""
    count = min(count, int((weights > 0).sum()))
    return torch.multinomial(weights.cpu(), count, generator=generator).to(weights.device)


def _draw_hypotheses(rays: Float[Tensor, "n 3"], inverse_depth: Float[Tensor, " n"], generator: torch.Generator) -> Float[Tensor, "m 3"]:
    """Planes through three random points each, as `normal / offset_m`; collinear triples and planes through the camera fall out."""
    triples = torch.randint(len(rays), (_HYPOTHESES, 3), generator=generator).to(rays.device)
    points = (rays / inverse_depth[:, None])[triples]
    edges = points[:, 1:] - points[:, :1]
    cross = torch.linalg.cross(edges[:, 0], edges[:, 1])
    area, lengths = cross.norm(dim=-1), edges.norm(dim=-1)
    normal = cross / area.clamp(min=1e-12)[:, None]
    offset = (normal * points[:, 0]).sum(-1)
    sound = (area > 0.05 * lengths[:, 0] * lengths[:, 1]) & (lengths.min(-1).values > 1e-3) & (offset.abs() > 1e-2)
    return normal[sound] / offset[sound, None]


def _score(
    hypotheses: Float[Tensor, "m 3"], rays: Float[Tensor, "n 3"], inverse_depth: Float[Tensor, " n"], objects: Float[Tensor, "k 3"]
) -> Float[Tensor, " m"]:
    """Truncated quadratic support in [0, 1] (MSAC, Torr and Zisserman 2000), times priors on the normal and on what lies in front."""
    residuals = (inverse_depth - hypotheses @ rays.T) / _RANSAC_TOLERANCE
    support = (1 - residuals**2).clamp(min=0).mean(-1)
    normals = -torch.nn.functional.normalize(hypotheses, dim=-1)
    upward = (normals @ normals.new_tensor(_EXPECTED_UP) / _UP_TOLERANCE_COSINE).clamp(min=0.1, max=1.0)
    in_front = torch.ones_like(support)
    if len(objects):
        in_front = (1 / objects[:, 2] - hypotheses @ (objects / objects[:, 2:]).T > -_RANSAC_TOLERANCE).to(support.dtype).mean(-1)
    return support * upward**2 * in_front**2


def _refit(plane: Float[Tensor, "3"], rays: Float[Tensor, "n 3"], inverse_depth: Float[Tensor, " n"]) -> tuple[Float[Tensor, "3"], float]:
    """Iteratively reweighted least squares with Tukey's biweight; the scale is the median absolute residual of the points near the plane.

    Returns:
        The plane as `normal / offset_m`, and the standard deviation of the noise in inverse depth (1/m).
    """
    dtype = plane.dtype
    rays, inverse_depth, plane = rays.double(), inverse_depth.double(), plane.double()
    noise = _RANSAC_TOLERANCE / 2
    for _ in range(_REFIT_STEPS):
        residuals = inverse_depth - rays @ plane
        near = residuals.abs() < _TUKEY_CUTOFF * noise
        if not bool(near.any()):
            break
        noise = min(max(1.4826 * float(residuals[near].abs().median()), _SMALLEST_NOISE), _LARGEST_NOISE)
        weights = (1 - (residuals / (_TUKEY_CUTOFF * noise)) ** 2).clamp(min=0) ** 2
        weighted = rays * weights[:, None]
        plane = torch.linalg.solve(weighted.T @ rays, weighted.T @ inverse_depth)
    return plane.to(dtype), noise


def _build_plane(plane: Float[Tensor, "3"], noise: float, inliers: Bool[Tensor, "h w"], observation: Observation) -> SupportPlane:
    offset = -1 / plane.norm()
    normal = plane * offset
    points = observation.camera.unproject(observation.depth)
    carried = observation.valid & observation.masks.any(0)
    centre = points[carried].mean(0) if bool(carried.any()) else points[inliers].mean(0)
    origin = centre - (centre @ normal - offset) * normal
    rotation = torch.stack(_build_axes(normal))
    return SupportPlane(normal, offset, inliers, noise, rigid(rotation, -(rotation @ origin)))


def _build_axes(normal: Float[Tensor, "3"]) -> list[Float[Tensor, "3"]]:
    """The world's x, y, z axes in the camera frame: z the normal, x the camera's x axis (its y axis where x is nearly the normal)."""
    along = torch.eye(3, dtype=normal.dtype, device=normal.device)[1 if abs(float(normal[0])) > 0.9 else 0]
    x = torch.nn.functional.normalize(along - (along @ normal) * normal, dim=0)
    return [x, torch.linalg.cross(normal, x), normal]
