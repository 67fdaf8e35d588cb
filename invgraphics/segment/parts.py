"""Mending what was cut: by depth steps the inside of a cup from its outside, by the plane's noise the bowl of a spoon from its handle."""

from collections.abc import Callable

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
_LARGEST_GAP_M = 0.05
_LEAST_ELONGATION, _LEAST_SHARE_OF_ELONGATION = 5.0, 0.8
"""Two parts in one line are so much longer than wide, and not much less than the longer one is by itself."""
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
    return _merge(labels, lambda a, b: _is_one_rim(labels == a, labels == b, world, eye))


def merge_lines(labels: np.ndarray, together: np.ndarray, world: np.ndarray) -> np.ndarray:
    """Joins parts that lie in one line, and between which something rises too little from the plane to be told from it.

    Args:
        labels: (h, w) int32, 0 for no part.
        together: (h, w) int32, labels of what hangs together where that counts, too.
        world: (h, w, 3) points in the world frame (z up from the plane), metres.

    Returns:
        (h, w) int32: labels, 0 for no part; not consecutive.
    """

    def is_one_line(a: int, b: int) -> bool:
        first, second = labels == a, labels == b
        return _hang_together(together[first], together[second]) and _is_one_line(world[first], world[second])

    return _merge(labels, is_one_line)


def _merge(labels: np.ndarray, belongs: Callable[[int, int], bool]) -> np.ndarray:
    """(h, w) int32: labels of parts, those of a pair that `belongs` together made one; 0 stays, what is tiny is not asked about."""
    sizes = np.bincount(labels.reshape(-1))
    parts = [k for k in range(1, len(sizes)) if sizes[k] >= _MIN_PIXELS]
    pairs = [(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :] if belongs(a, b)]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(sizes), len(sizes)))
    merged = connected_components(graph, directed=False)[1] + 1
    return np.where(labels > 0, merged[labels], 0).astype(np.int32)


def _hang_together(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether most pixels of two parts have the same label."""
    return bool(np.bincount(first).argmax() == np.bincount(second).argmax())


def _is_one_line(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two parts (n, 3) come near each other and are together a long thin thing, seen from above."""
    nearest = cKDTree(_thin_out(first)).query(_thin_out(second))[0].min()
    if nearest > _LARGEST_GAP_M:
        return False
    joint = _measure_elongation(np.concatenate([first, second]))
    return joint > max(_LEAST_ELONGATION, _LEAST_SHARE_OF_ELONGATION * max(_measure_elongation(first), _measure_elongation(second)))


def _measure_elongation(points: np.ndarray) -> float:
    """Length to width of points seen from above, by their spread along the principal axes."""
    least, largest = np.linalg.eigvalsh(np.cov(points[:, :2].T))
    return float(np.sqrt(largest / max(least, 1e-12)))


def _thin_out(points: np.ndarray) -> np.ndarray:
    return points[:: len(points) // _LARGEST_CLOUD + 1]


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
    distances = cKDTree(_thin_out(first)).query(_thin_out(second))[0]
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
