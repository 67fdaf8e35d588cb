"""Lenses and the way from one to the other: undoing a distortion by the device library's own model, and registering depth to colour."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.interpolate import RectBivariateSpline

from invgraphics.errors import InputError

_GRID_STEP = 8
"""Pixels between the points at which the model is asked; in between goes a spline: a lens bends smoothly."""
_LARGEST_INVERSION_ERROR = 0.05
"""Pixels."""
_LARGEST_FOOTPRINT = 4
"""Colour pixels across, that one depth pixel may cover."""
_SAME_POSE, _SAME_PIXEL = 1e-5, 0.02
"""Largest difference of the poses' entries and of the pixels (pixels) at which two sensors are one."""
_SEAM_STEP = 0.01
"""Two depths that differ by less than this share belong to one surface."""


@dataclass(frozen=True)
class Undistortion:
    """Where each pixel of the pinhole image lies in the image of the lens."""

    K: Float[np.ndarray, "3 3"]
    """The pinhole camera: the lens's own focal lengths and middle."""
    map: Float32[np.ndarray, "h w 2"] | None
    """Pixels (u, v) of the lens's image; None where the lens does not distort."""


def build_undistortion(rs: ModuleType, intrinsics: Any) -> Undistortion:
    """The way from a `pyrealsense2.intrinsics` to a pinhole image of the same size.

    Raises:
        InputError: the library cannot invert the lens's model.
    """
    K = _pinhole(intrinsics)
    if not _distorts(rs, intrinsics):
        return Undistortion(K, None)
    pixels = _grid(intrinsics)
    points = _pinhole_rays(pixels, K)
    bent = np.array([rs.rs2_project_point_to_pixel(intrinsics, point) for point in points.reshape(-1, 3).tolist()]).reshape(pixels.shape)
    _require_invertible(rs, intrinsics, points, bent, K)
    return Undistortion(K, _refine_grid(bent, pixels).astype(np.float32))


def build_rays(rs: ModuleType, intrinsics: Any) -> Float[np.ndarray, "h w 3"]:
    """Direction of every pixel of a lens's image, scaled to z = 1.

    Raises:
        InputError: the library cannot invert the lens's model.
    """
    pixels = np.stack(np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height)), axis=-1).astype(np.float64)
    if not _distorts(rs, intrinsics):
        return _pinhole_rays(pixels, _pinhole(intrinsics))
    build_undistortion(rs, intrinsics)
    pixels = _grid(intrinsics)
    rays = np.array([rs.rs2_deproject_pixel_to_point(intrinsics, pixel, 1.0) for pixel in pixels.reshape(-1, 2).tolist()])
    return _refine_grid(rays.reshape(*pixels.shape[:2], 3), pixels)


def undistort_colour(image: UInt8[np.ndarray, "h w 3"], undistortion: Undistortion) -> UInt8[np.ndarray, "h w 3"]:
    """The pinhole image; black where the lens saw nothing."""
    if undistortion.map is None:
        return image
    return cv2.remap(image, undistortion.map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def register_depth(
    depth: Float[np.ndarray, "h w"],
    rays: Float[np.ndarray, "h w 3"],
    T_colour_depth: Float[np.ndarray, "4 4"],
    K: Float[np.ndarray, "3 3"],
    size: tuple[int, int],
) -> Float[np.ndarray, "height width"]:
    """Depth as the colour camera would see it: every reading goes to the pixels that it covers there, and the nearest one stays.

    `depth` is along z of the depth sensor (0: none), `rays` its pixels' directions, `K` the colour camera's, `size` its (width, height).
    Where the pixels of one surface move apart by a pixel, the seam is closed. Where both sensors are one (as on a D405), nothing changes.
    """
    if _is_same_view(depth, rays, T_colour_depth, K, size):
        return depth
    rows, columns = np.nonzero(depth > 0)
    z = depth[rows, columns]
    points = (rays[rows, columns] * z[:, None]) @ T_colour_depth[:3, :3].T + T_colour_depth[:3, 3]
    front = points[:, 2] > 0
    points, z = points[front], z[front]
    pixel = points[:, :2] / points[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    pitch = np.array([np.diff(rays[:, :, 0], axis=1).mean(), np.diff(rays[:, :, 1], axis=0).mean()])
    half = 0.5 * pitch * [K[0, 0], K[1, 1]] * (z / points[:, 2])[:, None]
    first, last = np.ceil(pixel - half).astype(int), np.ceil(pixel + half).astype(int)
    return _close_seams(_splat_nearest(points[:, 2], first, np.minimum(last, first + _LARGEST_FOOTPRINT), size))


def _is_same_view(depth: np.ndarray, rays: np.ndarray, T_colour_depth: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether every pixel of the depth sensor is that pixel of the colour camera."""
    if depth.shape != (size[1], size[0]) or not np.allclose(T_colour_depth, np.eye(4), atol=_SAME_POSE):
        return False
    pixels = rays[..., :2] * [K[0, 0], K[1, 1]] + K[:2, 2]
    return bool(abs(pixels - np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1)).max() < _SAME_PIXEL)


def _splat_nearest(z: np.ndarray, first: np.ndarray, last: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each value into the pixels from `first` up to but without `last`; the least stays, 0 where there is none."""
    width, height = size
    image = np.full((height, width), np.inf)
    wide, high = (last - first).max(axis=0, initial=0)
    for dx in range(int(wide)):
        for dy in range(int(high)):
            u, v = first[:, 0] + dx, first[:, 1] + dy
            inside = (u < last[:, 0]) & (v < last[:, 1]) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
            np.minimum.at(image, (v[inside], u[inside]), z[inside])
    return np.where(np.isfinite(image), image, 0.0)


def _close_seams(depth: np.ndarray) -> np.ndarray:
    """Fills pixels whose neighbours left and right, or above and below, belong to one surface."""
    closed = depth.copy()
    for axis in (1, 0):
        before, after = np.roll(closed, 1, axis), np.roll(closed, -1, axis)
        alike = (before > 0) & (after > 0) & (abs(before - after) < _SEAM_STEP * np.maximum(before, after))
        edge = np.ones_like(alike)
        edge[(slice(1, -1), slice(None)) if axis == 0 else (slice(None), slice(1, -1))] = False
        closed = np.where((closed == 0) & alike & ~edge, (before + after) / 2, closed)
    return closed


def _distorts(rs: ModuleType, intrinsics: Any) -> bool:
    return intrinsics.model != rs.distortion.none and any(intrinsics.coeffs)


def _pinhole(intrinsics: Any) -> np.ndarray:
    return np.array([[intrinsics.fx, 0.0, intrinsics.ppx], [0.0, intrinsics.fy, intrinsics.ppy], [0.0, 0.0, 1.0]])


def _pinhole_rays(pixels: np.ndarray, K: np.ndarray) -> np.ndarray:
    xy = (pixels - K[:2, 2]) / [K[0, 0], K[1, 1]]
    return np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)


def _grid(intrinsics: Any) -> np.ndarray:
    """Pixels at every step, over the image."""
    columns = np.linspace(0, intrinsics.width - 1, intrinsics.width // _GRID_STEP + 4)
    rows = np.linspace(0, intrinsics.height - 1, intrinsics.height // _GRID_STEP + 4)
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def _refine_grid(coarse: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values at the pixels of `_grid`, as values at every pixel: a bicubic spline."""
    columns, rows = pixels[0, :, 0], pixels[:, 0, 1]
    u, v = np.arange(round(columns[-1]) + 1), np.arange(round(rows[-1]) + 1)
    return np.stack([RectBivariateSpline(rows, columns, coarse[..., k])(v, u) for k in range(coarse.shape[-1])], axis=-1)


def _require_invertible(rs: ModuleType, intrinsics: Any, points: np.ndarray, pixels: np.ndarray, K: np.ndarray) -> None:
    points, pixels = points.reshape(-1, 3), pixels.reshape(-1, 2)
    inside = np.flatnonzero(((pixels >= 0) & (pixels <= [intrinsics.width - 1, intrinsics.height - 1])).all(1))
    some = inside[:: max(1, len(inside) // 200)]
    back = np.array([rs.rs2_deproject_pixel_to_point(intrinsics, pixel, 1.0) for pixel in pixels[some].tolist()]).reshape(-1, 3)
    error = abs((back - points[some])[:, :2] * [K[0, 0], K[1, 1]]).max(initial=0.0)
    if error > _LARGEST_INVERSION_ERROR or len(some) == 0:
        raise InputError(
            f"the distortion of the lens ({intrinsics.model}, {list(intrinsics.coeffs)}) cannot be undone: there and back is off by "
            f"{error:.2g} pixels; choose a stream of the camera that is rectified"
        )
