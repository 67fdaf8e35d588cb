"""Distances in images, the same to the last bit on every run."""

import cv2
import numpy as np


def measure_distance_to(mask: np.ndarray) -> np.ndarray:
    """(h, w) float64 distance in pixels from each pixel to the nearest true one of a bool (h, w) mask; h + w where none is.

    OpenCV's last bits depend on where the array lies in memory; squared distances are whole numbers, so they are rounded.
    """
    limit = float(sum(mask.shape))
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    return np.minimum(np.sqrt(np.rint(np.minimum(distance, limit) ** 2)), limit)
