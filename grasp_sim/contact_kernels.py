"""Compiled loops of the candidate search: rays against triangles, points against a hand's primitives."""

import numpy as np
from numba import njit, prange

BOX, CYLINDER, SPHERE = 0, 1, 2


@njit(cache=True)
def _ray_triangle(origin, direction, corners):
    """Distance along the ray to the triangle, -1 where it misses (Moeller and Trumbore 1997)."""
    e10, e11, e12 = corners[1, 0] - corners[0, 0], corners[1, 1] - corners[0, 1], corners[1, 2] - corners[0, 2]
    e20, e21, e22 = corners[2, 0] - corners[0, 0], corners[2, 1] - corners[0, 1], corners[2, 2] - corners[0, 2]
    p0 = direction[1] * e22 - direction[2] * e21
    p1 = direction[2] * e20 - direction[0] * e22
    p2 = direction[0] * e21 - direction[1] * e20
    determinant = e10 * p0 + e11 * p1 + e12 * p2
    if abs(determinant) < 1e-18:
        return -1.0
    t0, t1, t2 = origin[0] - corners[0, 0], origin[1] - corners[0, 1], origin[2] - corners[0, 2]
    u = (t0 * p0 + t1 * p1 + t2 * p2) / determinant
    if u < 0.0 or u > 1.0:
        return -1.0
    q0 = t1 * e12 - t2 * e11
    q1 = t2 * e10 - t0 * e12
    q2 = t0 * e11 - t1 * e10
    v = (direction[0] * q0 + direction[1] * q1 + direction[2] * q2) / determinant
    if v < 0.0 or u + v > 1.0:
        return -1.0
    return (e20 * q0 + e21 * q1 + e22 * q2) / determinant


@njit(parallel=True, cache=True)
def cast_rays(origins, directions, corners, normals, minimum):
    """First and last face that each ray leaves the solid through, and how far along: (r,), (r,), (r,), (r,).

    `corners` is (f, 3, 3), `normals` (f, 3) outward, of any length; hits nearer than `minimum` are the surface that the
    ray starts on. A face is -1 and its distance infinite where there is none.
    """
    rays = len(origins)
    first, last = np.full(rays, -1, np.int64), np.full(rays, -1, np.int64)
    first_distance, last_distance = np.full(rays, np.inf), np.full(rays, np.inf)
    for ray in prange(rays):
        nearest, farthest = np.inf, -np.inf
        for face in range(len(corners)):
            facing = normals[face, 0] * directions[ray, 0] + normals[face, 1] * directions[ray, 1] + normals[face, 2] * directions[ray, 2]
            if facing <= 0.0:
                continue
            distance = _ray_triangle(origins[ray], directions[ray], corners[face])
            if distance <= minimum:
                continue
            if distance < nearest:
                nearest, first[ray] = distance, face
            if distance > farthest:
                farthest, last[ray] = distance, face
        if first[ray] >= 0:
            first_distance[ray], last_distance[ray] = nearest, farthest
    return first, first_distance, last, last_distance


@njit(cache=True)
def _outside_distance(kind, size, x, y, z):
    """How far a point (shape frame) is outside a primitive, metres; negative inside."""
    if kind == SPHERE:
        return np.sqrt(x * x + y * y + z * z) - size[0]
    if kind == CYLINDER:
        radial, axial = np.sqrt(x * x + y * y) - size[0], abs(z) - size[2]
        if radial <= 0.0 or axial <= 0.0:
            return max(radial, axial)
        return np.sqrt(radial * radial + axial * axial)
    dx, dy, dz = abs(x) - size[0], abs(y) - size[1], abs(z) - size[2]
    if dx <= 0.0 and dy <= 0.0 and dz <= 0.0:
        return max(dx, dy, dz)
    return np.sqrt(max(dx, 0.0) ** 2 + max(dy, 0.0) ** 2 + max(dz, 0.0) ** 2)


@njit(parallel=True, cache=True)
def hand_touches(T_hand_world, T_hand_shape, T_shape_hand, kinds, sizes, points, retreats, reach, clearance):
    """Whether any point comes nearer than `clearance` (m) to the hand on its way in, for each of n hand poses.

    `T_hand_world` (n, 4, 4); `T_hand_shape` and its inverse (n, s, 4, 4), `kinds` (s,), `sizes` (s, 3) the hand's shapes; `points`
    (p, 3) world frame; `retreats` (r,) distances back along the hand's z at which it is looked at; `reach` a radius about the hand
    frame's origin beyond which points cannot matter.
    """
    radii = np.empty(len(kinds))
    for shape in range(len(kinds)):
        size = sizes[shape]
        radii[shape] = size[0] if kinds[shape] == SPHERE else np.sqrt(size[0] ** 2 + size[1] ** 2 * (kinds[shape] == BOX) + size[2] ** 2)
    touches = np.zeros(len(T_hand_world), np.bool_)
    for pose in prange(len(T_hand_world)):
        T = T_hand_world[pose]
        for point in range(len(points)):
            x0, y0, z0 = points[point, 0], points[point, 1], points[point, 2]
            hx = T[0, 0] * x0 + T[0, 1] * y0 + T[0, 2] * z0 + T[0, 3]
            hy = T[1, 0] * x0 + T[1, 1] * y0 + T[1, 2] * z0 + T[1, 3]
            hz = T[2, 0] * x0 + T[2, 1] * y0 + T[2, 2] * z0 + T[2, 3]
            if hx * hx + hy * hy + hz * hz > reach * reach:
                continue
            for shape in range(len(kinds)):
                centre = T_hand_shape[pose, shape]
                near = (radii[shape] + clearance) ** 2
                sideways = (hx - centre[0, 3]) ** 2 + (hy - centre[1, 3]) ** 2
                if sideways > near:
                    continue
                S = T_shape_hand[pose, shape]
                for retreat in retreats:
                    z1 = hz + retreat
                    if sideways + (z1 - centre[2, 3]) ** 2 > near:
                        continue
                    x = S[0, 0] * hx + S[0, 1] * hy + S[0, 2] * z1 + S[0, 3]
                    y = S[1, 0] * hx + S[1, 1] * hy + S[1, 2] * z1 + S[1, 3]
                    z = S[2, 0] * hx + S[2, 1] * hy + S[2, 2] * z1 + S[2, 3]
                    if _outside_distance(kinds[shape], sizes[shape], x, y, z) <= clearance:
                        touches[pose] = True
                        break
                if touches[pose]:
                    break
            if touches[pose]:
                break
    return touches


@njit(cache=True)
def keep_distinct(positions, rotations, radius, cosine, limit):
    """Indices of the poses, in the given order, that are not near (in place and in turn) one that was kept before."""
    kept = np.empty(limit, np.int64)
    count = 0
    for candidate in range(len(positions)):
        distinct = True
        for k in range(count):
            other = kept[k]
            offset = positions[candidate] - positions[other]
            if np.dot(offset, offset) < radius * radius:
                trace = np.sum(rotations[candidate] * rotations[other])
                if (trace - 1.0) / 2.0 > cosine:
                    distinct = False
                    break
        if distinct:
            kept[count] = candidate
            count += 1
            if count == limit:
                break
    return kept[:count]
