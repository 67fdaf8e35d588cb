"""Mending what depth steps have cut: the inside of a cup or bowl, and its outside below the near rim."""

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_NEAR_PIXELS = 10
"""Parts whose outlines come this close in the image are neighbours: depth is often missing at rims."""
_TOUCHING_M, _TOUCHING_POINTS = 0.02, 5
_HEIGHT_TOLERANCE, _HEIGHT_TOLERANCE_M = 0.05, 0.004
_SOLIDITY = 0.83
_RIM_SHARE, _SMALLEST_SAGITTA = 0.7, 0.2
_MIN_PIXELS = 100
_LARGEST_CLOUD = 3000


def merge_rims(labels: np.ndarray, world: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Joins parts that are the inside and the outside of one cup or bowl.

    Two parts are joined if they are neighbours in the image, come close in space somewhere (where the rim turns), reach the same height
    (the rim is level), fill the convex hull of their joint footprint (a round thing does; two things side by side do less), and the upper
    rim of the farther one is hollow towards the camera.

    Args:
        labels: (h, w) int32, 0 for no part.
        world: (h, w, 3) points in the world frame (z up from the plane), metres.
        eye: (2,) the camera's x, y in the world frame, metres.

    Returns:
        (h, w) int32: labels, 0 for no part; not consecutive.
    """
    sizes = np.bincount(labels.reshape(-1))
    parts = [k for k in range(1, len(sizes)) if sizes[k] >= _MIN_PIXELS]
    pairs = [(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :] if _is_one_rim(labels == a, labels == b, world, eye)]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(sizes), len(sizes)))
    merged = connected_components(graph, directed=False)[1] + 1
    return np.where(labels > 0, merged[labels], 0).astype(np.int32)


def _is_one_rim(a: np.ndarray, b: np.ndarray, world: np.ndarray, eye: np.ndarray) -> bool:
    kernel = np.ones((2 * _NEAR_PIXELS + 1, 2 * _NEAR_PIXELS + 1), np.uint8)
    if not (cv2.dilate(a.astype(np.uint8), kernel)[b] > 0).any():
        return False
    first, second = world[a], world[b]
    heights = np.quantile(first[:, 2], 0.98), np.quantile(second[:, 2], 0.98)
    if abs(heights[0] - heights[1]) > _HEIGHT_TOLERANCE * max(heights) + _HEIGHT_TOLERANCE_M:
        return False
    if _footprint_area(first) + _footprint_area(second) < _SOLIDITY * _footprint_area(np.concatenate([first, second])):
        return False
    if not _is_hollow(max(first, second, key=lambda points: np.linalg.norm(points[:, :2].mean(0) - eye)), eye):
        return False
    distances = cKDTree(first[:: len(first) // _LARGEST_CLOUD + 1]).query(second[:: len(second) // _LARGEST_CLOUD + 1])[0]
    return np.count_nonzero(distances < _TOUCHING_M) >= _TOUCHING_POINTS


def _is_hollow(points: np.ndarray, eye: np.ndarray) -> bool:
    """Whether the upper part of a surface, seen from above, bends around the viewer's side: farther in the middle than at its ends."""
    rim = points[points[:, 2] > _RIM_SHARE * np.quantile(points[:, 2], 0.98), :2]
    away = rim.mean(0) - eye
    away /= np.linalg.norm(away)
    along, distance = rim @ [-away[1], away[0]], rim @ away
    half_chord = np.ptp(np.quantile(along, [0.02, 0.98])) / 2
    bend = np.polynomial.Polynomial.fit(along, distance, 2, domain=[along.mean() - half_chord, along.mean() + half_chord]).coef[2]
    return bool(-bend > _SMALLEST_SAGITTA * half_chord)


def _footprint_area(points: np.ndarray) -> float:
    """Area in m^2 of the convex hull of points seen from above."""
    return cv2.contourArea(cv2.convexHull(np.ascontiguousarray(points[:, :2], np.float32)))
