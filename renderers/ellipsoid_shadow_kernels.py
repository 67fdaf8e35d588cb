"""Compiled loops of `renderers.ellipsoid_shadows`: the equations of `renderers.shading.compute_ellipsoid_shadows`, and their derivatives.

An ellipsoid is a row (centre 3, rotation 9 row by row, radii 3, largest radius, inverse radii 3); a light is a row (x, y, z, 1 at a point
or 0 in a direction). For a block of points, a light and an ellipsoid, one loop that the compiler vectorises finds how far rays pass; only
where some pass near is there more to do. Derivatives are reverse mode, written out by hand: `g_x` is the loss's with respect to x.
"""

import numpy as np
from numba import njit

BLOCK = 64
_B = BLOCK
CENTRE, ROTATION, RADII, LARGEST, INVERSE = 0, 3, 12, 15, 16
FAR = 12.0
"""Arguments of the sigmoid from which on an ellipsoid takes no light at all: what is left out, 6e-6, 16-bit images could not tell."""
# Rows of a block's scratch: positions, directions towards a light, distance to it, arguments of the sigmoid for an ellipsoid; gradients of
# the arguments, of the positions, of one light's directions and distance.
_P, _D, _END, _X, _GX, _GP, _GD, _GEND = 0, 3 * _B, 6 * _B, 7 * _B, 8 * _B, 9 * _B, 12 * _B, 15 * _B
SCRATCH = 16 * _B
_COLUMN_SUM = {"reassoc"}


@njit(nogil=True, cache=True, error_model="numpy")
def _load(s, first, last, positions):
    """Fill the rows of positions; past `last` the last point is repeated."""
    for i in range(_B):
        point = min(first + i, last - 1)
        for c in range(3):
            s[_P + c * _B + i] = positions[point, c]


@njit(nogil=True, cache=True, error_model="numpy")
def _load_directions(s, x, y, z, local):
    """Unit vectors towards a light at (x, y, z), or in direction (x, y, z) if not local, and distances (infinite if not local)."""
    for i in range(_B):
        ox, oy, oz = x - local * s[_P + i], y - local * s[_P + _B + i], z - local * s[_P + 2 * _B + i]
        distance = np.sqrt(max(ox * ox + oy * oy + oz * oz, 1e-12))
        inverse = 1.0 / distance
        s[_D + i], s[_D + _B + i], s[_D + 2 * _B + i] = ox * inverse, oy * inverse, oz * inverse
        s[_END + i] = distance if local > 0.0 else np.inf


@njit(nogil=True, cache=True, error_model="numpy")
def _measure(s, row, spread, edge):
    """Arguments of the sigmoid for one ellipsoid."""
    cx, cy, cz = row[0], row[1], row[2]
    u, v, w = row[INVERSE], row[INVERSE + 1], row[INVERSE + 2]
    ux, uy, uz = row[3] * u, row[6] * u, row[9] * u
    vx, vy, vz = row[4] * v, row[7] * v, row[10] * v
    wx, wy, wz = row[5] * w, row[8] * w, row[11] * w
    bound = 1.0 / (row[LARGEST] * row[LARGEST])
    for i in range(_B):
        ox, oy, oz = s[_P + i] - cx, s[_P + _B + i] - cy, s[_P + 2 * _B + i] - cz
        dx, dy, dz = s[_D + i], s[_D + _B + i], s[_D + 2 * _B + i]
        a0, a1, a2 = ux * ox + uy * oy + uz * oz, vx * ox + vy * oy + vz * oz, wx * ox + wy * oy + wz * oz
        b0, b1, b2 = ux * dx + uy * dy + uz * dz, vx * dx + vy * dy + vz * dz, wx * dx + wy * dy + wz * dz
        t = -(a0 * b0 + a1 * b1 + a2 * b2) / (b0 * b0 + b1 * b1 + b2 * b2)
        t = min(max(t, 0.0), s[_END + i])
        a0, a1, a2 = a0 + t * b0, a1 + t * b1, a2 + t * b2
        level_squared = a0 * a0 + a1 * a1 + a2 * a2 + 1e-12
        a0, a1, a2 = a0 * u, a1 * v, a2 * w
        slope_squared = max((a0 * a0 + a1 * a1 + a2 * a2) / level_squared, bound)
        s[_X + i] = 8.0 / np.pi * (np.sqrt(level_squared) - 1.0) / (np.sqrt(slope_squared) * (edge + spread * t))


@njit(nogil=True, cache=True, error_model="numpy")
def _any_is_near(s):
    least = s[_X]
    for i in range(1, _B):
        least = min(least, s[_X + i])
    return least < FAR


@njit(nogil=True, cache=True, error_model="numpy")
def cast(start, stop, positions, owners, ellipsoids, lights, spread, edge, out):
    """Share of each light that the points of blocks start..stop see."""
    s = np.empty(SCRATCH)
    for block in range(start, stop):
        first, last = block * _B, min(block * _B + _B, len(positions))
        _load(s, first, last, positions)
        for k in range(len(lights)):
            _load_directions(s, lights[k, 0], lights[k, 1], lights[k, 2], lights[k, 3])
            for point in range(first, last):
                out[k, point] = 1.0
            for m in range(len(ellipsoids)):
                _measure(s, ellipsoids[m], spread, edge)
                if not _any_is_near(s):
                    continue
                for point in range(first, last):
                    argument = s[_X + point - first]
                    if argument < FAR and owners[point] != m:
                        out[k, point] /= 1.0 + np.exp(-argument)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _approach_gradient(g_x, a, b, inverse, end, bound, spread, edge):
    """Gradients of one ray's argument of the sigmoid (see `_measure`), times g_x: with respect to start a and step b in units of the radii,
    to the radii (what acts through a and b left aside), to the largest radius, and to the light's distance.
    """
    per_square = 1.0 / (b[0] * b[0] + b[1] * b[1] + b[2] * b[2])
    raw = -(a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) * per_square
    t = min(max(raw, 0.0), end)
    q0, q1, q2 = a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]
    p0, p1, p2 = q0 * inverse[0], q1 * inverse[1], q2 * inverse[2]
    level = np.sqrt(q0 * q0 + q1 * q1 + q2 * q2 + 1e-12)
    per_level = 1.0 / level
    squared = (p0 * p0 + p1 * p1 + p2 * p2) * per_level * per_level
    per_slope = 1.0 / np.sqrt(max(squared, bound))
    passed, per_width = (level - 1.0) * per_slope, 1.0 / (edge + spread * t)
    g_passed = g_x * 8.0 / np.pi * per_width
    g_t = -g_passed * passed * per_width * spread
    g_slope = -g_passed * passed * per_slope
    g_squared = 0.5 * g_slope * per_slope if squared > bound else 0.0
    g_largest = 0.0 if squared > bound else -g_slope * bound
    g_weighted = 2.0 * g_squared * per_level * per_level
    g_level = (g_passed * per_slope - 2.0 * g_squared * squared * per_level) * per_level
    g0 = g_level * q0 + g_weighted * p0 * inverse[0]
    g1 = g_level * q1 + g_weighted * p1 * inverse[1]
    g2 = g_level * q2 + g_weighted * p2 * inverse[2]
    g_t += g0 * b[0] + g1 * b[1] + g2 * b[2]
    free = g_t * per_square if (raw > 0.0) & (raw < end) else 0.0
    of_a = (g0 - free * b[0], g1 - free * b[1], g2 - free * b[2])
    twice = 2.0 * t
    of_b = (t * g0 - free * (a[0] + twice * b[0]), t * g1 - free * (a[1] + twice * b[1]), t * g2 - free * (a[2] + twice * b[2]))
    of_radii = (-g_weighted * p0 * p0 * inverse[0], -g_weighted * p1 * p1 * inverse[1], -g_weighted * p2 * p2 * inverse[2])
    return of_a, of_b, of_radii, g_largest, g_t if raw >= end else 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_COLUMN_SUM)
def _ellipsoid_gradient(s, row, spread, edge, of_row):
    """Carry the gradients of a block's arguments (row _GX) to positions, directions, distances, and, summed, to the ellipsoid."""
    cx, cy, cz = row[0], row[1], row[2]
    xx, xy, xz, yx, yy, yz, zx, zy, zz = row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10], row[11]
    inverse = (row[INVERSE], row[INVERSE + 1], row[INVERSE + 2])
    u, v, w = inverse
    bound = 1.0 / (row[LARGEST] * row[LARGEST])
    r0, r1, r2, largest = 0.0, 0.0, 0.0, 0.0
    c0, c1, c2 = 0.0, 0.0, 0.0
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(_B):
        ox, oy, oz = s[_P + i] - cx, s[_P + _B + i] - cy, s[_P + 2 * _B + i] - cz
        dx, dy, dz = s[_D + i], s[_D + _B + i], s[_D + 2 * _B + i]
        a = ((xx * ox + yx * oy + zx * oz) * u, (xy * ox + yy * oy + zy * oz) * v, (xz * ox + yz * oy + zz * oz) * w)
        b = ((xx * dx + yx * dy + zx * dz) * u, (xy * dx + yy * dy + zy * dz) * v, (xz * dx + yz * dy + zz * dz) * w)
        of_a, of_b, of_radii, g_largest, g_end = _approach_gradient(s[_GX + i], a, b, inverse, s[_END + i], bound, spread, edge)
        largest += g_largest
        r0 += of_radii[0] - (of_a[0] * a[0] + of_b[0] * b[0]) * u
        r1 += of_radii[1] - (of_a[1] * a[1] + of_b[1] * b[1]) * v
        r2 += of_radii[2] - (of_a[2] * a[2] + of_b[2] * b[2]) * w
        s0, s1, s2 = of_a[0] * u, of_a[1] * v, of_a[2] * w
        d0, d1, d2 = of_b[0] * u, of_b[1] * v, of_b[2] * w
        g0, g1, g2 = xx * s0 + xy * s1 + xz * s2, yx * s0 + yy * s1 + yz * s2, zx * s0 + zy * s1 + zz * s2
        s[_GP + i] += g0
        s[_GP + _B + i] += g1
        s[_GP + 2 * _B + i] += g2
        s[_GD + i] += xx * d0 + xy * d1 + xz * d2
        s[_GD + _B + i] += yx * d0 + yy * d1 + yz * d2
        s[_GD + 2 * _B + i] += zx * d0 + zy * d1 + zz * d2
        s[_GEND + i] += g_end
        c0, c1, c2 = c0 + g0, c1 + g1, c2 + g2
        m0, m1, m2 = m0 + ox * s0 + dx * d0, m1 + ox * s1 + dx * d1, m2 + ox * s2 + dx * d2
        m3, m4, m5 = m3 + oy * s0 + dy * d0, m4 + oy * s1 + dy * d1, m5 + oy * s2 + dy * d2
        m6, m7, m8 = m6 + oz * s0 + dz * d0, m7 + oz * s1 + dz * d1, m8 + oz * s2 + dz * d2
    for index, value in enumerate((-c0, -c1, -c2, m0, m1, m2, m3, m4, m5, m6, m7, m8, r0, r1, r2)):
        of_row[index] += value
    ties = 0
    for c in range(3):
        ties += row[RADII + c] == row[LARGEST]
    for c in range(3):
        if row[RADII + c] == row[LARGEST]:
            of_row[RADII + c] += largest / ties


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_COLUMN_SUM)
def _light_gradient(s, local, of_light):
    """Carry the gradients of a block's directions and distances to the light and, if it is local, to the positions; and clear them."""
    x, y, z = 0.0, 0.0, 0.0
    for i in range(_B):
        dx, dy, dz = s[_D + i], s[_D + _B + i], s[_D + 2 * _B + i]
        gx, gy, gz, g_end = s[_GD + i], s[_GD + _B + i], s[_GD + 2 * _B + i], s[_GEND + i]
        along, inverse = gx * dx + gy * dy + gz * dz, 1.0 / s[_END + i]
        if local > 0.0:
            gx, gy, gz = (
                (gx - along * dx) * inverse + g_end * dx,
                (gy - along * dy) * inverse + g_end * dy,
                (gz - along * dz) * inverse + g_end * dz,
            )
        s[_GP + i] -= local * gx
        s[_GP + _B + i] -= local * gy
        s[_GP + 2 * _B + i] -= local * gz
        x, y, z = x + gx, y + gy, z + gz
    of_light[0] += x
    of_light[1] += y
    of_light[2] += z
    s[_GD : _GEND + _B] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _find_shares(s, first, last, owners, ellipsoids, spread, edge, chosen, shares):
    """What of one light each of the ellipsoids that matter to a block leaves to its points; their number."""
    count = 0
    for m in range(len(ellipsoids)):
        _measure(s, ellipsoids[m], spread, edge)
        if not _any_is_near(s):
            continue
        for i in range(last - first):
            argument = s[_X + i]
            near = argument < FAR and owners[first + i] != m
            shares[count, i] = 1.0 / (1.0 + np.exp(-argument)) if near else 1.0
        chosen[count] = m
        count += 1
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def cast_gradient(
    start, stop, blocks_a_part, positions, owners, ellipsoids, lights, spread, edge, gradient, of_positions, ellipsoid_parts, light_parts
):
    """Gradients of parts start..stop, of `blocks_a_part` blocks each: every point's, and sums for the ellipsoids' rows and the lights."""
    s, blocks = np.zeros(SCRATCH), (len(positions) + _B - 1) // _B
    chosen, shares, weight = np.empty(len(ellipsoids), np.int64), np.ones((len(ellipsoids), _B)), np.zeros(_B)
    for part in range(start, stop):
        for block in range(part * blocks_a_part, min((part + 1) * blocks_a_part, blocks)):
            first, last = block * _B, min(block * _B + _B, len(positions))
            _load(s, first, last, positions)
            s[_GP : _GP + 3 * _B] = 0.0
            for k in range(len(lights)):
                _load_directions(s, lights[k, 0], lights[k, 1], lights[k, 2], lights[k, 3])
                count = _find_shares(s, first, last, owners, ellipsoids, spread, edge, chosen, shares)
                if count == 0:
                    continue
                for i in range(_B):
                    weight[i] = gradient[k, first + i] if first + i < last else 0.0
                    for index in range(count):
                        weight[i] *= shares[index, i]
                for index in range(count):
                    for i in range(_B):
                        s[_GX + i] = weight[i] * (1.0 - shares[index, i])
                    _ellipsoid_gradient(s, ellipsoids[chosen[index]], spread, edge, ellipsoid_parts[part, chosen[index]])
                _light_gradient(s, lights[k, 3], light_parts[part, k])
            for point in range(first, last):
                for c in range(3):
                    of_positions[point, c] = s[_GP + c * _B + point - first]
