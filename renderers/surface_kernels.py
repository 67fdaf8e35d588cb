"""Compiled loops of `renderers.compiled_surface`: vertices to the world and the camera, what pixels see of the triangles, and gradients.

With corner k of a triangle at clip coordinates p_k = (x, y, w), edge function k is `E_k = (p_k+1 x p_k+2) . (X, Y, 1)` at a pixel whose
normalised device coordinates are X and Y, and the perspective-correct weights are `E_k / (E_0 + E_1 + E_2)` (see
`renderers.rasterize.raster_kernels`). Everything is computed in float64; sums have one order, whatever the number of threads.
"""

import numpy as np
from numba import njit

from renderers.rasterize.raster_kernels import add_edge_gradient, edge_through, weights_at

_SHORTEST = 1e-20
POINT = 9
"""A corner's gradients: world position (3), normal (3), clip x, y and w (3), then the attributes."""


@njit(nogil=True, cache=True, error_model="numpy")
def place_vertices(start, stop, vertices, owners_end, poses, clip_from_world, world, clip):
    """World positions and clip coordinates of vertices start..stop; those of object k end before owners_end[k]."""
    owner = 0
    for i in range(start, stop):
        while owners_end[owner] <= i:
            owner += 1
        for a in range(3):
            rotated = poses[owner, a, 0] * vertices[i, 0] + poses[owner, a, 1] * vertices[i, 1] + poses[owner, a, 2] * vertices[i, 2]
            world[i, a] = rotated + poses[owner, a, 3]
        for r in range(4):
            row = clip_from_world[r]
            clip[i, r] = row[0] * world[i, 0] + row[1] * world[i, 1] + row[2] * world[i, 2] + row[3]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _mixed_normal(normals, i, j, k, u, v, t):
    """The weighted normal, unit length, and the inverse of the length it had."""
    x = u * normals[i, 0] + v * normals[j, 0] + t * normals[k, 0]
    y = u * normals[i, 1] + v * normals[j, 1] + t * normals[k, 1]
    z = u * normals[i, 2] + v * normals[j, 2] + t * normals[k, 2]
    inverse = 1.0 / max(np.sqrt(x * x + y * y + z * z), _SHORTEST)
    return x * inverse, y * inverse, z * inverse, inverse


@njit(nogil=True, cache=True, error_model="numpy")
def sample_surface(
    start, stop, size, faces, sides, clip, world, normals, attributes, pixels, starts, triangles, points, directions, depth, values, shares
):
    """What the pixels of visible triangles start..stop see.

    World position, unit normal towards the camera, depth, attributes, and the weights of the first two corners; in the order of `pixels`.
    """
    height, width = size
    for group in range(start, stop):
        face = triangles[group]
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        edge_0, edge_1, edge_2 = edge_through(clip, j, k), edge_through(clip, k, i), edge_through(clip, i, j)
        towards = -1.0 if sides[face] > 0 else 1.0
        for n in range(starts[group], starts[group + 1]):
            row = pixels[n] // width
            x, y = (pixels[n] - row * width + 0.5) * (2.0 / width) - 1.0, (row + 0.5) * (2.0 / height) - 1.0
            u, v, t, _ = weights_at(edge_0, edge_1, edge_2, x, y)
            for a in range(3):
                points[n, a] = u * world[i, a] + v * world[j, a] + t * world[k, a]
            nx, ny, nz, _ = _mixed_normal(normals, i, j, k, u, v, t)
            directions[n, 0], directions[n, 1], directions[n, 2] = towards * nx, towards * ny, towards * nz
            depth[n] = u * clip[i, 3] + v * clip[j, 3] + t * clip[k, 3]
            for c in range(values.shape[1]):
                values[n, c] = u * attributes[i, c] + v * attributes[j, c] + t * attributes[k, c]
            shares[n, 0], shares[n, 1] = u, v


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _add_to_corners(sums, column, u, v, t, g):
    """Add one channel's gradient at a pixel to those of the triangle's corners."""
    sums[0, column] += u * g
    sums[1, column] += v * g
    sums[2, column] += t * g


@njit(nogil=True, cache=True, error_model="numpy")
def sample_gradient(
    start, stop, size, faces, sides, clip, world, normals, attributes, pixels, starts, triangles,
    g_points, g_directions, g_depth, g_values, g_shares, corners,
):  # fmt: skip
    """Gradients of visible triangles start..stop with respect to their corners: rows of corners[group], see `POINT`."""
    height, width = size
    sums = np.empty(corners.shape[1:])
    for group in range(start, stop):
        face = triangles[group]
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        edge_0, edge_1, edge_2 = edge_through(clip, j, k), edge_through(clip, k, i), edge_through(clip, i, j)
        towards = -1.0 if sides[face] > 0 else 1.0
        sums[:] = 0.0
        x0, y0, s0, x1, y1, s1, x2, y2, s2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for n in range(starts[group], starts[group + 1]):
            row = pixels[n] // width
            x, y = (pixels[n] - row * width + 0.5) * (2.0 / width) - 1.0, (row + 0.5) * (2.0 / height) - 1.0
            u, v, t, inverse = weights_at(edge_0, edge_1, edge_2, x, y)
            g = np.float64(g_depth[n])
            g_u, g_v, g_t = g * clip[i, 3] + g_shares[n, 0], g * clip[j, 3] + g_shares[n, 1], g * clip[k, 3]
            _add_to_corners(sums, 8, u, v, t, g)
            direction = _mixed_normal(normals, i, j, k, u, v, t)
            along = g_directions[n, 0] * direction[0] + g_directions[n, 1] * direction[1] + g_directions[n, 2] * direction[2]
            for a in range(3):
                g = np.float64(g_points[n, a])
                g_u, g_v, g_t = g_u + g * world[i, a], g_v + g * world[j, a], g_t + g * world[k, a]
                _add_to_corners(sums, a, u, v, t, g)
                g = towards * direction[3] * (g_directions[n, a] - along * direction[a])
                g_u, g_v, g_t = g_u + g * normals[i, a], g_v + g * normals[j, a], g_t + g * normals[k, a]
                _add_to_corners(sums, 3 + a, u, v, t, g)
            for c in range(attributes.shape[1]):
                g = np.float64(g_values[n, c])
                g_u, g_v, g_t = g_u + g * attributes[i, c], g_v + g * attributes[j, c], g_t + g * attributes[k, c]
                _add_to_corners(sums, POINT + c, u, v, t, g)
            mean = u * g_u + v * g_v + t * g_t
            g0, g1, g2 = (g_u - mean) * inverse, (g_v - mean) * inverse, (g_t - mean) * inverse
            x0, y0, s0 = x0 + g0 * x, y0 + g0 * y, s0 + g0
            x1, y1, s1 = x1 + g1 * x, y1 + g1 * y, s1 + g1
            x2, y2, s2 = x2 + g2 * x, y2 + g2 * y, s2 + g2
        add_edge_gradient(sums, 6, 7, 8, clip, 1, 2, j, k, x0, y0, s0)
        add_edge_gradient(sums, 6, 7, 8, clip, 2, 0, k, i, x1, y1, s1)
        add_edge_gradient(sums, 6, 7, 8, clip, 0, 1, i, j, x2, y2, s2)
        corners[group] = sums


@njit(nogil=True, cache=True, error_model="numpy")
def place_gradient(start, stop, vertices, owners_end, poses, clip_from_world, world, sums, g_clip, g_vertices, g_poses, g_matrices):
    """Gradients of the vertices of objects start..stop, of their poses, and each object's part of that of `clip_from_world`.

    `sums` has the gradients of world positions and of clip x, y, w (columns 0 to 2 and 6 to 8), `g_clip` more of those of clip coordinates.
    """
    for owner in range(start, stop):
        pose, of_pose, of_matrix = poses[owner], g_poses[owner], g_matrices[owner]
        for i in range(owners_end[owner - 1] if owner else 0, owners_end[owner]):
            c0, c1, c2, c3 = sums[i, 6] + g_clip[i, 0], sums[i, 7] + g_clip[i, 1], g_clip[i, 2], sums[i, 8] + g_clip[i, 3]
            of_clip = (c0, c1, c2, c3)
            x, y, z = sums[i, 0], sums[i, 1], sums[i, 2]
            for r in range(4):
                g, row = of_clip[r], clip_from_world[r]
                x, y, z = x + g * row[0], y + g * row[1], z + g * row[2]
                for b in range(3):
                    of_matrix[r, b] += g * world[i, b]
                of_matrix[r, 3] += g
            of_world = (x, y, z)
            for a in range(3):
                for b in range(3):
                    of_pose[a, b] += of_world[a] * vertices[i, b]
                of_pose[a, 3] += of_world[a]
                g_vertices[i, a] = x * pose[0, a] + y * pose[1, a] + z * pose[2, a]
