"""What images say about one object: its denoised surface, and the space that was seen to be empty of it.

The arrays are numpy float64: this is preparation by table look-up and search, not differentiated. World frame, metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from optim.distance_transform import measure_distance_to
from optim.field_kernels import free_space_field, project_points, turning_evidence

TRUNCATION = 0.02
"""Free-space distances are clipped to this, metres."""
_LEAST_HEIGHT = 0.003
"""Metres over the support plane at which a visible surface stands at the least: what lies on the plane has a thickness."""
_MIN_CORE_PIXELS = 50
_WINDOW_MARGIN = 24
"""Pixels around the mask in which occluders are looked for."""
_OUTLIER_NOISE_LEVELS = 6.0
_FUSED_NOISE_LEVELS, _LEAST_FUSED = 4.0, 0.002
"""How far behind the surface that it shows, in noise levels and at least in metres, an image has a say where that surface is."""


@dataclass(frozen=True)
class ObjectView:
    """One object in one image."""

    K: np.ndarray
    """(3, 3) intrinsics, pixels."""
    T_world_camera: np.ndarray
    """(4, 4) metres."""
    owned: np.ndarray
    """(h, w) bool: the object's visible pixels."""
    measured: np.ndarray
    """(h, w) bool: owned pixels whose depth was measured and is no outlier; mask borders, where pixels mix, are left out."""
    barrier: np.ndarray
    """(h, w) metres along z up to which the ray is known to be empty of this object: its denoised surface at owned pixels (holes filled
    from their neighbours), elsewhere the measured depth, or the support plane where no depth was measured; 0 where nothing is known."""
    outside_px: np.ndarray
    """(h, w) distance to the nearest owned pixel, pixels."""
    excess_px: np.ndarray
    """(h, w) distance to the nearest pixel that the object may project to, pixels: an owned one, or one where something nearer hides it."""
    points: np.ndarray
    """(n, 3) denoised surface points, world frame."""
    normals: np.ndarray
    """(n, 3) their unit normals, towards the camera, world frame."""
    noise: float
    """Standard deviation of the depth on the object, metres, estimated from its roughness from pixel to pixel."""
    has_plane: bool
    """Whether the support plane z = 0 is known."""

    @property
    def camera_centre(self) -> np.ndarray:
        """(3,) world frame, metres."""
        return self.T_world_camera[:3, 3]

    @property
    def images(self) -> tuple["ObjectView", ...]:
        """The views that this one is made of, one an image."""
        return (self,)

    @property
    def sight_lines(self) -> np.ndarray:
        """(n, 3) unit directions, world frame, from the camera to the points."""
        rays = self.points - self.camera_centre
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def camera(self, dtype: torch.dtype) -> Camera:
        """The camera of the image."""
        height, width = self.owned.shape
        return Camera(torch.as_tensor(self.K, dtype=dtype), height, width, torch.as_tensor(self.T_world_camera, dtype=dtype))

    def free_space(self, points: np.ndarray) -> np.ndarray:
        """(n,) how far each (n, 3) world point lies in observed empty space, metres; negative behind the surface or unknown."""
        R = self.T_world_camera[:3, :3].T
        values = np.empty(len(points), dtype=np.float32)
        free_space_field(points, R, -R @ self.camera_centre, self.K, self.barrier, self.outside_px, TRUNCATION, values)
        return values

    def turn(
        self, points: np.ndarray, place: np.ndarray, direction: np.ndarray, turns: np.ndarray, tolerance: float, reach: float
    ) -> tuple[float, float, float]:
        """Agreement, clash and share contradicted of (n, 3) points turned about an axis; see `field_kernels.turning_evidence`."""
        R = self.T_world_camera[:3, :3].T
        image = (R, -R @ self.camera_centre, self.K, self.barrier, self.outside_px, TRUNCATION)
        return turning_evidence(points, place, direction, turns, *image, tolerance, reach)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 2) pixels and (n,) depths of (n, 3) world points."""
        R = self.T_world_camera[:3, :3].T
        pixels, depth = np.empty((len(points), 2)), np.empty(len(points))
        project_points(points, R, -R @ self.camera_centre, self.K, pixels, depth)
        return pixels, depth


@dataclass(frozen=True)
class MergedView(ObjectView):
    """One object in several images of the scene. The points and normals are those of all images, the other fields the first one's."""

    parts: tuple[ObjectView, ...]
    """The object in each image that shows it; the first one's fields are this view's own."""

    @property
    def images(self) -> tuple[ObjectView, ...]:
        """See `ObjectView.images`."""
        return self.parts

    @property
    def sight_lines(self) -> np.ndarray:
        """See `ObjectView.sight_lines`: each point is seen from its own camera."""
        return np.concatenate([part.sight_lines for part in self.parts])

    def free_space(self, points: np.ndarray) -> np.ndarray:
        """See `ObjectView.free_space`: a place is empty where any image shows it to be.

        Images that look at the same surface are averaged near it, as in volumetric fusion (Curless and Levoy 1996): the emptiest of several
        noisy depths would wear thin walls away.
        """
        values = np.stack([part.free_space(points) for part in self.parts])
        reach = max(_FUSED_NOISE_LEVELS * self.noise, _LEAST_FUSED)
        weights = np.clip(values / reach + 1, 0.0, 1.0)
        total = weights.sum(0)
        mean = (weights * values).sum(0) / np.maximum(total, 1e-6)
        return np.where(total > 1e-6, mean, values.max(0)).astype(np.float32)

    def turn(
        self, points: np.ndarray, place: np.ndarray, direction: np.ndarray, turns: np.ndarray, tolerance: float, reach: float
    ) -> tuple[float, float, float]:
        """See `ObjectView.turn`; the empty space is that of all images."""
        feet = place + ((points - place) @ direction)[:, None] * direction
        spokes = points - feet
        across = np.cross(direction, spokes)
        turned = feet[:, None] + turns[:, :1] * spokes[:, None] + turns[:, 1:] * across[:, None]
        free = self.free_space(turned.reshape(-1, 3)).astype(np.float64)
        agreement = np.exp(-0.5 * (free / tolerance) ** 2).mean()
        return float(agreement), float(np.clip(free / (2 * reach), 0.0, 1.0).mean()), float((free > reach).mean())


def merge_views(parts: Sequence[ObjectView]) -> ObjectView:
    """One object in several images as one view; where there is only one image, its view as it is."""
    if len(parts) == 1:
        return parts[0]
    own = {field.name: getattr(parts[0], field.name) for field in fields(ObjectView)}
    own["points"] = np.concatenate([part.points for part in parts])
    own["normals"] = np.concatenate([part.normals for part in parts])
    return MergedView(**own, parts=tuple(parts))


def view_objects(observation: Observation, has_plane: bool) -> list[ObjectView]:
    """One view for each mask of an observation whose camera stands in the world frame."""
    K = observation.camera.K.double().numpy()
    T_world_camera = observation.camera.T_world_camera.double().numpy()
    rays = observation.camera.rays().double().numpy()
    depth = np.where(observation.valid.numpy(), observation.depth.double().numpy(), 0.0)
    background = _fill_with_plane(depth, rays, T_world_camera) if has_plane else depth
    return [_view_object(mask, depth, background, rays, K, T_world_camera, has_plane) for mask in observation.masks.numpy()]


def _view_object(
    owned: np.ndarray,
    depth: np.ndarray,
    background: np.ndarray,
    rays: np.ndarray,
    K: np.ndarray,
    T_world_camera: np.ndarray,
    has_plane: bool,
) -> ObjectView:
    window = _bounding_window(owned, margin=_WINDOW_MARGIN)
    noise = estimate_noise(depth[window], owned[window])
    measured = _find_trusted(depth[window], owned[window], noise)
    surface = _smooth_depth(depth[window], measured, noise)
    nearest = distance_transform_edt(~measured, return_distances=False, return_indices=True)
    barrier = background.copy()
    visible = surface[nearest[0], nearest[1]]
    if has_plane:
        visible = np.minimum(visible, _plane_depth(rays[window], T_world_camera, height=_LEAST_HEIGHT))
    barrier[window] = np.where(owned[window], visible, background[window])
    points_camera = rays[window] * surface[..., None]
    normals, has_normal = _compute_normals(points_camera, measured)
    R, centre = T_world_camera[:3, :3], T_world_camera[:3, 3]
    full_measured = np.zeros_like(owned)
    full_measured[window] = measured
    hidden = np.zeros_like(owned)
    margin = max(_OUTLIER_NOISE_LEVELS * noise, 0.005)
    hidden[window] = ~owned[window] & (depth[window] > 0) & (depth[window] < surface[nearest[0], nearest[1]] - margin)
    return ObjectView(
        K=K,
        T_world_camera=T_world_camera,
        owned=owned,
        measured=full_measured,
        barrier=barrier,
        outside_px=measure_distance_to(owned),
        excess_px=measure_distance_to(owned | hidden),
        points=points_camera[has_normal] @ R.T + centre,
        normals=normals[has_normal] @ R.T,
        noise=noise,
        has_plane=has_plane,
    )


def _fill_with_plane(depth: np.ndarray, rays: np.ndarray, T_world_camera: np.ndarray) -> np.ndarray:
    """Depth with holes filled by the support plane; rays that miss the plane stay 0."""
    plane_depth = _plane_depth(rays, T_world_camera, height=0.0)
    return np.where(depth > 0, depth, np.where(np.isfinite(plane_depth), plane_depth, 0.0))


def _plane_depth(rays: np.ndarray, T_world_camera: np.ndarray, height: float) -> np.ndarray:
    """(h, w) depth at which rays meet the horizontal plane at a height, metres; infinite where they do not."""
    descent = rays @ T_world_camera[2, :3]
    return np.where(descent < -1e-6, (height - T_world_camera[2, 3]) / np.minimum(descent, -1e-6), np.inf)


def _bounding_window(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(max(rows[0] - margin, 0), rows[-1] + margin + 1), slice(max(columns[0] - margin, 0), columns[-1] + margin + 1)


def estimate_noise(depth: np.ndarray, owned: np.ndarray) -> float:
    """Standard deviation of the depth, metres, from second differences along rows and columns inside the mask.

    For independent noise a second difference `a - 2 b + c` has variance 6; its median absolute value ignores creases and edges.
    At least 0.2 mm: no depth camera in reach is better.
    """
    inside = owned & (depth > 0)
    differences = []
    for axis in (0, 1):
        d, ok = np.moveaxis(depth, axis, 0), np.moveaxis(inside, axis, 0)
        both = ok[:-2] & ok[1:-1] & ok[2:]
        differences.append((d[:-2] - 2 * d[1:-1] + d[2:])[both])
    pooled = np.abs(np.concatenate(differences))
    if len(pooled) < _MIN_CORE_PIXELS:
        return 0.001
    return max(float(np.median(pooled)) / (0.6745 * np.sqrt(6.0)), 2e-4)


def _find_trusted(depth: np.ndarray, owned: np.ndarray, noise: float) -> np.ndarray:
    """Measured pixels off the mask's border and near the median of their neighbours; all measured ones where that leaves too few."""
    valid = owned & (depth > 0)
    core = valid & (cv2.erode(owned.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    if core.sum() < _MIN_CORE_PIXELS:
        core = valid
    nearest = distance_transform_edt(~core, return_distances=False, return_indices=True)
    filled = depth[nearest[0], nearest[1]].astype(np.float32)
    median = cv2.medianBlur(filled, 5)
    trusted = core & (np.abs(depth - median) < max(_OUTLIER_NOISE_LEVELS * noise, 0.006))
    return trusted if trusted.sum() >= _MIN_CORE_PIXELS else core


def _smooth_depth(depth: np.ndarray, measured: np.ndarray, noise: float) -> np.ndarray:
    """Bilateral filter over measured pixels only: depth steps beyond a few noise levels stay sharp. 0 where not measured."""
    masked = np.where(measured, depth, 0.0).astype(np.float32)
    smooth = cv2.bilateralFilter(masked, 7, sigmaColor=float(3 * noise), sigmaSpace=2.0)
    return np.where(measured, smooth, 0.0).astype(np.float64)


def _compute_normals(points: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals by central differences over the image, towards the camera, and the pixels that have one."""
    normals = np.zeros_like(points)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normals[1:-1, 1:-1] = np.cross(down, across)
    length = np.linalg.norm(normals, axis=-1)
    has_normal = np.zeros_like(measured)
    has_normal[1:-1, 1:-1] = measured[1:-1, 2:] & measured[1:-1, :-2] & measured[2:, 1:-1] & measured[:-2, 1:-1] & measured[1:-1, 1:-1]
    has_normal &= length > 0
    normals[has_normal] /= length[has_normal][:, None]
    normals[(normals * points).sum(-1) > 0] *= -1
    return normals, has_normal
