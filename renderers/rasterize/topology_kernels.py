"""Compiled loops of `renderers.rasterize.topology`: sides of triangles sorted into edges by counting, connected pieces by union-find."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _stable_order(keys, order, n_keys):
    """`order` sorted by keys[order], equal ones kept in their order (counting sort)."""
    starts = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    for key in range(n_keys):
        starts[key + 1] += starts[key]
    sorted_order = np.empty_like(order)
    for position in order:
        key = keys[position]
        sorted_order[starts[key]] = position
        starts[key] += 1
    return sorted_order


@njit(nogil=True, cache=True)
def collect_edges(faces, n_vertices):
    """Edges (e, 2), where each one's sides begin (e + 1), and per side its opposite corner, its triangle and its direction."""
    n_sides = 3 * len(faces)
    low, high = np.empty(n_sides, np.int64), np.empty(n_sides, np.int64)
    for face in range(len(faces)):
        for k in range(3):
            i, j = faces[face, k], faces[face, (k + 1) % 3]
            low[3 * face + k], high[3 * face + k] = min(i, j), max(i, j)
    order = _stable_order(low, _stable_order(high, np.arange(n_sides), n_vertices), n_vertices)
    edges, starts = np.empty((n_sides, 2), np.int64), np.empty(n_sides + 1, np.int64)
    opposite, owners, directions = np.empty(n_sides, np.int64), np.empty(n_sides, np.int64), np.empty(n_sides, np.int8)
    count = 0
    for slot in range(n_sides):
        side = order[slot]
        if count == 0 or low[side] != edges[count - 1, 0] or high[side] != edges[count - 1, 1]:
            edges[count, 0], edges[count, 1], starts[count] = low[side], high[side], slot
            count += 1
        owners[slot] = side // 3
        opposite[slot] = faces[side // 3, (side + 2) % 3]
        directions[slot] = 1 if faces[side // 3, side % 3] == low[side] else -1
    starts[count] = n_sides
    return edges[:count].copy(), starts[: count + 1].copy(), opposite, owners, directions


@njit(nogil=True, cache=True)
def _root(parents, vertex):
    while parents[vertex] != vertex:
        parents[vertex] = parents[parents[vertex]]
        vertex = parents[vertex]
    return vertex


@njit(nogil=True, cache=True)
def label_components(faces, n_vertices):
    """The lowest vertex of the connected piece that each triangle belongs to."""
    parents = np.arange(n_vertices)
    for face in range(len(faces)):
        for k in range(2):
            a, b = _root(parents, faces[face, k]), _root(parents, faces[face, k + 1])
            parents[max(a, b)] = min(a, b)
    labels = np.empty(len(faces), np.int64)
    for face in range(len(faces)):
        labels[face] = _root(parents, faces[face, 0])
    return labels
