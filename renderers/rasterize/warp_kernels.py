"""NVIDIA Warp kernels of the rasterizer: the same for the CPU and for CUDA, compiled by Warp when first launched.

The mathematics is that of `raster_kernels`, `image_kernels` and `antialias_kernels`, which explain it; here every triangle, pixel or edge
is a thread. All numbers are float64, and products are not fused into sums, so that neighbours see opposite values at a shared edge. The
nearest triangle is the least of 64-bit keys (depth in steps of 2^-37, then index), which does not depend on the order of threads.
"""

# ruff: noqa: UP018, RUF046, SIM102 - `int(0)` is how Warp declares an integer that changes; its `and` does not stop at a false side.

import warp as wp

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

EMPTY = 2**62
_ONE, _ZERO, _HALF, _TWO = (
    wp.constant(wp.float64(1.0)),
    wp.constant(wp.float64(0.0)),
    wp.constant(wp.float64(0.5)),
    wp.constant(wp.float64(2.0)),
)
_STEPS = wp.constant(wp.float64(2.0**37))
_EMPTY = wp.constant(wp.int64(EMPTY))


@wp.func
def _line(p: wp.vec4d, q: wp.vec4d):
    return wp.vec3d(p[1] * q[3] - p[3] * q[1], p[3] * q[0] - p[0] * q[3], p[0] * q[1] - p[1] * q[0])


@wp.func
def _at(line: wp.vec3d, p: wp.vec4d):
    return line[0] * p[0] + line[1] * p[1] + line[2] * p[3]


@wp.func
def _ndc(index: int, size: int):
    return (wp.float64(index) + _HALF) * _TWO / wp.float64(size) - _ONE


@wp.func
def _pixel(ndc: wp.float64, size: int):
    return (ndc + _ONE) * _HALF * wp.float64(size) - _HALF


@wp.func
def _first_at_or_after(value: wp.float64, size: int):
    return int(wp.ceil(wp.clamp(value, _ZERO, wp.float64(size))))


@wp.func
def _last_at_or_before(value: wp.float64, size: int):
    return int(wp.floor(wp.clamp(value, -_ONE, wp.float64(size - 1))))


@wp.kernel
def draw(
    clip: wp.array(dtype=wp.vec4d),
    faces: wp.array2d(dtype=wp.int32),
    items: wp.array2d(dtype=wp.int32),
    height: int,
    width: int,
    culls: int,
    keys: wp.array(dtype=wp.int64),
):
    """Enter one triangle of one item into the keys of the pixels whose centres it covers."""
    item, position = wp.tid()
    if position >= items[item, 1]:
        return
    face = items[item, 0] + position
    p = clip[faces[face, 0] + items[item, 2]]
    q = clip[faces[face, 1] + items[item, 2]]
    r = clip[faces[face, 2] + items[item, 2]]
    l0, l1, l2 = _line(q, r), _line(r, p), _line(p, q)
    determinant = _at(l0, p)
    if determinant == _ZERO or (culls != 0 and determinant > _ZERO):
        return
    before_p, before_q, before_r = p[2] + p[3], q[2] + q[3], r[2] + r[3]
    if wp.max(before_p, wp.max(before_q, before_r)) < _ZERO:
        return
    first_column, last_column, first_row, last_row = int(0), width - 1, int(0), height - 1
    if wp.min(before_p, wp.min(before_q, before_r)) >= _ZERO and wp.min(p[3], wp.min(q[3], r[3])) > _ZERO:
        x0, x1, x2 = _pixel(p[0] / p[3], width), _pixel(q[0] / q[3], width), _pixel(r[0] / r[3], width)
        y0, y1, y2 = _pixel(p[1] / p[3], height), _pixel(q[1] / q[3], height), _pixel(r[1] / r[3], height)
        first_column = _first_at_or_after(wp.min(x0, wp.min(x1, x2)), width)
        last_column = _last_at_or_before(wp.max(x0, wp.max(x1, x2)), width)
        first_row = _first_at_or_after(wp.min(y0, wp.min(y1, y2)), height)
        last_row = _last_at_or_before(wp.max(y0, wp.max(y1, y2)), height)
    sign = wp.sign(determinant)
    for row in range(first_row, last_row + 1):
        y = _ndc(row, height)
        for column in range(first_column, last_column + 1):
            x = _ndc(column, width)
            e0 = (l0[0] * x + (l0[1] * y + l0[2])) * sign
            e1 = (l1[0] * x + (l1[1] * y + l1[2])) * sign
            e2 = (l2[0] * x + (l2[1] * y + l2[2])) * sign
            if wp.min(e0, wp.min(e1, e2)) >= _ZERO and e0 + e1 + e2 > _ZERO:
                z = (e0 * p[2] + e1 * q[2] + e2 * r[2]) / wp.abs(determinant)
                if z >= -_ONE and z <= _ONE:
                    key = wp.int64((z + _ONE) * _STEPS) * wp.int64(16777216) + wp.int64(face)
                    wp.atomic_min(keys, (item * height + row) * width + column, key)


@wp.func
def _weights(p: wp.vec4d, q: wp.vec4d, r: wp.vec4d, x: wp.float64, y: wp.float64):
    """The three edge functions at a pixel, from corners taken relative to it."""
    a = wp.vec2d(p[0] - x * p[3], p[1] - y * p[3])
    b = wp.vec2d(q[0] - x * q[3], q[1] - y * q[3])
    c = wp.vec2d(r[0] - x * r[3], r[1] - y * r[3])
    return wp.vec3d(b[0] * c[1] - b[1] * c[0], c[0] * a[1] - c[1] * a[0], a[0] * b[1] - a[1] * b[0])


@wp.kernel
def resolve(
    clip: wp.array(dtype=wp.vec4d),
    faces: wp.array2d(dtype=wp.int32),
    items: wp.array2d(dtype=wp.int32),
    keys: wp.array3d(dtype=wp.int64),
    buffer: wp.array3d(dtype=wp.vec4d),
):
    """Weights, z/w and index of the triangle that each pixel shows."""
    item, row, column = wp.tid()
    key = keys[item, row, column]
    if key == _EMPTY:
        buffer[item, row, column] = wp.vec4d(_ZERO, _ZERO, _ZERO, _ZERO)
        return
    face = int(key % wp.int64(16777216))
    p = clip[faces[face, 0] + items[item, 2]]
    q = clip[faces[face, 1] + items[item, 2]]
    r = clip[faces[face, 2] + items[item, 2]]
    e = _weights(p, q, r, _ndc(column, keys.shape[2]), _ndc(row, keys.shape[1]))
    total = e[0] + e[1] + e[2]
    u, v = wp.clamp(e[0] / total, _ZERO, _ONE), wp.clamp(e[1] / total, _ZERO, _ONE)
    t = _ONE - u - v
    z = (u * p[2] + v * q[2] + t * r[2]) / (u * p[3] + v * q[3] + t * r[3])
    buffer[item, row, column] = wp.vec4d(u, v, z, wp.float64(face + 1))


@wp.kernel
def rasterize_gradient(
    clip: wp.array(dtype=wp.vec4d),
    faces: wp.array2d(dtype=wp.int32),
    items: wp.array2d(dtype=wp.int32),
    ids: wp.array3d(dtype=wp.int32),
    gradient: wp.array3d(dtype=wp.vec4d),
    out: wp.array(dtype=wp.vec4d),
):
    """Add one pixel's gradient to its triangle's corners."""
    item, row, column = wp.tid()
    face = ids[item, row, column]
    if face < 0:
        return
    i, j, k = faces[face, 0] + items[item, 2], faces[face, 1] + items[item, 2], faces[face, 2] + items[item, 2]
    p, q, r = clip[i], clip[j], clip[k]
    x, y = _ndc(column, ids.shape[2]), _ndc(row, ids.shape[1])
    e = _weights(p, q, r, x, y)
    total = e[0] + e[1] + e[2]
    if total == _ZERO:
        return
    u, v = e[0] / total, e[1] / total
    t = _ONE - u - v
    w = u * p[3] + v * q[3] + t * r[3]
    g = gradient[item, row, column]
    g_z = g[2] / w
    g_w = -g_z * (u * p[2] + v * q[2] + t * r[2]) / w
    g_u = g[0] + g_z * (p[2] - r[2]) + g_w * (p[3] - r[3])
    g_v = g[1] + g_z * (q[2] - r[2]) + g_w * (q[3] - r[3])
    mean = g_u * u + g_v * v
    g0, g1, g2 = (g_u - mean) / total, (g_v - mean) / total, -mean / total
    a = wp.vec2d(p[0] - x * p[3], p[1] - y * p[3])
    b = wp.vec2d(q[0] - x * q[3], q[1] - y * q[3])
    c = wp.vec2d(r[0] - x * r[3], r[1] - y * r[3])
    ga = wp.vec2d(g2 * b[1] - g1 * c[1], g1 * c[0] - g2 * b[0])
    gb = wp.vec2d(g0 * c[1] - g2 * a[1], g2 * a[0] - g0 * c[0])
    gc = wp.vec2d(g1 * a[1] - g0 * b[1], g0 * b[0] - g1 * a[0])
    wp.atomic_add(out, i, wp.vec4d(ga[0], ga[1], g_z * u, g_w * u - x * ga[0] - y * ga[1]))
    wp.atomic_add(out, j, wp.vec4d(gb[0], gb[1], g_z * v, g_w * v - x * gb[0] - y * gb[1]))
    wp.atomic_add(out, k, wp.vec4d(gc[0], gc[1], g_z * t, g_w * t - x * gc[0] - y * gc[1]))


@wp.kernel
def interpolate(
    attributes: wp.array2d(dtype=wp.float64),
    bases: wp.array(dtype=wp.int32),
    faces: wp.array2d(dtype=wp.int32),
    ids: wp.array3d(dtype=wp.int32),
    buffer: wp.array3d(dtype=wp.vec4d),
    out: wp.array4d(dtype=wp.float64),
):
    """Weighted corner attributes of one pixel."""
    item, row, column = wp.tid()
    face = ids[item, row, column]
    if face < 0:
        return
    weights = buffer[item, row, column]
    i, j, k = faces[face, 0] + bases[item], faces[face, 1] + bases[item], faces[face, 2] + bases[item]
    t = _ONE - weights[0] - weights[1]
    for c in range(out.shape[3]):
        out[item, row, column, c] = weights[0] * attributes[i, c] + weights[1] * attributes[j, c] + t * attributes[k, c]


@wp.kernel
def interpolate_gradient(
    attributes: wp.array2d(dtype=wp.float64),
    bases: wp.array(dtype=wp.int32),
    faces: wp.array2d(dtype=wp.int32),
    ids: wp.array3d(dtype=wp.int32),
    buffer: wp.array3d(dtype=wp.vec4d),
    gradient: wp.array4d(dtype=wp.float64),
    out: wp.array2d(dtype=wp.float64),
    buffer_gradient: wp.array3d(dtype=wp.vec4d),
):
    """Add one pixel's gradient to its triangle's corner attributes; write that of its weights."""
    item, row, column = wp.tid()
    face = ids[item, row, column]
    if face < 0:
        return
    weights = buffer[item, row, column]
    i, j, k = faces[face, 0] + bases[item], faces[face, 1] + bases[item], faces[face, 2] + bases[item]
    t = _ONE - weights[0] - weights[1]
    g_u, g_v = wp.float64(0.0), wp.float64(0.0)
    for c in range(gradient.shape[3]):
        g = gradient[item, row, column, c]
        wp.atomic_add(out, i, c, weights[0] * g)
        wp.atomic_add(out, j, c, weights[1] * g)
        wp.atomic_add(out, k, c, t * g)
        g_u += g * (attributes[i, c] - attributes[k, c])
        g_v += g * (attributes[j, c] - attributes[k, c])
    buffer_gradient[item, row, column] = wp.vec4d(g_u, g_v, _ZERO, _ZERO)


@wp.struct
class Edge:
    """A silhouette edge on the screen: its ends, its line, and the rows (or columns, if flat) that it crosses."""

    drawn: int
    a: int
    b: int
    line: wp.vec3d
    side: int
    steep: int
    first: int
    last: int
    component: int


@wp.struct
class Crossing:
    """Where an edge passes between two pixels, and what it does to them."""

    valid: int
    target: int
    source: int
    pair: int
    blend: wp.float64
    distance: wp.float64
    key: wp.int64
    scale: wp.float64
    along: wp.float64
    across: wp.float64


@wp.struct
class Scene:
    """What the edges are found with; arrays as in `EdgeTopology` and `Rasterized`."""

    clip: wp.array(dtype=wp.vec4d)
    items: wp.array2d(dtype=wp.int32)
    edges: wp.array2d(dtype=wp.int32)
    starts: wp.array(dtype=wp.int32)
    opposite: wp.array(dtype=wp.int32)
    edge_faces: wp.array(dtype=wp.int32)
    components: wp.array(dtype=wp.int32)
    ids: wp.array3d(dtype=wp.int32)
    buffer: wp.array3d(dtype=wp.vec4d)


@wp.func
def _inner_side(scene: Scene, item: int, edge: int, line: wp.vec3d):
    side = int(0)
    for slot in range(scene.starts[edge], scene.starts[edge + 1]):
        face = scene.edge_faces[slot]
        if face >= scene.items[item, 0] and face < scene.items[item, 0] + scene.items[item, 1]:
            value = _at(line, scene.clip[scene.opposite[slot] + scene.items[item, 2]])
            sign = int(0)
            if value > _ZERO:
                sign = int(1)
            if value < _ZERO:
                sign = int(-1)
            if sign != 0 and side != 2:
                if side == 0:
                    side = sign
                elif side != sign:
                    side = int(2)
    return side


@wp.func
def _find_edge(scene: Scene, item: int, index: int):
    edge = Edge()
    edge.drawn = int(0)
    height, width = scene.ids.shape[1], scene.ids.shape[2]
    edge.a = scene.edges[index, 0] + scene.items[item, 2]
    edge.b = scene.edges[index, 1] + scene.items[item, 2]
    p, q = scene.clip[edge.a], scene.clip[edge.b]
    edge.line = _line(p, q)
    edge.side = _inner_side(scene, item, index, edge.line)
    before_p, before_q = p[2] + p[3], q[2] + q[3]
    if edge.side == 0 or edge.side == 2 or (before_p < _ZERO and before_q < _ZERO):
        return edge
    start, end = p * _ONE, q * _ONE
    if before_p < _ZERO:
        start = p + (q - p) * (before_p / (before_p - before_q))
    if before_q < _ZERO:
        end = p + (q - p) * (before_p / (before_p - before_q))
    if start[3] <= _ZERO or end[3] <= _ZERO:
        return edge
    x0, x1 = _pixel(start[0] / start[3], width), _pixel(end[0] / end[3], width)
    y0, y1 = _pixel(start[1] / start[3], height), _pixel(end[1] / end[3], height)
    if wp.abs(y1 - y0) >= wp.abs(x1 - x0):
        edge.steep = int(1)
        edge.first = _first_at_or_after(wp.min(y0, y1), height)
        edge.last = _first_at_or_after(wp.max(y0, y1), height)
        if edge.line[0] != _ZERO:
            edge.drawn = int(1)
    else:
        edge.steep = int(0)
        edge.first = _first_at_or_after(wp.min(x0, x1), width)
        edge.last = _first_at_or_after(wp.max(x0, x1), width)
        if edge.line[1] != _ZERO:
            edge.drawn = int(1)
    edge.component = scene.components[scene.edge_faces[scene.starts[index]]]
    return edge


@wp.func
def _edge_depth(p: wp.vec4d, q: wp.vec4d, axis: int, position: wp.float64):
    start, end = p[axis] - position * p[3], q[axis] - position * q[3]
    if start == end:
        return wp.float64(10.0)
    t = start / (start - end)
    w = p[3] + t * (q[3] - p[3])
    if w <= _ZERO:
        return wp.float64(10.0)
    return (p[2] + t * (q[2] - p[2])) / w


@wp.func
def _find_crossing(scene: Scene, item: int, index: int, edge: Edge, position: int):
    crossing = Crossing()
    crossing.valid = int(0)
    height, width = scene.ids.shape[1], scene.ids.shape[2]
    size_across, size_along, over, by = height, width, int(1), int(0)
    if edge.steep == 1:
        size_across, size_along, over, by = width, height, int(0), int(1)
    along = _ndc(position, size_along)
    across = -(edge.line[by] * along + edge.line[2]) / edge.line[over]
    pixel = _pixel(across, size_across)
    if not (pixel >= _ZERO and pixel < wp.float64(size_across - 1)):
        return crossing
    before = int(wp.floor(pixel))
    inner, outer, distance, outwards = before, before + 1, pixel - wp.float64(before), _ONE
    if (edge.line[over] > _ZERO and edge.side > 0) or (edge.line[over] < _ZERO and edge.side < 0):
        inner, outer, distance, outwards = before + 1, before, wp.float64(before + 1) - pixel, -_ONE
    inner_row, inner_column, outer_row, outer_column = inner, position, outer, position
    if edge.steep == 1:
        inner_row, inner_column, outer_row, outer_column = position, inner, position, outer
    inner_id, outer_id = scene.ids[item, inner_row, inner_column], scene.ids[item, outer_row, outer_column]
    if inner_id < 0 or inner_id == outer_id:
        return crossing
    if scene.components[inner_id] != edge.component:
        return crossing
    depth = _edge_depth(scene.clip[edge.a], scene.clip[edge.b], by, along)
    if depth < -_ONE or depth > _ONE:
        return crossing
    if outer_id >= 0:
        seen = scene.buffer[item, outer_row, outer_column]
        if seen[2] <= depth:
            return crossing
    inner_pixel, outer_pixel = inner_row * width + inner_column, outer_row * width + outer_column
    crossing.scale = _HALF * wp.float64(size_across) * outwards
    if distance > _HALF:
        crossing.target = outer_pixel
        crossing.source = inner_pixel
        crossing.blend = distance - _HALF
    else:
        crossing.target = inner_pixel
        crossing.source = outer_pixel
        crossing.blend = _HALF - distance
        crossing.scale = -crossing.scale
    crossing.valid = int(1)
    crossing.pair = 2 * wp.min(inner_pixel, outer_pixel) + 1 - edge.steep
    crossing.along = along
    crossing.across = across
    crossing.distance = distance
    crossing.key = wp.int64(distance * wp.float64(1073741824.0)) * wp.int64(2147483648) + wp.int64(2147483647 - index)
    return crossing


@wp.kernel
def find_outermost(scene: Scene, best: wp.array2d(dtype=wp.int64)):
    """For the two pixels on either side of each crossing, the key of the crossing that is furthest out."""
    item, index = wp.tid()
    edge = _find_edge(scene, item, index)
    if edge.drawn == 0:
        return
    for position in range(edge.first, edge.last):
        crossing = _find_crossing(scene, item, index, edge, position)
        if crossing.valid == 1:
            wp.atomic_max(best, item, crossing.pair, crossing.key)


@wp.kernel
def sum_blends(scene: Scene, best: wp.array2d(dtype=wp.int64), totals: wp.array2d(dtype=wp.float64)):
    """How much is blended into each pixel, all crossings together."""
    item, index = wp.tid()
    edge = _find_edge(scene, item, index)
    if edge.drawn == 0:
        return
    for position in range(edge.first, edge.last):
        crossing = _find_crossing(scene, item, index, edge, position)
        if crossing.valid == 1:
            if best[item, crossing.pair] == crossing.key:
                wp.atomic_add(totals, item, crossing.target, crossing.blend)


@wp.kernel
def blend(
    scene: Scene,
    best: wp.array2d(dtype=wp.int64),
    totals: wp.array2d(dtype=wp.float64),
    image: wp.array3d(dtype=wp.float64),
    out: wp.array3d(dtype=wp.float64),
):
    """Add the blends to `out`, a copy of `image`; never more than the whole pixel."""
    item, index = wp.tid()
    edge = _find_edge(scene, item, index)
    if edge.drawn == 0:
        return
    for position in range(edge.first, edge.last):
        crossing = _find_crossing(scene, item, index, edge, position)
        if crossing.valid == 1:
            if best[item, crossing.pair] == crossing.key:
                share = crossing.blend / wp.max(totals[item, crossing.target], _ONE)
                for c in range(image.shape[2]):
                    change = share * (image[item, crossing.source, c] - image[item, crossing.target, c])
                    wp.atomic_add(out, item, crossing.target, c, change)


@wp.kernel
def blend_gradient(
    scene: Scene,
    best: wp.array2d(dtype=wp.int64),
    totals: wp.array2d(dtype=wp.float64),
    image: wp.array3d(dtype=wp.float64),
    gradient: wp.array3d(dtype=wp.float64),
    image_gradient: wp.array3d(dtype=wp.float64),
    clip_gradient: wp.array(dtype=wp.vec4d),
):
    """Gradient of the blends with respect to the image (added to a copy of `gradient`) and to the clip coordinates."""
    item, index = wp.tid()
    edge = _find_edge(scene, item, index)
    if edge.drawn == 0:
        return
    for position in range(edge.first, edge.last):
        crossing = _find_crossing(scene, item, index, edge, position)
        if crossing.valid == 1:
            if best[item, crossing.pair] == crossing.key:
                limit = wp.max(totals[item, crossing.target], _ONE)
                slope = wp.float64(0.0)
                for c in range(image.shape[2]):
                    g = gradient[item, crossing.target, c]
                    slope += g * (image[item, crossing.source, c] - image[item, crossing.target, c])
                    wp.atomic_add(image_gradient, item, crossing.source, c, g * crossing.blend / limit)
                    wp.atomic_add(image_gradient, item, crossing.target, c, -g * crossing.blend / limit)
                p, q = scene.clip[edge.a], scene.clip[edge.b]
                factor = -slope * crossing.scale / (limit * edge.line[1 - edge.steep])
                weight = wp.vec3d(factor * crossing.along, factor * crossing.across, factor)
                if edge.steep == 1:
                    weight = wp.vec3d(factor * crossing.across, factor * crossing.along, factor)
                of_p = wp.cross(wp.vec3d(q[0], q[1], q[3]), weight)
                of_q = wp.cross(weight, wp.vec3d(p[0], p[1], p[3]))
                wp.atomic_add(clip_gradient, edge.a, wp.vec4d(of_p[0], of_p[1], _ZERO, of_p[2]))
                wp.atomic_add(clip_gradient, edge.b, wp.vec4d(of_q[0], of_q[1], _ZERO, of_q[2]))
