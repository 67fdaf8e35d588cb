"""Compiled loops of `renderers.vertex_normals`. Faces are worked through in ascending order, so sums have the same bits every time."""

import numpy as np
from numba import njit

_SHORTEST = 1e-20


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _difference(points, j, i):
    return points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]


@njit(nogil=True, cache=True, error_model="numpy")
def sum_normals(points, faces, sums):
    """Add every face's cross product to its three corners."""
    for face in range(len(faces)):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        normal = _cross(_difference(points, j, i), _difference(points, k, i))
        for axis in range(3):
            sums[i, axis] += normal[axis]
            sums[j, axis] += normal[axis]
            sums[k, axis] += normal[axis]


@njit(nogil=True, cache=True, error_model="numpy")
def normalise(vectors, lengths):
    """Scale vectors to unit length in place; write the lengths that they had."""
    for i in range(len(vectors)):
        length = np.sqrt(vectors[i, 0] ** 2 + vectors[i, 1] ** 2 + vectors[i, 2] ** 2)
        lengths[i] = max(length, _SHORTEST)
        for axis in range(3):
            vectors[i, axis] /= lengths[i]


@njit(nogil=True, cache=True, error_model="numpy")
def normalise_gradient(units, lengths, gradient):
    """Turn the gradient with respect to the unit vectors into that with respect to the vectors, in place."""
    for i in range(len(units)):
        along = gradient[i, 0] * units[i, 0] + gradient[i, 1] * units[i, 1] + gradient[i, 2] * units[i, 2]
        for axis in range(3):
            gradient[i, axis] = (gradient[i, axis] - along * units[i, axis]) / lengths[i]


@njit(nogil=True, cache=True, error_model="numpy")
def sum_normals_gradient(points, faces, gradient, out):
    """Add to `out` the gradient with respect to the points, given that with respect to the sums."""
    for face in range(len(faces)):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        g = (
            gradient[i, 0] + gradient[j, 0] + gradient[k, 0],
            gradient[i, 1] + gradient[j, 1] + gradient[k, 1],
            gradient[i, 2] + gradient[j, 2] + gradient[k, 2],
        )
        of_j, of_k = _cross(_difference(points, k, i), g), _cross(g, _difference(points, j, i))
        for axis in range(3):
            out[j, axis] += of_j[axis]
            out[k, axis] += of_k[axis]
            out[i, axis] -= of_j[axis] + of_k[axis]
