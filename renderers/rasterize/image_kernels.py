"""Compiled loops over pixels: interpolation of vertex attributes and texture look-up, with their gradients."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def interpolate(start, stop, attributes, bases, faces, buffer, id_image, out):
    """Weighted corner attributes of rows start..stop (counted over all items); zero where nothing is drawn."""
    height, width, channels = out.shape[1], out.shape[2], out.shape[3]
    for line in range(start, stop):
        item, row = line // height, line % height
        base = bases[item]
        for column in range(width):
            face = id_image[item, row, column]
            if face < 0:
                for channel in range(channels):
                    out[item, row, column, channel] = 0.0
                continue
            u, v = buffer[item, row, column, 0], buffer[item, row, column, 1]
            t = 1.0 - u - v
            i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
            for channel in range(channels):
                out[item, row, column, channel] = u * attributes[i, channel] + v * attributes[j, channel] + t * attributes[k, channel]


@njit(nogil=True, cache=True, error_model="numpy")
def interpolate_groups(start, stop, attributes, base, faces, weights, pixels, starts, triangles, out):
    """Weighted corner attributes of the pixels of visible triangles start..stop of one item, in the order of the groups."""
    for t in range(start, stop):
        face = triangles[t]
        i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
        for position in range(starts[t], starts[t + 1]):
            u, v = weights[pixels[position], 0], weights[pixels[position], 1]
            w = 1.0 - u - v
            for channel in range(out.shape[1]):
                out[position, channel] = u * attributes[i, channel] + v * attributes[j, channel] + w * attributes[k, channel]


@njit(nogil=True, cache=True, error_model="numpy")
def interpolate_gradient(
    start, stop, attributes, base, faces, weights, pixels, slots, starts, triangles, gradient, corners, weights_gradient
):
    """Gradient of one item with respect to visible triangles' corner attributes, corners[t] (3, c), and to u and v of their pixels.

    The gradient of pixels[position] is in row slots[position].
    """
    channels = gradient.shape[1]
    for t in range(start, stop):
        face = triangles[t]
        i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
        corners[t] = 0.0
        for position in range(starts[t], starts[t + 1]):
            pixel, slot = pixels[position], slots[position]
            u, v = weights[pixel, 0], weights[pixel, 1]
            w = 1.0 - u - v
            g_u, g_v = 0.0, 0.0
            for channel in range(channels):
                g = gradient[slot, channel]
                corners[t, 0, channel] += u * g
                corners[t, 1, channel] += v * g
                corners[t, 2, channel] += w * g
                g_u += g * (attributes[i, channel] - attributes[k, channel])
                g_v += g * (attributes[j, channel] - attributes[k, channel])
            weights_gradient[pixel, 0] = g_u
            weights_gradient[pixel, 1] = g_v


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _texel(position, size, wraps):
    """The two texels around a coordinate (in texels, centres at integers) and the weight of the second."""
    floor = np.floor(position)
    first = int(floor)
    second = first + 1
    if wraps:
        first, second = first % size, second % size
    else:
        first, second = min(max(first, 0), size - 1), min(max(second, 0), size - 1)
    return first, second, position - floor


@njit(nogil=True, cache=True, error_model="numpy")
def sample_texture(start, stop, texture, uv, wraps, out):
    """Bilinear look-up for rows start..stop (counted over all items). uv (0, 0) is the texture's outer corner, (1, 1) the opposite one."""
    height, width, channels = out.shape[1], out.shape[2], out.shape[3]
    rows, columns = texture.shape[1], texture.shape[2]
    for line in range(start, stop):
        item, row = line // height, line % height
        source = texture[item % texture.shape[0]]
        for column in range(width):
            left, right, s = _texel(uv[item, row, column, 0] * columns - 0.5, columns, wraps)
            top, bottom, t = _texel(uv[item, row, column, 1] * rows - 0.5, rows, wraps)
            for channel in range(channels):
                above = source[top, left, channel] * (1.0 - s) + source[top, right, channel] * s
                below = source[bottom, left, channel] * (1.0 - s) + source[bottom, right, channel] * s
                out[item, row, column, channel] = above * (1.0 - t) + below * t


@njit(nogil=True, cache=True, error_model="numpy")
def sample_texture_gradient(texture, uv, wraps, gradient, texture_gradient, uv_gradient):
    """Gradient of the look-up with respect to texels (summed in pixel order) and to uv."""
    rows, columns = texture.shape[1], texture.shape[2]
    for item in range(gradient.shape[0]):
        source, sums = texture[item % texture.shape[0]], texture_gradient[item % texture.shape[0]]
        for row in range(gradient.shape[1]):
            for column in range(gradient.shape[2]):
                left, right, s = _texel(uv[item, row, column, 0] * columns - 0.5, columns, wraps)
                top, bottom, t = _texel(uv[item, row, column, 1] * rows - 0.5, rows, wraps)
                g_s, g_t = 0.0, 0.0
                for channel in range(gradient.shape[3]):
                    g = gradient[item, row, column, channel]
                    sums[top, left, channel] += g * (1.0 - s) * (1.0 - t)
                    sums[top, right, channel] += g * s * (1.0 - t)
                    sums[bottom, left, channel] += g * (1.0 - s) * t
                    sums[bottom, right, channel] += g * s * t
                    a, b = source[top, left, channel], source[top, right, channel]
                    c, d = source[bottom, left, channel], source[bottom, right, channel]
                    g_s += g * ((b - a) * (1.0 - t) + (d - c) * t)
                    g_t += g * ((c - a) * (1.0 - s) + (d - b) * s)
                uv_gradient[item, row, column, 0] = g_s * columns
                uv_gradient[item, row, column, 1] = g_t * rows
