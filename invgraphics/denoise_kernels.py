"""The compiled loop of the depth filter."""

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True)
def fit_local_planes(values, guide, colour, valid, wanted, radius, spread, colour_spread, value_spread):
    """At each wanted pixel the value of the plane that fits the neighbours best which are near, alike in colour and near in the guide.

    Args:
        values, guide: (h, w) inverse depths, 1/m; planes are linear in pixels. The guide tells which neighbours belong to the same surface.
        colour: (h, w, 3).
        valid, wanted: (h, w) bool: pixels with a value, and those of them that are to be smoothed.
        radius: of the neighbourhood, pixels.
        spread, colour_spread, value_spread: standard deviations of the weights over pixels, colour and inverse depth.

    Returns:
        (h, w), `values` at other pixels and where fewer than three neighbours count.
    """
    height, width = values.shape
    smooth = values.copy()
    size = 2 * radius + 1
    nearness = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            nearness[i, j] = np.exp(-0.5 * ((i - radius) ** 2 + (j - radius) ** 2) / spread**2)
    for row in prange(height):
        for column in range(width):
            if not wanted[row, column]:
                continue
            sw = su = sv = suu = suv = svv = sz = suz = svz = 0.0
            for i in range(max(0, row - radius), min(height, row + radius + 1)):
                for j in range(max(0, column - radius), min(width, column + radius + 1)):
                    if not valid[i, j]:
                        continue
                    difference = (guide[i, j] - guide[row, column]) / value_spread
                    unlike = difference * difference
                    for channel in range(3):
                        difference = (colour[i, j, channel] - colour[row, column, channel]) / colour_spread
                        unlike += difference * difference
                    if unlike > 18.0:
                        continue
                    weight = nearness[i - row + radius, j - column + radius] * np.exp(-0.5 * unlike)
                    u, v, z = j - column, i - row, values[i, j] - values[row, column]
                    sw += weight
                    su += weight * u
                    sv += weight * v
                    suu += weight * u * u
                    suv += weight * u * v
                    svv += weight * v * v
                    sz += weight * z
                    suz += weight * u * z
                    svz += weight * v * z
            a, b, c = suu - su * su / sw, suv - su * sv / sw, svv - sv * sv / sw
            determinant = a * c - b * b
            if determinant <= 1e-3 * sw * sw:
                continue
            p, q = suz - su * sz / sw, svz - sv * sz / sw
            slope_u, slope_v = (c * p - b * q) / determinant, (a * q - b * p) / determinant
            smooth[row, column] = values[row, column] + (sz - slope_u * su - slope_v * sv) / sw
    return smooth
