"""Compiled loops of the CPU rasterizer: projection, binning, the z-buffer, and the gradient of what it stores.

Triangles are rasterized in homogeneous coordinates (Olano and Greer, "Triangle scan conversion using 2D homogeneous
coordinates", 1997): with corner k at clip (x, y, z, w), the edge function `E0(p) = (x1 - p_x w1)(y2 - p_y w2) - (y1 - p_y w1)(x2 - p_x w2)`
and its cyclic twins give the perspective-correct weights `E_k / (E0 + E1 + E2)` at pixel p, and `z / w` is linear in p. A triangle
that crosses the camera plane needs no special case but its bounding box.

Everything is computed in float64, whatever the images hold; neighbours evaluate a shared edge to exactly opposite values, so meshes
have no cracks. Items of a batch are (first face, number of faces, first vertex) rows of `items`.
"""

import numpy as np
from numba import njit

BAND_ROWS = 16
_TINY = 1e-200
OK, NON_FINITE_VERTEX, INDEX_OUT_OF_RANGE = 0, 1, 2


@njit(nogil=True, cache=True, error_model="numpy")
def project_vertices(start, stop, clip, height, width, screen):
    """Pixel coordinates of vertices in front of the near plane; NaN for the others. Non-finite vertices are reported."""
    status = OK
    for i in range(start, stop):
        x, y, z, w = clip[i, 0], clip[i, 1], clip[i, 2], clip[i, 3]
        if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z) and np.isfinite(w)):
            status = NON_FINITE_VERTEX
        if w > 0.0 and z >= -w:
            screen[i, 0] = (x / w + 1.0) * 0.5 * width - 0.5
            screen[i, 1] = (y / w + 1.0) * 0.5 * height - 0.5
        else:
            screen[i, 0] = np.nan
            screen[i, 1] = np.nan
    return status


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _lesser(a, b):
    """The smaller of two numbers that are not NaN: one instruction, where `min` compiles to several."""
    return a if a < b else b


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _greater(a, b):
    """The larger of two numbers that are not NaN."""
    return a if a > b else b


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _clamped(value, low, high):
    return _lesser(_greater(value, low), high)


@njit(nogil=True, cache=True, error_model="numpy")
def _near_clipped_bounds(clip, corners, height, width):
    """Pixel bounds (left, right, top, bottom) of the part of a triangle in front of the near plane; empty bounds if none is."""
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for k in range(3):
        a, b = corners[k], corners[(k + 1) % 3]
        before_a, before_b = clip[a, 2] + clip[a, 3], clip[b, 2] + clip[b, 3]
        for end in range(2):
            if end == 0:
                if before_a < 0.0:
                    continue
                t = 0.0
            else:
                if (before_a < 0.0) == (before_b < 0.0):
                    continue
                t = before_a / (before_a - before_b)
            w = clip[a, 3] + t * (clip[b, 3] - clip[a, 3])
            if w <= 0.0:
                return -0.5, width - 0.5, -0.5, height - 0.5
            x = ((clip[a, 0] + t * (clip[b, 0] - clip[a, 0])) / w + 1.0) * 0.5 * width - 0.5
            y = ((clip[a, 1] + t * (clip[b, 1] - clip[a, 1])) / w + 1.0) * 0.5 * height - 0.5
            left, right = min(left, x - 1e-6 * abs(x)), max(right, x + 1e-6 * abs(x))
            top, bottom = min(top, y - 1e-6 * abs(y)), max(bottom, y + 1e-6 * abs(y))
    return left, right, top, bottom


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _whole_pixels(left, right, top, bottom, height, width):
    """Columns and rows (first, last, inclusive) whose centres lie within bounds, cut to the image."""
    first_column, last_column = np.ceil(_clamped(left, 0.0, float(width))), np.floor(_clamped(right, -1.0, width - 1.0))
    first_row, last_row = np.ceil(_clamped(top, 0.0, float(height))), np.floor(_clamped(bottom, -1.0, height - 1.0))
    return int(first_column), int(last_column), int(first_row), int(last_row)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _pixel_bounds(clip, screen, i, j, k, height, width):
    """Columns and rows (first, last, inclusive) whose centres the triangle's bounding box holds, cut to the image."""
    if np.isnan(screen[i, 0] + screen[j, 0] + screen[k, 0]):
        left, right, top, bottom = _near_clipped_bounds(clip, (i, j, k), height, width)
        return _whole_pixels(left, right, top, bottom, height, width)
    left = _lesser(screen[i, 0], _lesser(screen[j, 0], screen[k, 0]))
    right = _greater(screen[i, 0], _greater(screen[j, 0], screen[k, 0]))
    top = _lesser(screen[i, 1], _lesser(screen[j, 1], screen[k, 1]))
    bottom = _greater(screen[i, 1], _greater(screen[j, 1], screen[k, 1]))
    return _whole_pixels(left, right, top, bottom, height, width)


@njit(nogil=True, cache=True, error_model="numpy")
def _item_of(position, offsets):
    item = 0
    while offsets[item + 1] <= position:
        item += 1
    return item


@njit(nogil=True, cache=True, error_model="numpy")
def count_triangles(start, stop, clip, screen, faces, items, offsets, height, width, culls, bounds, sides, counts):
    """First pass of binning: each triangle's pixel bounds (left > right where it is not drawn), its side, and how many touch each bin.

    Positions start..stop run over the faces of all items, item after item. A bin is a band of an item.
    """
    n_bands = (height + BAND_ROWS - 1) // BAND_ROWS
    n_vertices = items[0, 3]
    item = _item_of(start, offsets)
    for position in range(start, stop):
        while offsets[item + 1] <= position:
            item += 1
        face = items[item, 0] + position - offsets[item]
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        if min(i, j, k) < 0 or max(i, j, k) >= n_vertices:
            return INDEX_OUT_OF_RANGE
        base = items[item, 2]
        i, j, k = i + base, j + base, k + base
        side = _side(clip, i, j, k)
        sides[position] = side
        bounds[position, 0], bounds[position, 1] = 1, 0
        if side == 0 or (culls and side > 0):
            continue
        left, right, top, bottom = _pixel_bounds(clip, screen, i, j, k, height, width)
        if left > right or top > bottom:
            continue
        bounds[position, 0], bounds[position, 1], bounds[position, 2], bounds[position, 3] = left, right, top, bottom
        for band in range(top // BAND_ROWS, bottom // BAND_ROWS + 1):
            counts[item * n_bands + band] += 1
    return OK


@njit(nogil=True, cache=True, error_model="numpy")
def fill_bins(start, stop, bounds, offsets, n_bands, cursors, entries):
    """Second pass of binning: write each triangle's position into its bins, in ascending order, from where the cursors stand."""
    item = _item_of(start, offsets)
    for position in range(start, stop):
        while offsets[item + 1] <= position:
            item += 1
        if bounds[position, 0] > bounds[position, 1]:
            continue
        for band in range(bounds[position, 2] // BAND_ROWS, bounds[position, 3] // BAND_ROWS + 1):
            bin_ = item * n_bands + band
            entries[cursors[bin_]] = position
            cursors[bin_] += 1


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _determinant(clip, i, j, k):
    """Signed volume of the corners' (x, y, w): negative for a triangle whose corners run counter-clockwise as seen (rows grow down)."""
    return (
        clip[i, 0] * (clip[j, 1] * clip[k, 3] - clip[j, 3] * clip[k, 1])
        + clip[i, 1] * (clip[j, 3] * clip[k, 0] - clip[j, 0] * clip[k, 3])
        + clip[i, 3] * (clip[j, 0] * clip[k, 1] - clip[j, 1] * clip[k, 0])
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _side(clip, i, j, k):
    """-1 for a triangle that shows its front, 1 for one that shows its back, 0 for a degenerate one."""
    determinant = _determinant(clip, i, j, k)
    return 1 if determinant > 0.0 else (-1 if determinant < 0.0 else 0)


@njit(nogil=True, cache=True, error_model="numpy")
def find_sides(start, stop, clip, faces, items, offsets, sides):
    """Which side the triangles at positions start..stop (counted over all items) show; see `_side`."""
    item = _item_of(start, offsets)
    for position in range(start, stop):
        while offsets[item + 1] <= position:
            item += 1
        face, base = items[item, 0] + position - offsets[item], items[item, 2]
        sides[position] = _side(clip, faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _edge(clip, j, k, sx, sy, sign):
    """Coefficients (column, row, constant) of the edge function through corners j and k, over integer pixels."""
    a = clip[j, 1] * clip[k, 3] - clip[j, 3] * clip[k, 1]
    b = clip[j, 3] * clip[k, 0] - clip[j, 0] * clip[k, 3]
    c = clip[j, 0] * clip[k, 1] - clip[j, 1] * clip[k, 0]
    return sign * (a * sx), sign * (b * sy), sign * (c + (a * (0.5 * sx - 1.0) + b * (0.5 * sy - 1.0)))


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _column_bounds(a, b, c):
    """Where `a * column + b * row + c >= 0`: lower bound (slope, start) and upper bound (slope, start) of the column, linear in the row.

    Neighbours, whose edge function is the exact opposite, compute the same numbers. A horizontal edge bounds no column.
    """
    if abs(a) > _TINY:
        inverse = -1.0 / a
        slope, start = b * inverse, c * inverse
        if a > 0.0:
            return slope, start, 0.0, np.inf
        return 0.0, -np.inf, slope, start
    return 0.0, -np.inf, 0.0, np.inf


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _rows_kept(a, b, c, top, bottom):
    """Rows of top..bottom inside an edge, if it is horizontal."""
    if abs(a) > _TINY:
        return top, bottom
    while top <= bottom and b * top + c < 0.0:
        top += 1
    while top <= bottom and b * bottom + c < 0.0:
        bottom -= 1
    return top, bottom


@njit(nogil=True, cache=True, error_model="numpy")
def _draw(clip, i, j, k, face, first, last, top, bottom, first_row, width, height, depth, ids):
    """Draw one triangle, within bounds (columns first to last, rows top to bottom), into a band's z-buffer."""
    determinant = _determinant(clip, i, j, k)
    sign = 1.0 if determinant > 0.0 else -1.0
    sx, sy = 2.0 / width, 2.0 / height
    a0, b0, c0 = _edge(clip, j, k, sx, sy, sign)
    a1, b1, c1 = _edge(clip, k, i, sx, sy, sign)
    a2, b2, c2 = _edge(clip, i, j, sx, sy, sign)
    scale = 1.0 / abs(determinant)
    z0, z1, z2 = clip[i, 2] * scale, clip[j, 2] * scale, clip[k, 2] * scale
    za, zb, zc = z0 * a0 + z1 * a1 + z2 * a2, z0 * b0 + z1 * b1 + z2 * b2, z0 * c0 + z1 * c1 + z2 * c2
    left_slope0, left0, right_slope0, right0 = _column_bounds(a0, b0, c0)
    left_slope1, left1, right_slope1, right1 = _column_bounds(a1, b1, c1)
    left_slope2, left2, right_slope2, right2 = _column_bounds(a2, b2, c2)
    top, bottom = _rows_kept(a0, b0, c0, top, bottom)
    top, bottom = _rows_kept(a1, b1, c1, top, bottom)
    top, bottom = _rows_kept(a2, b2, c2, top, bottom)
    for row in range(top, bottom + 1):
        left = _greater(_greater(first, left_slope0 * row + left0), _greater(left_slope1 * row + left1, left_slope2 * row + left2))
        right = _lesser(_lesser(last, right_slope0 * row + right0), _lesser(right_slope1 * row + right1, right_slope2 * row + right2))
        if left > right:
            continue
        line, ez = (row - first_row) * width, zb * row + zc
        for column in range(int(np.ceil(left)), int(np.floor(right)) + 1):
            z = za * column + ez
            if z < depth[line + column] and z >= -1.0:
                depth[line + column] = z
                ids[line + column] = face


@njit(nogil=True, cache=True, error_model="numpy")
def _resolve(clip, faces, base, first_row, last_row, width, height, depth, ids, buffer, id_image):
    """Write a band of one item: u, v, z/w and id of what the z-buffer kept, zeros elsewhere."""
    sx, sy = 2.0 / width, 2.0 / height
    for row in range(first_row, last_row):
        py = (row + 0.5) * sy - 1.0
        for column in range(width):
            slot = (row - first_row) * width + column
            face = ids[slot]
            id_image[row, column] = face
            if face < 0:
                buffer[row, column, 0], buffer[row, column, 1], buffer[row, column, 2], buffer[row, column, 3] = 0.0, 0.0, 0.0, 0.0
                continue
            px = (column + 0.5) * sx - 1.0
            i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
            x0, y0 = clip[i, 0] - px * clip[i, 3], clip[i, 1] - py * clip[i, 3]
            x1, y1 = clip[j, 0] - px * clip[j, 3], clip[j, 1] - py * clip[j, 3]
            x2, y2 = clip[k, 0] - px * clip[k, 3], clip[k, 1] - py * clip[k, 3]
            e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
            total = e0 + e1 + e2
            buffer[row, column, 0] = _clamped(e0 / total, 0.0, 1.0) if total != 0.0 else 1.0 / 3.0
            buffer[row, column, 1] = _clamped(e1 / total, 0.0, 1.0) if total != 0.0 else 1.0 / 3.0
            buffer[row, column, 2] = depth[slot]
            buffer[row, column, 3] = face + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_band(bin_, band, item, clip, faces, items, offsets, bounds, bin_starts, entries, height, width, depth, ids):
    """Draw the triangles of one bin, in ascending order, into its own z-buffer; return its first row and the row after its last."""
    first_row = band * BAND_ROWS
    last_row = min(first_row + BAND_ROWS, height)
    base, shift = items[item, 2], items[item, 0] - offsets[item]
    depth[:] = np.nextafter(1.0, 2.0)
    ids[:] = -1
    for entry in range(bin_starts[bin_], bin_starts[bin_ + 1]):
        position = entries[entry]
        face = position + shift
        i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
        top, bottom = max(bounds[position, 2], first_row), min(bounds[position, 3], last_row - 1)
        left, right = float(bounds[position, 0]), float(bounds[position, 1])
        _draw(clip, i, j, k, face, left, right, top, bottom, first_row, width, height, depth, ids)
    return first_row, last_row


@njit(nogil=True, cache=True, error_model="numpy")
def draw_bins(start, stop, clip, faces, items, offsets, bounds, bin_starts, entries, buffer, id_image):
    """Rasterize bins start..stop: each a band of rows of one item, drawn by one thread in ascending order of triangles."""
    height, width = buffer.shape[1], buffer.shape[2]
    n_bands = (height + BAND_ROWS - 1) // BAND_ROWS
    depth, ids = np.empty(BAND_ROWS * width, np.float64), np.empty(BAND_ROWS * width, np.int32)
    for bin_ in range(start, stop):
        item, band = bin_ // n_bands, bin_ % n_bands
        if bin_starts[bin_] == bin_starts[bin_ + 1]:
            buffer[item, band * BAND_ROWS : (band + 1) * BAND_ROWS] = 0.0
            id_image[item, band * BAND_ROWS : (band + 1) * BAND_ROWS] = -1
            continue
        layout = (clip, faces, items, offsets, bounds, bin_starts, entries)
        first_row, last_row = _draw_band(bin_, band, item, *layout, height, width, depth, ids)
        _resolve(clip, faces, items[item, 2], first_row, last_row, width, height, depth, ids, buffer[item], id_image[item])


@njit(nogil=True, cache=True, error_model="numpy")
def draw_visible(start, stop, clip, faces, items, offsets, bounds, bin_starts, entries, depth_image, id_image):
    """As `draw_bins`, but only which triangle each pixel shows (-1 for none) and, where there is one, z/w."""
    height, width = id_image.shape[1], id_image.shape[2]
    n_bands = (height + BAND_ROWS - 1) // BAND_ROWS
    for bin_ in range(start, stop):
        item, band = bin_ // n_bands, bin_ % n_bands
        depth = depth_image[item, band * BAND_ROWS : (band + 1) * BAND_ROWS].reshape(-1)
        ids = id_image[item, band * BAND_ROWS : (band + 1) * BAND_ROWS].reshape(-1)
        if bin_starts[bin_] == bin_starts[bin_ + 1]:
            ids[:] = -1
        else:
            _draw_band(bin_, band, item, clip, faces, items, offsets, bounds, bin_starts, entries, height, width, depth, ids)


@njit(nogil=True, cache=True, error_model="numpy")
def group_pixels(id_image, n_faces):
    """Covered pixels of one item sorted by triangle: (pixels, starts, triangles); pixels[starts[t] : starts[t + 1]] show triangles[t]."""
    flat = id_image.reshape(-1)
    counts = np.zeros(n_faces + 1, np.int32)
    covered = 0
    for pixel in range(flat.size):
        if flat[pixel] >= 0:
            counts[flat[pixel]] += 1
            covered += 1
    visible = 0
    for face in range(n_faces):
        visible += counts[face] > 0
    starts = np.empty(visible + 1, np.int64)
    triangles = np.empty(visible, np.int64)
    cursor, seen = 0, 0
    for face in range(n_faces):
        count = counts[face]
        if count > 0:
            starts[seen], triangles[seen] = cursor, face
            counts[face] = cursor
            cursor += count
            seen += 1
    starts[visible] = covered
    pixels = np.empty(covered, np.int64)
    for pixel in range(flat.size):
        if flat[pixel] >= 0:
            pixels[counts[flat[pixel]]] = pixel
            counts[flat[pixel]] += 1
    return pixels, starts, triangles


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _cross(ax, ay, aw, bx, by, bw):
    return ay * bw - aw * by, aw * bx - ax * bw, ax * by - ay * bx


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def edge_through(clip, j, k):
    """Coefficients (X, Y, 1) of the edge function through corners j and k, over normalised device coordinates X and Y."""
    return _cross(clip[j, 0], clip[j, 1], clip[j, 3], clip[k, 0], clip[k, 1], clip[k, 3])


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def weights_at(edge_0, edge_1, edge_2, x, y):
    """Weights of the corners at a pixel, and the inverse of the edge functions' sum."""
    e0 = edge_0[0] * x + edge_0[1] * y + edge_0[2]
    e1 = edge_1[0] * x + edge_1[1] * y + edge_1[2]
    e2 = edge_2[0] * x + edge_2[1] * y + edge_2[2]
    total = e0 + e1 + e2
    inverse = 1.0 / total if total != 0.0 else 0.0
    return e0 * inverse, e1 * inverse, e2 * inverse, inverse


@njit(nogil=True, cache=True, error_model="numpy")
def add_edge_gradient(sums, x, y, w, clip, first, second, j, k, sum_x, sum_y, sum_1):
    """Carry the gradient of an edge function's coefficients to the corners that it runs through.

    Those are `first` and `second` of the triangle, vertices j and k; their clip x, y and w have columns x, y and w of `sums`.
    """
    of_first = _cross(clip[k, 0], clip[k, 1], clip[k, 3], sum_x, sum_y, sum_1)
    of_second = _cross(sum_x, sum_y, sum_1, clip[j, 0], clip[j, 1], clip[j, 3])
    sums[first, x] += of_first[0]
    sums[first, y] += of_first[1]
    sums[first, w] += of_first[2]
    sums[second, x] += of_second[0]
    sums[second, y] += of_second[1]
    sums[second, w] += of_second[2]


@njit(nogil=True, cache=True, error_model="numpy")
def rasterize_gradient(start, stop, clip, faces, base, pixels, starts, triangles, gradient, corners):
    """Gradient of visible triangles start..stop of one item with respect to their corners: corners[t] is (3, 4), summed in pixel order."""
    height, width = gradient.shape[0], gradient.shape[1]
    sums = np.empty((3, 4))
    for t in range(start, stop):
        face = triangles[t]
        i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
        edge_0, edge_1, edge_2 = edge_through(clip, j, k), edge_through(clip, k, i), edge_through(clip, i, j)
        sums[:] = 0.0
        x0, y0, s0, x1, y1, s1, x2, y2, s2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for slot in range(starts[t], starts[t + 1]):
            row = pixels[slot] // width
            column = pixels[slot] - row * width
            x, y = (column + 0.5) * (2.0 / width) - 1.0, (row + 0.5) * (2.0 / height) - 1.0
            u, v, o, inverse = weights_at(edge_0, edge_1, edge_2, x, y)
            z, w = u * clip[i, 2] + v * clip[j, 2] + o * clip[k, 2], u * clip[i, 3] + v * clip[j, 3] + o * clip[k, 3]
            g_z = gradient[row, column, 2] / w
            g_w = -g_z * z / w
            for corner, weight in ((0, u), (1, v), (2, o)):
                sums[corner, 2] += weight * g_z
                sums[corner, 3] += weight * g_w
            g_u = gradient[row, column, 0] + g_z * clip[i, 2] + g_w * clip[i, 3]
            g_v = gradient[row, column, 1] + g_z * clip[j, 2] + g_w * clip[j, 3]
            g_o = g_z * clip[k, 2] + g_w * clip[k, 3]
            mean = g_u * u + g_v * v + g_o * o
            g0, g1, g2 = (g_u - mean) * inverse, (g_v - mean) * inverse, (g_o - mean) * inverse
            x0, y0, s0 = x0 + g0 * x, y0 + g0 * y, s0 + g0
            x1, y1, s1 = x1 + g1 * x, y1 + g1 * y, s1 + g1
            x2, y2, s2 = x2 + g2 * x, y2 + g2 * y, s2 + g2
        add_edge_gradient(sums, 0, 1, 3, clip, 1, 2, j, k, x0, y0, s0)
        add_edge_gradient(sums, 0, 1, 3, clip, 2, 0, k, i, x1, y1, s1)
        add_edge_gradient(sums, 0, 1, 3, clip, 0, 1, i, j, x2, y2, s2)
        corners[t] = sums


@njit(nogil=True, cache=True, error_model="numpy")
def add_corners(triangles, faces, base, corners, vertices):
    """Add the triangles' corner values to the vertices that they share, in ascending order of triangles."""
    for t in range(len(triangles)):
        for k in range(3):
            vertex = faces[triangles[t], k] + base
            for channel in range(corners.shape[2]):
                vertices[vertex, channel] += corners[t, k, channel]
