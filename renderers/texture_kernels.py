"""Compiled loops of `renderers.textures`: bilinear look-up at scattered points of a mesh, and its gradients."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _corner_pair(coordinate, size):
    """The two texels around a texture coordinate, wrapped into the image, and the weight of the second."""
    position = coordinate * size - 0.5
    floor = np.floor(position)
    first = int(floor) % size
    return first, first + 1 if first + 1 < size else 0, position - floor


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _coordinates(uv, triangle, a, b):
    """Texture coordinates of the point with weights a and b of its triangle's first two corners."""
    c = 1.0 - a - b
    u = a * uv[triangle, 0, 0] + b * uv[triangle, 1, 0] + c * uv[triangle, 2, 0]
    v = a * uv[triangle, 0, 1] + b * uv[triangle, 1, 1] + c * uv[triangle, 2, 1]
    return u, v


@njit(nogil=True, cache=True, error_model="numpy")
def look_up(start, stop, chosen, weights, triangles, first_triangle, uv, image, out):
    """Write the texture's colour to `out` at the points chosen[start..stop]."""
    rows, columns = image.shape[0], image.shape[1]
    for index in range(start, stop):
        point = chosen[index]
        u, v = _coordinates(uv, triangles[point] - first_triangle, weights[point, 0], weights[point, 1])
        left, right, s = _corner_pair(u, columns)
        top, bottom, t = _corner_pair(v, rows)
        for channel in range(3):
            above = image[top, left, channel] * (1.0 - s) + image[top, right, channel] * s
            below = image[bottom, left, channel] * (1.0 - s) + image[bottom, right, channel] * s
            out[point, channel] = above * (1.0 - t) + below * t


@njit(nogil=True, cache=True, error_model="numpy")
def look_up_gradient(chosen, weights, triangles, first_triangle, uv, image, gradient, weights_gradient, uv_gradient, image_gradient):
    """Gradient with respect to the points' weights, and, summed in the order of the points, to coordinates and texels."""
    rows, columns = image.shape[0], image.shape[1]
    for index in range(len(chosen)):
        point = chosen[index]
        triangle, a, b = triangles[point] - first_triangle, weights[point, 0], weights[point, 1]
        u, v = _coordinates(uv, triangle, a, b)
        left, right, s = _corner_pair(u, columns)
        top, bottom, t = _corner_pair(v, rows)
        g_u, g_v = 0.0, 0.0
        for channel in range(3):
            g = gradient[point, channel]
            image_gradient[top, left, channel] += g * (1.0 - s) * (1.0 - t)
            image_gradient[top, right, channel] += g * s * (1.0 - t)
            image_gradient[bottom, left, channel] += g * (1.0 - s) * t
            image_gradient[bottom, right, channel] += g * s * t
            first, second = image[top, left, channel], image[top, right, channel]
            third, fourth = image[bottom, left, channel], image[bottom, right, channel]
            g_u += g * ((second - first) * (1.0 - t) + (fourth - third) * t) * columns
            g_v += g * ((third - first) * (1.0 - s) + (fourth - second) * s) * rows
        for corner, weight in enumerate((1.0 * a, 1.0 * b, 1.0 - a - b)):
            uv_gradient[triangle, corner, 0] += weight * g_u
            uv_gradient[triangle, corner, 1] += weight * g_v
        weights_gradient[point, 0] = g_u * (uv[triangle, 0, 0] - uv[triangle, 2, 0]) + g_v * (uv[triangle, 0, 1] - uv[triangle, 2, 1])
        weights_gradient[point, 1] = g_u * (uv[triangle, 1, 0] - uv[triangle, 2, 0]) + g_v * (uv[triangle, 1, 1] - uv[triangle, 2, 1])
