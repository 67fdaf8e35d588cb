"""Implicit functions evaluated at many points: compiled loops (numba), one point at a time over all cores.

All fields are negative inside, in metres (signed distances or bounds of them), float32.
"""

import numpy as np
from numba import njit, prange


def _free_space_field(points, R, t, K, barrier, outside_px, truncation, values):
    """How far each world point lies in space that was seen to be empty; negative behind the measured surface.

    Args:
        points: (n, 3) world points.
        R, t: (3, 3), (3,) world to camera.
        K: (3, 3) intrinsics.
        barrier: (h, w) depth up to which each ray is known to be empty of the object.
        outside_px: (h, w) distance in pixels to the object's mask, 0 in it.
        truncation: values are clipped to [-truncation, truncation] metres; points out of view count as -truncation.
        values: (n,) output.
    """
    height, width = barrier.shape
    for i in prange(points.shape[0]):
        x = R[0, 0] * points[i, 0] + R[0, 1] * points[i, 1] + R[0, 2] * points[i, 2] + t[0]
        y = R[1, 0] * points[i, 0] + R[1, 1] * points[i, 1] + R[1, 2] * points[i, 2] + t[1]
        z = R[2, 0] * points[i, 0] + R[2, 1] * points[i, 1] + R[2, 2] * points[i, 2] + t[2]
        values[i] = -truncation
        if z <= 1e-6:
            continue
        column = int(np.floor(K[0, 0] * x / z + K[0, 2] + 0.5))
        row = int(np.floor(K[1, 1] * y / z + K[1, 2] + 0.5))
        if column < 0 or column >= width or row < 0 or row >= height:
            continue
        depth_gap = barrier[row, column] - z
        aside = outside_px[row, column] * z / K[0, 0]
        if aside > 0.0 and depth_gap > aside:
            depth_gap = aside
        values[i] = min(max(depth_gap, -truncation), truncation)


# Waking the other cores costs more than a few thousand points take, tenfold on a busy machine.
_free_space_field_serial = njit(cache=True)(_free_space_field)
_free_space_field_parallel = njit(cache=True, parallel=True)(_free_space_field)
_WORTH_SHARING = 100_000


def free_space_field(points, R, t, K, barrier, outside_px, truncation, values):
    """See `_free_space_field`; over all cores where there are many points."""
    kernel = _free_space_field_parallel if len(points) > _WORTH_SHARING else _free_space_field_serial
    kernel(points, R, t, K, barrier, outside_px, truncation, values)


@njit(cache=True, parallel=True)
def convex_field(points, normals, offsets, values):
    """Signed distance bound to a convex polytope: the largest `normals @ x + offsets` over its m faces."""
    for i in prange(points.shape[0]):
        largest = -1e30
        for k in range(normals.shape[0]):
            distance = normals[k, 0] * points[i, 0] + normals[k, 1] * points[i, 1] + normals[k, 2] * points[i, 2] + offsets[k]
            if distance > largest:
                largest = distance
        values[i] = largest


@njit(cache=True, parallel=True)
def superquadric_field(points, R, centre, radii, exponents, values):
    """Radial signed distance to a superquadric (Solina and Bajcsy 1990, eq. 10): |x| (1 - F^(-e1/2)).

    Args:
        points: (n, 3). R: (3, 3) superquadric frame to the points' frame; its z axis is the one that exponents[0] bends.
        centre: (3,) metres. radii: (3,) metres. exponents: (2,) e1, e2.
        values: (n,) output.
    """
    e1, e2 = exponents[0], exponents[1]
    for i in prange(points.shape[0]):
        dx, dy, dz = points[i, 0] - centre[0], points[i, 1] - centre[1], points[i, 2] - centre[2]
        a = abs(R[0, 0] * dx + R[1, 0] * dy + R[2, 0] * dz) / radii[0] + 1e-9
        b = abs(R[0, 1] * dx + R[1, 1] * dy + R[2, 1] * dz) / radii[1] + 1e-9
        c = abs(R[0, 2] * dx + R[1, 2] * dy + R[2, 2] * dz) / radii[2] + 1e-9
        inside_out = (a ** (2 / e2) + b ** (2 / e2)) ** (e2 / e1) + c ** (2 / e1)
        values[i] = np.sqrt(dx * dx + dy * dy + dz * dz) * (1 - inside_out ** (-e1 / 2))
