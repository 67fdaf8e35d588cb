"""Compiled loops of the convex decomposition: what a plane would leave of a surface on either side."""

import numpy as np
from numba import njit


@njit(cache=True)
def _volume(a, b, c):
    """Signed volume of the tetrahedron of three points (3,) and the origin, times 6."""
    return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])


@njit(cache=True)
def _stretch(point, directions, reach, extreme):
    """Makes a point (3,) the extreme one in every direction (d, 3) in which it lies further out than `reach` (d,) so far."""
    for k in range(len(directions)):
        along = directions[k, 0] * point[0] + directions[k, 1] * point[1] + directions[k, 2] * point[2]
        if along > reach[k]:
            reach[k] = along
            extreme[k, 0], extreme[k, 1], extreme[k, 2] = point[0], point[1], point[2]


@njit(cache=True)
def _hull_volume(extreme, sphere_faces):
    """Volume within the extreme points of directions (d, 3) that a triangulated sphere's corners (f, 3) are: of the hull, from below."""
    total = 0.0
    for face in sphere_faces:
        total += _volume(extreme[face[0]], extreme[face[1]], extreme[face[2]])
    return total / 6.0


@njit(cache=True)
def _volume_above(vertices, height, faces, apex):
    """Volume of the closed surface's part with positive `height` (v,), `apex` (3,) being a point of height 0: caps add nothing then."""
    total = 0.0
    for face in faces:
        above = 0
        for corner in face:
            above += height[corner] > 0.0
        if above == 0:
            continue
        turn = 0
        if above < 3:  # turns the corners until the one that is alone on its side is the first
            while (height[face[turn]] > 0.0) != (above == 1):
                turn += 1
        i, j, k = face[turn], face[(turn + 1) % 3], face[(turn + 2) % 3]
        a, b, c = vertices[i] - apex, vertices[j] - apex, vertices[k] - apex
        if above == 3:
            total += _volume(a, b, c)
            continue
        ab = a + (b - a) * (height[i] / (height[i] - height[j]))
        ac = a + (c - a) * (height[i] / (height[i] - height[k]))
        total += _volume(a, ab, ac) if above == 1 else _volume(ab, b, c) + _volume(ab, c, ac)
    return total / 6.0


@njit(cache=True)
def estimate_cuts(vertices, faces, edges, normals, offsets, directions, sphere_faces):
    """For each plane `normal . x = offset` the hull volumes above and below it (p, 2), and the solid's volume above it (p,).

    `vertices` (v, 3), `faces` (f, 3) and `edges` (e, 2) are a closed surface. Hulls are spanned by the extreme points in `directions`
    (d, 3), the corners of a sphere with the triangles `sphere_faces`, and so come out a little small.
    """
    hulls = np.zeros((len(normals), 2))
    above = np.zeros(len(normals))
    extreme = np.zeros((2, len(directions), 3))
    for plane in range(len(normals)):
        normal = normals[plane]
        height = vertices @ normal - offsets[plane]
        apex = normal * (offsets[plane] / (normal @ normal))
        reach = np.full((2, len(directions)), -np.inf)
        for k in range(len(vertices)):
            side = 0 if height[k] > 0.0 else 1
            _stretch(vertices[k] - apex, directions, reach[side], extreme[side])
        for first, second in edges:
            if (height[first] > 0.0) != (height[second] > 0.0):
                share = height[first] / (height[first] - height[second])
                crossing = vertices[first] + share * (vertices[second] - vertices[first]) - apex
                for side in range(2):
                    _stretch(crossing, directions, reach[side], extreme[side])
        for side in range(2):
            hulls[plane, side] = _hull_volume(extreme[side], sphere_faces) if np.isfinite(reach[side, 0]) else 0.0
        above[plane] = _volume_above(vertices, height, faces, apex)
    return hulls, above
