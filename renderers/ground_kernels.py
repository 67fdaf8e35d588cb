"""Compiled loops of `renderers.ground`: the plane z = 0 seen by a camera, and gradients with respect to that.

A pixel's ray r (camera frame, z = 1) falls by `f = -R_2 . r` metres a metre of depth, R_2 being the last row of the rotation to the world;
from the height h it meets the plane at depth `d = h / f`, at `p = t + d R r`. Everything is computed in float64.
"""

from numba import njit

from renderers.protocol import BACKGROUND_ID, PLANE_ID
from renderers.support_plane import LEAST_FALL

PARAMETERS = 16
"""Gradients of a camera: of fx, fy, cx, cy, then of the twelve entries of [R | t], row by row."""


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _ray(K, column, row):
    return (column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1]


@njit(nogil=True, cache=True, error_model="numpy")
def measure_depth(start, stop, K, pose, width, depth):
    """Depth of the plane in the pixels of rows start..stop; 0 where it is not seen."""
    for row in range(start, stop):
        for column in range(width):
            x, y = _ray(K, column, row)
            fall = -(pose[2, 0] * x + pose[2, 1] * y + pose[2, 2])
            meets = (fall > LEAST_FALL) & (pose[2, 3] > 0.0)
            depth[row * width + column] = pose[2, 3] / fall if meets else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def list_pixels(depth, hidden, ids, normals, pixels):
    """Write the ids and normals of an image of the plane alone, list the pixels that see it past what hides it, and return their number."""
    count = 0
    for pixel in range(len(depth)):
        on_plane = depth[pixel] > 0.0
        ids[pixel] = PLANE_ID if on_plane else BACKGROUND_ID
        normals[pixel, 0], normals[pixel, 1], normals[pixel, 2] = 0.0, 0.0, 1.0 if on_plane else 0.0
        if on_plane and not hidden[pixel]:
            pixels[count] = pixel
            count += 1
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def place_points(start, stop, pixels, K, pose, width, depth, points):
    """World positions of what pixels[start:stop] see of the plane."""
    for n in range(start, stop):
        row = pixels[n] // width
        x, y = _ray(K, pixels[n] - row * width, row)
        for a in range(3):
            points[n, a] = pose[a, 3] + depth[pixels[n]] * (pose[a, 0] * x + pose[a, 1] * y + pose[a, 2])


@njit(nogil=True, cache=True, error_model="numpy")
def camera_gradient(start, stop, pixels_a_part, pixels, K, pose, width, depth, of_points, of_depth, parts):
    """Add to parts start..stop, each of so many pixels, the gradient of the camera (`PARAMETERS`): of points, and of the image of depth."""
    for part in range(start, stop):
        total = parts[part]
        for n in range(part * pixels_a_part, min((part + 1) * pixels_a_part, len(pixels))):
            pixel = pixels[n]
            row, d = pixel // width, depth[pixel]
            x, y = _ray(K, pixel - row * width, row)
            g_x, g_y, g_d = 0.0, 0.0, of_depth[pixel]
            for a in range(3):
                g = of_points[n, a]
                g_d += g * (pose[a, 0] * x + pose[a, 1] * y + pose[a, 2])
                g_x, g_y = g_x + d * g * pose[a, 0], g_y + d * g * pose[a, 1]
                total[4 + 4 * a] += g * d * x
                total[5 + 4 * a] += g * d * y
                total[6 + 4 * a] += g * d
                total[7 + 4 * a] += g
            g_height = g_d * d / pose[2, 3]
            g_fall = -g_height * d
            g_x, g_y = g_x - g_fall * pose[2, 0], g_y - g_fall * pose[2, 1]
            total[12] -= g_fall * x
            total[13] -= g_fall * y
            total[14] -= g_fall
            total[15] += g_height
            total[0] -= g_x * x / K[0, 0]
            total[1] -= g_y * y / K[1, 1]
            total[2] -= g_x / K[0, 0]
            total[3] -= g_y / K[1, 1]
