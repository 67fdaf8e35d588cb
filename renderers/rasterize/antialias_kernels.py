"""Compiled loops of analytic antialiasing: where silhouette edges cross the grid, and how far they blend which pixels.

A silhouette edge that is steeper than 45 degrees crosses rows: at each row centre it passes between two neighbouring pixels, the
inner one on the side of its triangles, the outer one beyond them. If it lies a fraction d of a pixel beyond the inner centre, the object
covers `d - 1/2` of the outer pixel (d > 1/2), or misses `1/2 - d` of the inner one. Flatter edges cross columns. Summed along a row
the covered length is exact for a straight edge, and so is its gradient. The blend is that of Laine et al., "Modular
primitives for high-performance differentiable rendering", 2020, section 3.5; here it starts from the edges instead of from pixel pairs,
so triangles smaller than a pixel do not hide it.
"""

import numpy as np
from numba import njit

RECORD = np.dtype(
    [
        ("item", np.int64),
        ("target", np.int64),
        ("source", np.int64),
        ("blend", np.float64),
        ("distance", np.float64),
        ("pair", np.int64),
        ("vertex_a", np.int64),
        ("vertex_b", np.int64),
        ("gradient_a", np.float64, (3,)),
        ("gradient_b", np.float64, (3,)),
    ],
    align=True,
)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _line(clip, a, b):
    """The line through two projected vertices: (A, B, C) with A x + B y + C = 0 in normalised device coordinates."""
    return (
        clip[a, 1] * clip[b, 3] - clip[a, 3] * clip[b, 1],
        clip[a, 3] * clip[b, 0] - clip[a, 0] * clip[b, 3],
        clip[a, 0] * clip[b, 1] - clip[a, 1] * clip[b, 0],
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _inner_side(edge, first_face, last_face, shift, starts, edge_faces, directions, sides):
    """Sign of the line function on the side of the edge's triangles; 0 where they lie on both sides or none is drawn: no silhouette.

    It is the sign of the determinant of the edge's ends and the opposite corner: that of the triangle, if it runs along the edge.
    """
    lowest, highest = 2, -2
    for slot in range(starts[edge], starts[edge + 1]):
        face = edge_faces[slot]
        if face >= first_face and face < last_face and sides[face + shift] != 0:
            side = sides[face + shift] * directions[slot]
            lowest, highest = min(lowest, side), max(highest, side)
    return lowest if lowest == highest else 0


@njit(nogil=True, cache=True, error_model="numpy")
def _visible_part(clip, a, b):
    """Parameters (from, to) of the part of the edge in front of the near plane; from > to where there is none."""
    before_a, before_b = clip[a, 2] + clip[a, 3], clip[b, 2] + clip[b, 3]
    low, high = 0.0, 1.0
    if before_a < 0.0 and before_b < 0.0:
        return 1.0, 0.0
    if before_a < 0.0:
        low = before_a / (before_a - before_b)
    if before_b < 0.0:
        high = before_a / (before_a - before_b)
    if clip[a, 3] + low * (clip[b, 3] - clip[a, 3]) <= 0.0 or clip[a, 3] + high * (clip[b, 3] - clip[a, 3]) <= 0.0:
        return 1.0, 0.0
    return low, high


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _screen(clip, a, b, t, axis, size):
    """Pixel coordinate along an axis of the point a + t (b - a)."""
    w = clip[a, 3] + t * (clip[b, 3] - clip[a, 3])
    return ((clip[a, axis] + t * (clip[b, axis] - clip[a, axis])) / w + 1.0) * 0.5 * size - 0.5


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _edge_depth(clip, a, b, axis, position):
    """z/w of the edge where its coordinate along an axis is `position` (normalised device coordinates)."""
    start = clip[a, axis] - position * clip[a, 3]
    end = clip[b, axis] - position * clip[b, 3]
    if start == end:
        return np.inf
    t = start / (start - end)
    w = clip[a, 3] + t * (clip[b, 3] - clip[a, 3])
    return (clip[a, 2] + t * (clip[b, 2] - clip[a, 2])) / w if w > 0.0 else np.inf


@njit(nogil=True, cache=True, error_model="numpy")
def _write_crossing_gradient(clip, a, b, line, across, along, position, crossing, scale, record):
    """Gradient of the blend with respect to (x, y, w) of both vertices; `crossing` solves the line equation for axis `across`."""
    factor = -scale / line[across]
    weight = (factor * crossing, factor * position, factor) if across == 0 else (factor * position, factor * crossing, factor)
    xa, ya, wa = clip[a, 0], clip[a, 1], clip[a, 3]
    xb, yb, wb = clip[b, 0], clip[b, 1], clip[b, 3]
    record.gradient_a[0] = weight[2] * yb - weight[1] * wb
    record.gradient_a[1] = weight[0] * wb - weight[2] * xb
    record.gradient_a[2] = weight[1] * xb - weight[0] * yb
    record.gradient_b[0] = weight[1] * wa - weight[2] * ya
    record.gradient_b[1] = weight[2] * xa - weight[0] * wa
    record.gradient_b[2] = weight[0] * ya - weight[1] * xa


@njit(nogil=True, cache=True, error_model="numpy")
def _grown(records):
    larger = np.empty(2 * len(records), records.dtype)
    larger[: len(records)] = records
    return larger


@njit(nogil=True, cache=True, error_model="numpy")
def _cross(clip, a, b, line, side, steep, index, item, component, components, depths, id_image, record):
    """Fill the record of the crossing of row `index` (column, for a flat edge), and say whether there is one to be seen."""
    height, width = depths.shape[1], depths.shape[2]
    across, along = (0, 1) if steep else (1, 0)
    size_across, size_along = (width, height) if steep else (height, width)
    ndc_along = (index + 0.5) * 2.0 / size_along - 1.0
    crossing = -(line[along] * ndc_along + line[2]) / line[across]
    pixel = (crossing + 1.0) * 0.5 * size_across - 0.5
    if not (pixel >= 0.0 and pixel < size_across - 1):
        return False
    before = int(np.floor(pixel))
    inner_is_after = (line[across] > 0.0) == (side > 0)
    inner, outer = (before + 1, before) if inner_is_after else (before, before + 1)
    inner_row, inner_column = (index, inner) if steep else (inner, index)
    outer_row, outer_column = (index, outer) if steep else (outer, index)
    inner_id, outer_id = id_image[item, inner_row, inner_column], id_image[item, outer_row, outer_column]
    if inner_id < 0 or inner_id == outer_id or components[inner_id] != component:
        return False
    depth = _edge_depth(clip, a, b, along, ndc_along)
    if not (depth >= -1.0 and depth <= 1.0) or (outer_id >= 0 and depths[item, outer_row, outer_column] <= depth):
        return False
    distance = before + 1 - pixel if inner_is_after else pixel - before
    inner_pixel, outer_pixel = inner_row * width + inner_column, outer_row * width + outer_column
    slope = -0.5 * size_across if inner_is_after else 0.5 * size_across
    if distance > 0.5:
        record.target, record.source, record.blend = outer_pixel, inner_pixel, distance - 0.5
    else:
        record.target, record.source, record.blend = inner_pixel, outer_pixel, 0.5 - distance
        slope = -slope
    record.item, record.distance, record.vertex_a, record.vertex_b = item, distance, a, b
    record.pair = 2 * (item * height * width + min(inner_pixel, outer_pixel)) + (0 if steep else 1)
    _write_crossing_gradient(clip, a, b, line, across, along, ndc_along, crossing, slope, record)
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def find_crossings(
    start, stop, clip, items, offsets, sides, edges, edge_starts, edge_faces, directions, components, depths, id_image, records
):
    """Blends caused by edges start..stop (counted over all items), in that order; `records` only gives room to start with.

    `sides` are those of `raster_kernels.count_triangles`.
    """
    height, width = depths.shape[1], depths.shape[2]
    count, item = 0, start // max(len(edges), 1)
    for position in range(start, stop):
        if position == (item + 1) * len(edges):
            item += 1
        edge = position - item * len(edges)
        base, first_face = items[item, 2], items[item, 0]
        shift = offsets[item] - first_face
        side = _inner_side(edge, first_face, first_face + items[item, 1], shift, edge_starts, edge_faces, directions, sides)
        if side == 0:
            continue
        a, b = edges[edge, 0] + base, edges[edge, 1] + base
        line = _line(clip, a, b)
        low, high = _visible_part(clip, a, b)
        if low > high:
            continue
        x0, x1 = _screen(clip, a, b, low, 0, width), _screen(clip, a, b, high, 0, width)
        y0, y1 = _screen(clip, a, b, low, 1, height), _screen(clip, a, b, high, 1, height)
        steep = abs(y1 - y0) >= abs(x1 - x0)
        begin, end, size = (min(y0, y1), max(y0, y1), height) if steep else (min(x0, x1), max(x0, x1), width)
        if line[0 if steep else 1] == 0.0:
            continue
        component = components[edge_faces[edge_starts[edge]]]
        for index in range(int(np.ceil(min(max(begin, 0.0), float(size)))), int(np.ceil(min(max(end, 0.0), float(size))))):
            if count == len(records):
                records = _grown(records)
            if _cross(clip, a, b, line, side, steep, index, item, component, components, depths, id_image, records[count]):
                count += 1
    return records[:count]


@njit(nogil=True, cache=True, error_model="numpy")
def keep_outermost(records, order):
    """Of the crossings between the same two pixels, keep the one that is furthest out (the union's outline). `order` sorts by pair."""
    kept = np.empty(len(records), records.dtype)
    count, begin = 0, 0
    while begin < len(order):
        best = order[begin]
        end = begin + 1
        while end < len(order) and records[order[end]].pair == records[best].pair:
            if records[order[end]].distance > records[best].distance:
                best = order[end]
            end += 1
        kept[count] = records[best]
        count += 1
        begin = end
    return kept[:count]


@njit(nogil=True, cache=True, error_model="numpy")
def limit_blends(records, order):
    """Scale down the blends into pixels that would be replaced by more than their whole (specks). `order` sorts by target."""
    begin = 0
    while begin < len(order):
        first = records[order[begin]]
        total, end = 0.0, begin
        while end < len(order) and records[order[end]].target == first.target and records[order[end]].item == first.item:
            total += records[order[end]].blend
            end += 1
        if total > 1.0:
            for index in range(begin, end):
                record = records[order[index]]
                record.blend /= total
                for axis in range(3):
                    record.gradient_a[axis] /= total
                    record.gradient_b[axis] /= total
        begin = end


@njit(nogil=True, cache=True, error_model="numpy")
def blend(records, image, out):
    """Add the blends to `out`, a copy of `image`; both (items, pixels, channels)."""
    for index in range(len(records)):
        record = records[index]
        item, target, source = record.item, record.target, record.source
        for channel in range(image.shape[2]):
            out[item, target, channel] += record.blend * (image[item, source, channel] - image[item, target, channel])


@njit(nogil=True, cache=True, error_model="numpy")
def image_gradient(records, gradient, image_gradient):
    """Gradient of the blends with respect to the image, added to a copy of `gradient`."""
    for index in range(len(records)):
        record = records[index]
        item, target, source = record.item, record.target, record.source
        for channel in range(gradient.shape[2]):
            g = record.blend * gradient[item, target, channel]
            image_gradient[item, source, channel] += g
            image_gradient[item, target, channel] -= g


@njit(nogil=True, cache=True, error_model="numpy")
def clip_gradient(records, image, gradient, clip_gradient):
    """Gradient of the blends with respect to the clip coordinates of the edges' ends."""
    for index in range(len(records)):
        record = records[index]
        item, target, source = record.item, record.target, record.source
        slope = 0.0
        for channel in range(image.shape[2]):
            slope += gradient[item, target, channel] * (image[item, source, channel] - image[item, target, channel])
        for axis in range(3):
            column = axis if axis < 2 else 3
            clip_gradient[record.vertex_a, column] += slope * record.gradient_a[axis]
            clip_gradient[record.vertex_b, column] += slope * record.gradient_b[axis]
