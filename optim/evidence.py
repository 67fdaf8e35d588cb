"""What an image says about each object, in the shape that the ellipsoid stages use: equally many points, an equally large crop."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.transforms import transform_points
from optim.distance_transform import measure_distance_to

OWN, SEEN_THROUGH, UNKNOWN = 0, 1, 2
"""What a pixel says about an object: it is the object; the object is not there; something nearer, or the image's end, hides the answer."""

_CROP_MARGIN = 0.35
"""How far crops reach beyond the mask's bounding box, as a share of its larger side."""
_PLANE_THICKNESS = 0.015
"""Metres above the support plane up to which unmasked pixels are taken for the plane, which hides nothing that stands on it."""


@dataclass(frozen=True)
class ObjectEvidence:
    """The measurements of n objects. World frame, metres, float64."""

    points: Float[Tensor, "n m 3"]
    """Points of the visible surface; arbitrary where `present` is false."""
    present: Bool[Tensor, "n m"]
    """Which points are there: objects with few pixels have fewer than m."""
    noise: Float[Tensor, "n m"]
    """Standard deviation of the sensor's noise at each point, metres."""
    view: Float[Tensor, "n 3"]
    """Unit direction from the camera's centre to the middle of the visible surface."""
    lateral: Float[Tensor, "n 2"]
    """Half extents of the visible points across the view, larger first, metres."""
    labels: Int[Tensor, "n g g"]
    """OWN, SEEN_THROUGH or UNKNOWN at each sample of the object's crop."""
    depth: Float[Tensor, "n g g"]
    """Measured depth at each sample of the crop, metres; 0 where there is none."""
    crop_origin: Float[Tensor, "n 2"]
    """Pixel (u, v) of the crop's first sample."""
    crop_step: Float[Tensor, " n"]
    """Pixels from one sample of the crop to the next."""
    camera: Camera
    """The camera, in float64, placed in the world."""
    on_plane: bool
    """Whether z = 0 is a support plane."""

    @property
    def eye(self) -> Float[Tensor, "3"]:
        """The camera's centre in the world."""
        return self.camera.T_world_camera[:3, 3]

    @property
    def size(self) -> Float[Tensor, " n"]:
        """Geometric mean of the two lateral half extents, metres."""
        return self.lateral.prod(-1).sqrt()


def gather_evidence(observation: Observation, on_plane: bool, points: int = 256, crop: int = 96) -> ObjectEvidence:
    """Collects the evidence about every mask of an observation whose camera is placed in the world.

    Mask borders are left out of the points where enough remains: pixels there mix depths. Points are taken evenly from the pixels in
    reading order, so that the same image always gives the same points.

    Args:
        observation: its masks; each has pixels with a depth.
        on_plane: whether z = 0 of the world is a support plane.
        points: how many points an object has at most (m).
        crop: samples along each side of an object's crop (g).

    Raises:
        InputError: there is no mask, or one without a single valid depth.
    """
    if len(observation.masks) == 0:
        raise InputError(f"{observation.name}: there are no objects to fit; give at least one mask")
    camera = observation.camera.to(dtype=torch.float64)
    depth = observation.depth.double()
    cloud = transform_points(camera.T_world_camera, camera.unproject(depth).reshape(-1, 3))
    chosen = [_choose_pixels(mask, observation, points, k) for k, mask in enumerate(observation.masks)]
    present = torch.stack([torch.arange(points, device=depth.device) < len(pixels) for pixels in chosen])
    pixels = torch.stack([torch.nn.functional.pad(p, (0, points - len(p)), value=int(p[-1])) for p in chosen])
    visible = cloud[pixels]
    noise = depth_noise(depth.reshape(-1)[pixels])
    view, lateral = _measure_extents(visible, present, camera.T_world_camera[:3, 3])
    middle = _masked_median(depth.reshape(-1)[pixels], present) + lateral.prod(-1).sqrt()
    grids, origin, step = _lay_crops(observation.masks, crop)
    labels, crop_depth = _label_crops(observation, cloud[:, 2].reshape(depth.shape), on_plane, grids, middle)
    return ObjectEvidence(visible, present, noise, view, lateral, labels, crop_depth.double(), origin, step, camera, on_plane)


def depth_noise(depth: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Axial noise (m) of a structured-light or stereo camera at a depth (m): Nguyen, Izadi and Lovell (3DIMPVT 2012), eq. 4."""
    return 0.0012 + 0.0019 * (depth - 0.4) ** 2


def _choose_pixels(mask: Bool[Tensor, "h w"], observation: Observation, count: int, index: int) -> Int[Tensor, " k"]:
    """Flat indices of up to `count` pixels of a mask that have a depth."""
    inner = torch.from_numpy(cv2.erode(mask.cpu().numpy().astype(np.uint8), np.ones((3, 3), np.uint8)) > 0).to(mask.device)
    pixels = (inner & observation.valid).reshape(-1).nonzero()[:, 0]
    if len(pixels) < 50:
        pixels = (mask & observation.valid).reshape(-1).nonzero()[:, 0]
    if len(pixels) == 0:
        raise InputError(f"{observation.name}: mask {index} ({observation.object_names[index]}) has no pixel with a valid depth")
    taken = torch.linspace(0, len(pixels) - 1, min(count, len(pixels)), dtype=torch.float64, device=pixels.device)
    return pixels[taken.round().long()]


def _masked_median(values: Float[Tensor, "n m"], present: Bool[Tensor, "n m"]) -> Float[Tensor, " n"]:
    return values.masked_fill(~present, torch.nan).nanmedian(-1).values


def _measure_extents(
    points: Float[Tensor, "n m 3"], present: Bool[Tensor, "n m"], eye: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 2"]]:
    """View directions, and half extents across the view along the principal axes there (2 % of the points left out at each end)."""
    weights = (present / present.sum(-1, keepdim=True))[..., None].to(points)
    mean = (points * weights).sum(1)
    view = torch.nn.functional.normalize(mean - eye, dim=-1)
    offset = points - mean[:, None]
    across = offset - (offset @ view[..., None]) * view[:, None]
    axes = torch.linalg.eigh((across * weights).transpose(-1, -2) @ across).eigenvectors[..., 1:].flip(-1)
    spread = (across @ axes).masked_fill(~present[..., None], torch.nan)
    low, high = (torch.nanquantile(spread, q, dim=1) for q in (0.02, 0.98))
    return view, ((high - low) / 2).clamp(min=1e-3).sort(-1, descending=True).values


def _lay_crops(masks: Bool[Tensor, "n h w"], size: int) -> tuple[Int[Tensor, "n g g 2"], Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Square sampling grids around the masks: the nearest pixels (u, v) of their samples, their origins and steps in pixels."""
    origins, steps = [], []
    for mask in masks:
        v, u = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        low, high = torch.stack([u[0], v[0]]).double(), torch.stack([u[-1], v[-1]]).double()
        reach = (high - low).max() * (0.5 + _CROP_MARGIN) + 4
        origins.append((low + high) / 2 - reach)
        steps.append(2 * reach / (size - 1))
    origin, step = torch.stack(origins), torch.stack(steps)
    index = torch.arange(size, dtype=torch.float64, device=masks.device)
    v, u = torch.meshgrid(index, index, indexing="ij")
    grid = origin[:, None, None] + torch.stack([u, v], dim=-1) * step[:, None, None, None]
    return grid.round().long(), origin, step


def _label_crops(
    observation: Observation, height: Float[Tensor, "h w"], on_plane: bool, grids: Int[Tensor, "n g g 2"], middle: Float[Tensor, " n"]
) -> tuple[Int[Tensor, "n g g"], Float[Tensor, "n g g"]]:
    """Labels and depths of the crops' samples. `height` above z = 0 of every pixel; `middle` is about the depth of the object's limb.

    Another object's pixel, or an unmasked thing's, hides the answer where it is nearer than the limb; else this object would have been
    in front of it.
    """
    owner = torch.full(observation.depth.shape, -1, dtype=torch.int64, device=observation.depth.device)
    for k, mask in enumerate(observation.masks):
        owner[mask] = k
    limit = torch.tensor([observation.camera.width, observation.camera.height], device=grids.device) - 1
    inside = ((grids >= 0) & (grids <= limit)).all(-1)
    u, v = grids.clamp(min=torch.zeros_like(limit), max=limit).unbind(-1)
    owner, depth, valid, height = owner[v, u], observation.depth[v, u], observation.valid[v, u] & inside, height[v, u]
    own = inside & (owner == torch.arange(len(grids), device=owner.device)[:, None, None])
    nearer = valid & (depth < middle[:, None, None])
    plane = height < _PLANE_THICKNESS if on_plane else torch.zeros_like(nearer)
    hidden = torch.where(owner >= 0, nearer | ~valid, nearer & ~plane)
    labels = torch.where(own, OWN, torch.where(hidden | ~inside, UNKNOWN, SEEN_THROUGH))
    return labels, torch.where(valid, depth, 0.0)


def silhouette_fields(evidence: ObjectEvidence) -> Float[Tensor, "n g g"]:
    """Signed distance in pixels from each sample of the crops to the outline of the mask.

    Positive where the object was not seen: to the nearest sample where it may be. Negative on the object: to the nearest that is not it.
    Zero where the image does not say.
    """
    own, through = evidence.labels == OWN, evidence.labels == SEEN_THROUGH
    inner = torch.stack([_distance_to_zero(mask) for mask in own])
    outer = torch.stack([_distance_to_zero(mask) for mask in through])
    fields = torch.where(own, 0.5 - inner, torch.where(through, outer - 0.5, 0.0))
    return fields * evidence.crop_step[:, None, None]


def _distance_to_zero(mask: Bool[Tensor, "g g"]) -> Float[Tensor, "g g"]:
    distance = torch.from_numpy(measure_distance_to(~mask.cpu().numpy()))
    return distance.to(mask.device).clamp(max=float(len(mask)))


def sample_fields(
    fields: Float[Tensor, "n g g"], evidence: ObjectEvidence, pixels: Float[Tensor, "n k 2"]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k 2"]]:
    """Bilinear values of fields over the crops at pixels (u, v), and their gradients by the pixels; linear beyond the crops' ends."""
    at = (pixels - evidence.crop_origin[:, None]) / evidence.crop_step[:, None, None]
    cell = at.floor().clamp(0, fields.shape[-1] - 2)
    (x, y), (column, row) = (at - cell).unbind(-1), cell.long().unbind(-1)
    n = torch.arange(len(fields), device=fields.device)[:, None]
    f00, f10 = fields[n, row, column], fields[n, row, column + 1]
    f01, f11 = fields[n, row + 1, column], fields[n, row + 1, column + 1]
    value = (f00 * (1 - x) + f10 * x) * (1 - y) + (f01 * (1 - x) + f11 * x) * y
    gradient = torch.stack([(f10 - f00) * (1 - y) + (f11 - f01) * y, (f01 - f00) * (1 - x) + (f11 - f10) * x], dim=-1)
    return value, gradient / evidence.crop_step[:, None, None]
