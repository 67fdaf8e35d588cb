"""What the depth image says about objects on a plane: which pixels rise from it, and which of them hang together."""

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane

LARGEST_STEP = 0.012
"""Step in inverse depth (1/m) between neighbouring pixels across which nothing hangs together: 4 mm at 0.6 m, 12 mm at 1 m."""
_RISE_DEVIATIONS, _RISE_HEIGHT = 2.5, 0.002
_LOW_DEVIATIONS, _LOW_HEIGHT = 0.7, 0.0005
_SMOOTHING_PIXELS = 1.5


def invert_depth(observation: Observation) -> np.ndarray:
    """(h, w) 1/m; 0 where there is no depth."""
    valid = observation.valid.cpu().numpy()
    return np.where(valid, 1 / np.where(valid, observation.depth.cpu().numpy(), 1.0), 0.0)


def compute_heights(observation: Observation, plane: SupportPlane) -> np.ndarray:
    """(h, w) float32: height of each pixel's point above the plane in metres; 0 where there is no depth."""
    points = observation.camera.unproject(observation.depth)
    return (plane.height(points) * observation.valid).cpu().numpy()


def compute_rise(observation: Observation, plane: SupportPlane) -> np.ndarray:
    """(h, w) float32: how much nearer than the plane each pixel is, in standard deviations of its noise; 0 where there is no depth."""
    valid = observation.valid.cpu().numpy()
    depth = np.where(valid, observation.depth.cpu().numpy(), 1.0)
    expected = (observation.camera.rays() @ (plane.normal / plane.offset_m)).cpu().numpy()
    return np.where(valid, (1 / depth - expected) / plane.noise, 0.0).astype(np.float32)


def find_rising(rise: np.ndarray, height: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels that are above the plane by more than noise explains."""
    return (rise > _RISE_DEVIATIONS) & (height > _RISE_HEIGHT)


def find_low(rise: np.ndarray, height: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels that are above the plane at least on an average with their neighbours; some of the bare plane is among them."""

    def smooth(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values.astype(np.float32), (0, 0), _SMOOTHING_PIXELS)

    weight = np.maximum(smooth(valid), 1e-3)
    mean_rise, mean_height = (smooth(np.where(valid, values, 0.0)) / weight for values in (rise, height))
    return valid & (mean_rise > _LOW_DEVIATIONS) & (mean_height > _LOW_HEIGHT)


def label_connected(mask: np.ndarray, inverse_depth: np.ndarray, largest_step: float, reach: int = 2) -> np.ndarray:
    """Labels the pixels of a mask that hang together in depth.

    Args:
        mask: (h, w) bool.
        inverse_depth: (h, w) 1/m.
        largest_step: neighbours in a row or column join if their inverse depths differ by less than this, 1/m.
        reach: so do pixels up to this far apart (with as many times the step), which bridges gaps of fewer pixels.

    Returns:
        (h, w) int32: 0 outside the mask, else 1, 2, ...
    """
    count = int(mask.sum())
    index = np.full(mask.shape, -1, np.int64)
    index[mask] = np.arange(count)
    pairs = [np.zeros((2, 0), np.int64)]
    for transposed in (False, True):
        number, value = (index.T, inverse_depth.T) if transposed else (index, inverse_depth)
        for distance in range(1, reach + 1):
            first, second = number[:-distance], number[distance:]
            near = np.abs(value[:-distance] - value[distance:]) < largest_step * distance
            pairs.append(np.stack([first, second])[:, (first >= 0) & (second >= 0) & near])
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = connected_components(graph, directed=False)[1] + 1
    return labels


def keep_largest_parts(mask: np.ndarray) -> np.ndarray:
    """(h, w) bool: the largest 8-connected part of a mask, and parts at least a fifth as large."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if count <= 2:
        return mask
    return np.isin(labels, 1 + np.flatnonzero(areas >= 0.2 * areas.max()))
