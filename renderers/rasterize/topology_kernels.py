"""Compiled loops of `renderers.rasterize.topology`: sides of triangles sorted into edges by counting, connected pieces by union-find."""

import numpy as np
from numba import njit

_FEW = 24
"""So many sides are sorted fastest by insertion."""


@njit(nogil=True, cache=True)
def _sort_by_key(keys, values):
    """Sort values by keys, and the keys, in place; equal ones keep their order."""
    if len(keys) > _FEW:
        order = np.argsort(keys, kind="mergesort")
        keys[:], values[:] = keys[order], values[order]
        return
    for end in range(1, len(keys)):
        key, value, place = keys[end], values[end], end
        while place > 0 and keys[place - 1] > key:
            keys[place], values[place] = keys[place - 1], values[place - 1]
            place -= 1
        keys[place], values[place] = key, value


@njit(nogil=True, cache=True)
def _sort_sides(faces, n_vertices):
    """All sides (side k of triangle f is number 3 f + k) sorted by their lower and then their higher vertex.

    Returns where each lower vertex's sides begin, the sides, and their higher vertices.
    """
    starts = np.zeros(n_vertices + 2, np.int64)
    for face in range(len(faces)):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        starts[min(i, j) + 2] += 1
        starts[min(j, k) + 2] += 1
        starts[min(k, i) + 2] += 1
    for vertex in range(n_vertices):
        starts[vertex + 2] += starts[vertex + 1]
    sides, higher = np.empty(3 * len(faces), np.int32), np.empty(3 * len(faces), np.int32)
    for face in range(len(faces)):
        for k in range(3):
            i, j = faces[face, k], faces[face, (k + 1) % 3]
            slot = starts[min(i, j) + 1]
            sides[slot], higher[slot] = 3 * face + k, max(i, j)
            starts[min(i, j) + 1] += 1
    for vertex in range(n_vertices):
        _sort_by_key(higher[starts[vertex] : starts[vertex + 1]], sides[starts[vertex] : starts[vertex + 1]])
    return starts, sides, higher


@njit(nogil=True, cache=True)
def collect_edges(faces, n_vertices):
    """Edges (e, 2), where each one's sides begin (e + 1), and per side its opposite corner, its triangle and its direction."""
    vertex_starts, sides, higher = _sort_sides(faces, n_vertices)
    opposite, owners, directions = np.empty(len(sides), np.int64), np.empty(len(sides), np.int64), np.empty(len(sides), np.int8)
    count = 0
    for vertex in range(n_vertices):
        for slot in range(vertex_starts[vertex], vertex_starts[vertex + 1]):
            count += slot == vertex_starts[vertex] or higher[slot] != higher[slot - 1]
            face, k = sides[slot] // 3, sides[slot] % 3
            owners[slot], opposite[slot] = face, faces[face, (k + 2) % 3]
            directions[slot] = 1 if faces[face, k] == vertex else -1
    edges, starts = np.empty((count, 2), np.int64), np.empty(count + 1, np.int64)
    edge = 0
    for vertex in range(n_vertices):
        for slot in range(vertex_starts[vertex], vertex_starts[vertex + 1]):
            if slot == vertex_starts[vertex] or higher[slot] != higher[slot - 1]:
                edges[edge, 0], edges[edge, 1], starts[edge] = vertex, higher[slot], slot
                edge += 1
    starts[count] = len(sides)
    return edges, starts, opposite, owners, directions


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
