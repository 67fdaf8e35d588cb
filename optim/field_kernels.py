"""Implicit functions evaluated at many points: compiled loops (numba), one point at a time over all cores.

All fields are negative inside, in metres (signed distances or bounds of them), float32.
"""

import numpy as np
from numba import njit, prange


@njit(cache=True, inline="always")
def _free_space_at(wx, wy, wz, R, t, K, barrier, outside_px, truncation):
    """How far one world point lies in space that was seen to be empty; see `_free_space_field`."""
    x = R[0, 0] * wx + R[0, 1] * wy + R[0, 2] * wz + t[0]
    y = R[1, 0] * wx + R[1, 1] * wy + R[1, 2] * wz + t[1]
    z = R[2, 0] * wx + R[2, 1] * wy + R[2, 2] * wz + t[2]
    if z <= 1e-6:
        return -truncation
    column = int(np.floor(K[0, 0] * x / z + K[0, 2] + 0.5))
    row = int(np.floor(K[1, 1] * y / z + K[1, 2] + 0.5))
    if column < 0 or column >= barrier.shape[1] or row < 0 or row >= barrier.shape[0]:
        return -truncation
    depth_gap = barrier[row, column] - z
    aside = outside_px[row, column] * z / K[0, 0]
    if aside > 0.0 and depth_gap > aside:
        depth_gap = aside
    return min(max(depth_gap, -truncation), truncation)


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
    for i in prange(points.shape[0]):
        values[i] = _free_space_at(points[i, 0], points[i, 1], points[i, 2], R, t, K, barrier, outside_px, truncation)


# Waking the other cores costs more than a few thousand points take, tenfold on a busy machine.
_free_space_field_serial = njit(cache=True)(_free_space_field)
_free_space_field_parallel = njit(cache=True, parallel=True)(_free_space_field)
_WORTH_SHARING = 100_000


def free_space_field(points, R, t, K, barrier, outside_px, truncation, values):
    """See `_free_space_field`; over all cores where there are many points."""
    kernel = _free_space_field_parallel if len(points) > _WORTH_SHARING else _free_space_field_serial
    kernel(points, R, t, K, barrier, outside_px, truncation, values)


@njit(cache=True, error_model="numpy")
def project_points(points, R, t, K, pixels, depth):
    """Pixels (n, 2) and depths (n,) of (n, 3) world points; R, t: world to camera, K: intrinsics."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth[i] = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        pixels[i, 0] = K[0, 0] * (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]) / depth[i] + K[0, 2]
        pixels[i, 1] = K[1, 1] * (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]) / depth[i] + K[1, 2]


@njit(cache=True)
def turning_evidence(points, place, direction, turns, R, t, K, barrier, outside_px, truncation, tolerance, reach):
    """What turning points about an axis says of its being an axis of symmetry: (agreement, clash, share contradicted).

    Args:
        points: (n, 3) visible surface points, world frame.
        place, direction: (3,) a point of the axis, and its unit direction.
        turns: (m, 2) cosines and sines of the angles.
        R, t, K, barrier, outside_px, truncation: as in `_free_space_field`.
        tolerance: metres; agreement is the mean of `exp(-(free / tolerance)^2 / 2)`, high where turned points fall on what was seen.
        reach: metres; clash is the mean of free space over `2 reach`, cut to [0, 1]; more than `reach` of it is a contradiction.
    """
    agreement, clash, contradicted = 0.0, 0.0, 0
    ux, uy, uz = direction[0], direction[1], direction[2]
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - place[0], points[i, 1] - place[1], points[i, 2] - place[2]
        along = x * ux + y * uy + z * uz
        ax, ay, az = place[0] + along * ux, place[1] + along * uy, place[2] + along * uz
        rx, ry, rz = x - along * ux, y - along * uy, z - along * uz
        sx, sy, sz = uy * rz - uz * ry, uz * rx - ux * rz, ux * ry - uy * rx
        for k in range(turns.shape[0]):
            c, s = turns[k, 0], turns[k, 1]
            free = _free_space_at(
                ax + c * rx + s * sx, ay + c * ry + s * sy, az + c * rz + s * sz, R, t, K, barrier, outside_px, truncation
            )
            agreement += np.exp(-0.5 * (free / tolerance) ** 2)
            if free > 0.0:
                clash += min(free / (2.0 * reach), 1.0)
            if free > reach:
                contradicted += 1
    count = points.shape[0] * turns.shape[0]
    return agreement / count, clash / count, contradicted / count


@njit(cache=True)
def mean_skew(points, normals, place, direction, short_arm):
    """Mean sine of the angle by which (n, 3) normals miss an axis: the distance at which their lines pass it over that of the points.

    `short_arm` metres are added to the latter: near the axis a normal says little.
    """
    total = 0.0
    ux, uy, uz = direction[0], direction[1], direction[2]
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - place[0], points[i, 1] - place[1], points[i, 2] - place[2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        missed = abs((y * nz - z * ny) * ux + (z * nx - x * nz) * uy + (x * ny - y * nx) * uz)
        along = x * ux + y * uy + z * uz
        total += missed / (np.sqrt(max(x * x + y * y + z * z - along * along, 0.0)) + short_arm)
    return total / points.shape[0]


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
