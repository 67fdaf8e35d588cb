"""Compiled loops of `renderers.mesh_shadows`: shadow maps looked up at points, and the look-up's derivatives.

Of one light's maps, a view is `shares[m]`, `depths[m]` and row m of the tables: `projections` (4 x 4), `owners`, `limits`, `texels`; see
`renderers.shadow_maps.ShadowMaps`. What the four texels around a point say lies in `taps`, a row each: weight, its slopes along the map's
columns and rows, the share, how surely it is in front of the point (0 to 1: this has no gradient), the index.
"""

import numpy as np
from numba import njit

BIAS, SLOPE_BIAS = 1.0, 2.0
"""Texels by which a point must lie behind a surface to be in its shadow: any, and, on the same object, for each unit of slope."""
STEEPEST = 30.0
_WEIGHT, _ALONG, _DOWN, _SHARE, _FRONT, _INDEX = 0, 1, 2, 3, 4, 5


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _slope(positions, normals, point, light):
    """Tangent of the angle between a point's normal and the light; negative where it faces away."""
    x, y, z = light[0], light[1], light[2]
    if light[3] != 0.0:
        x, y, z = x - positions[point, 0], y - positions[point, 1], z - positions[point, 2]
    length = np.sqrt(max(x * x + y * y + z * z, 1e-24))
    cosine = (normals[point, 0] * x + normals[point, 1] * y + normals[point, 2] * z) / length
    if cosine <= 0.0:
        return -1.0
    return min(np.sqrt(max(1.0 - cosine * cosine, 0.0)) / cosine, STEEPEST)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _project(projection, positions, point):
    """(x, y, depth, w) of a point in a view."""
    x, y, z = positions[point, 0], positions[point, 1], positions[point, 2]
    return (
        projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3],
        projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3],
        projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3],
        projection[3, 0] * x + projection[3, 1] * y + projection[3, 2] * z + projection[3, 3],
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _read(shares, depths, x, y, depth, w, texel, bias, taps):
    """Fill `taps` for a point at (x, y, depth, w); how much of it is hidden."""
    size = shares.shape[0]
    u, v = (x / w + 1.0) * 0.5 * size - 0.5, (y / w + 1.0) * 0.5 * size - 0.5
    column, row = int(np.floor(u)), int(np.floor(v))
    s, t, width, hidden = u - column, v - row, texel * w, 0.0
    for tap in range(4):
        right, below = tap % 2, tap // 2
        i, j = row + below, column + right
        across, down = s if right else 1.0 - s, t if below else 1.0 - t
        taps[tap, _WEIGHT] = across * down
        taps[tap, _ALONG], taps[tap, _DOWN] = (down if right else -down), (across if below else -across)
        taps[tap, _SHARE], taps[tap, _FRONT], taps[tap, _INDEX] = 0.0, 0.0, -1.0
        if i < 0 or j < 0 or i >= size or j >= size or shares[i, j] <= 0.0:
            continue
        behind = (depth - depths[i, j]) / width - bias
        taps[tap, _SHARE], taps[tap, _INDEX] = shares[i, j], i * size + j
        taps[tap, _FRONT] = min(max(behind, 0.0), 1.0)
        hidden += across * down * taps[tap, _SHARE] * taps[tap, _FRONT]
    return hidden


@njit(nogil=True, cache=True, error_model="numpy")
def look(start, stop, positions, normals, point_owners, shares, depths, projections, owners, limits, texels, light, hidden, visible):
    """How much of points start..stop each view's object hides, and what all together leave visible."""
    taps = np.empty((4, 6))
    for point in range(start, stop):
        slope, left = _slope(positions, normals, point, light), 1.0
        for m in range(len(owners)):
            hidden[m, point] = 0.0
            x, y, depth, w = _project(projections[m], positions, point)
            if w <= 0.0 or abs(x) > limits[m] * w or abs(y) > limits[m] * w:
                continue
            own = owners[m] == point_owners[point]
            if own and slope < 0.0:
                continue
            bias = BIAS + (SLOPE_BIAS * slope if own else 0.0)
            hidden[m, point] = _read(shares[m], depths[m], x, y, depth, w, texels[m], bias, taps)
            left *= 1.0 - min(hidden[m, point], 1.0)
        visible[point] = left


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _others(hidden, m, point):
    """What the other views' objects leave visible of a point."""
    left = 1.0
    for other in range(len(hidden)):
        if other != m:
            left *= 1.0 - min(hidden[other, point], 1.0)
    return left


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _has_slope(taps):
    """Whether what a point reads changes when it or a silhouette moves: not well within one, and surely behind it."""
    certain = 0
    for tap in range(4):
        certain += taps[tap, _SHARE] == 1.0 and taps[tap, _FRONT] == 1.0
    return certain < 4


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _place_gradient(g, taps, x, y, w, size):
    """Gradient of one look-up, times g, with respect to (x, y, w)."""
    along, down = 0.0, 0.0
    for tap in range(4):
        lit = taps[tap, _SHARE] * taps[tap, _FRONT]
        along += taps[tap, _ALONG] * lit
        down += taps[tap, _DOWN] * lit
    across = 0.5 * g * size / w
    return across * along, across * down, -across * (along * x + down * y) / w


@njit(nogil=True, cache=True, error_model="numpy")
def points_gradient(
    start,
    stop,
    points_a_part,
    positions,
    normals,
    point_owners,
    shares,
    depths,
    projections,
    owners,
    limits,
    texels,
    light,
    hidden,
    gradient,
    of_positions,
    projection_parts,
):
    """Gradients of parts start..stop, of `points_a_part` points each: every point's, and sums for the projections."""
    taps, size = np.empty((4, 6)), shares.shape[1]
    for part in range(start, stop):
        for point in range(part * points_a_part, min((part + 1) * points_a_part, len(positions))):
            of_positions[point] = 0.0
            slope = _slope(positions, normals, point, light)
            for m in range(len(owners)):
                if hidden[m, point] == 0.0 or gradient[point] == 0.0:
                    continue
                x, y, depth, w = _project(projections[m], positions, point)
                bias = BIAS + (SLOPE_BIAS * slope if owners[m] == point_owners[point] else 0.0)
                _read(shares[m], depths[m], x, y, depth, w, texels[m], bias, taps)
                if not _has_slope(taps):
                    continue
                place = _place_gradient(-gradient[point] * _others(hidden, m, point), taps, x, y, w, size)
                for row, of_place in zip((0, 1, 3), place):  # noqa: B905 (numba knows no strict)
                    for column in range(3):
                        of_positions[point, column] += projections[m, row, column] * of_place
                        projection_parts[part, m, row, column] += of_place * positions[point, column]
                    projection_parts[part, m, row, 3] += of_place


@njit(nogil=True, cache=True, error_model="numpy")
def maps_gradient(
    start,
    stop,
    positions,
    normals,
    point_owners,
    shares,
    depths,
    projections,
    owners,
    limits,
    texels,
    light,
    hidden,
    gradient,
    of_shares,
):
    """Gradients of the shares of views start..stop, summed in the order of the points."""
    taps, size = np.empty((4, 6)), shares.shape[1]
    for m in range(start, stop):
        for point in range(len(positions)):
            if hidden[m, point] == 0.0 or gradient[point] == 0.0:
                continue
            x, y, depth, w = _project(projections[m], positions, point)
            slope = _slope(positions, normals, point, light)
            bias = BIAS + (SLOPE_BIAS * slope if owners[m] == point_owners[point] else 0.0)
            _read(shares[m], depths[m], x, y, depth, w, texels[m], bias, taps)
            if not _has_slope(taps):
                continue
            g = -gradient[point] * _others(hidden, m, point)
            for tap in range(4):
                if taps[tap, _INDEX] >= 0.0:
                    row, column = int(taps[tap, _INDEX]) // size, int(taps[tap, _INDEX]) % size
                    of_shares[m, row, column] += g * taps[tap, _WEIGHT] * taps[tap, _FRONT]
