"""Compiled loops of `distances`: a bounding-volume tree over triangles, nearest triangles, solid angles. float64 throughout."""

import math

import numpy as np
from numba import njit, prange

LEAF_SIZE = 4
STACK_SIZE = 64
"""Deeper than any tree here: every split halves the triangles."""


@njit(cache=True)
def build_tree(triangles):
    """Depth-first tree over triangles (f, 3, 3), split at the median centroid along the longest side.

    Returns bounds (n, 2, 3), ranges (n, 2) into the order, index of the right child (n; -1 for a leaf; the left child
    is the next node) and the order of the triangles (f).
    """
    count = len(triangles)
    centroids = np.empty((count, 3))
    for i in range(count):
        for k in range(3):
            centroids[i, k] = (triangles[i, 0, k] + triangles[i, 1, k] + triangles[i, 2, k]) / 3.0
    order = np.arange(count)
    capacity = 2 * count + 1
    bounds, ranges, right = np.empty((capacity, 2, 3)), np.empty((capacity, 2), np.int64), np.full(capacity, -1)
    stack = np.empty((STACK_SIZE, 3), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, count, -1
    top, node = 1, 0
    while top > 0:
        top -= 1
        start, end, parent = stack[top, 0], stack[top, 1], stack[top, 2]
        if parent >= 0:
            right[parent] = node
        ranges[node, 0], ranges[node, 1] = start, end
        _bound(triangles, order[start:end], bounds[node])
        if end - start > LEAF_SIZE:
            axis = np.argmax(bounds[node, 1] - bounds[node, 0])
            part = order[start:end].copy()
            order[start:end] = part[np.argsort(centroids[part, axis])]
            middle = (start + end) // 2
            stack[top, 0], stack[top, 1], stack[top, 2] = middle, end, node
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = start, middle, -1
            top += 2
        node += 1
    return bounds[:node], ranges[:node], right[:node], order


@njit(cache=True)
def _bound(triangles, chosen, box):
    box[0], box[1] = np.inf, -np.inf
    for i in chosen:
        for j in range(3):
            for k in range(3):
                box[0, k] = min(box[0, k], triangles[i, j, k])
                box[1, k] = max(box[1, k], triangles[i, j, k])


@njit(parallel=True, cache=True)
def nearest_triangles(points, triangles, bounds, ranges, right, order):
    """Distance from each point (n, 3) to the nearest triangle, and that triangle's index."""
    distances, indices = np.empty(len(points)), np.empty(len(points), np.int64)
    for i in prange(len(points)):
        distances[i], indices[i] = _nearest_triangle(points[i], triangles, bounds, ranges, right, order)
    return distances, indices


@njit(cache=True)
def _nearest_triangle(point, triangles, bounds, ranges, right, order):
    stack = np.empty(STACK_SIZE, np.int64)
    stack[0] = 0
    top, best, index = 1, np.inf, 0
    while top > 0:
        top -= 1
        node = stack[top]
        if _squared_distance_to_box(point, bounds[node]) >= best:
            continue
        if right[node] < 0:
            for k in range(ranges[node, 0], ranges[node, 1]):
                squared = _squared_distance_to_triangle(point, triangles[order[k]])
                if squared < best:
                    best, index = squared, order[k]
        else:
            near, far = node + 1, right[node]
            if _squared_distance_to_box(point, bounds[far]) < _squared_distance_to_box(point, bounds[near]):
                near, far = far, near
            stack[top], stack[top + 1] = far, near
            top += 2
    return math.sqrt(best), index


@njit(cache=True)
def _squared_distance_to_box(point, box):
    squared = 0.0
    for k in range(3):
        outside = max(box[0, k] - point[k], point[k] - box[1, k], 0.0)
        squared += outside * outside
    return squared


@njit(cache=True)
def _squared_distance_to_triangle(point, triangle):
    """To the foot of the perpendicular where it falls inside, else to the nearest of the three edges."""
    normal = _cross(_minus(triangle[1], triangle[0]), _minus(triangle[2], triangle[0]))
    length_squared = _dot(normal, normal)
    inside, best = length_squared > 0.0, np.inf
    for k in range(3):
        along, away = _minus(triangle[(k + 1) % 3], triangle[k]), _minus(point, triangle[k])
        inside = inside and _dot(_cross(along, away), normal) >= 0.0
        edge_squared = _dot(along, along)
        fraction = min(max(_dot(away, along) / edge_squared, 0.0), 1.0) if edge_squared > 0.0 else 0.0
        rest = (away[0] - fraction * along[0], away[1] - fraction * along[1], away[2] - fraction * along[2])
        best = min(best, _dot(rest, rest))
    if inside:
        height = _dot(_minus(point, triangle[0]), normal)
        return height * height / length_squared
    return best


@njit(cache=True)
def _minus(a, b):
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


@njit(cache=True)
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True)
def _cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


@njit(parallel=True, cache=True)
def winding_numbers(points, triangles):
    """Sum over the triangles of the signed solid angle seen from each point, over 4 pi (van Oosterom and Strackee 1983)."""
    result = np.empty(len(points))
    for i in prange(len(points)):
        total = 0.0
        for j in range(len(triangles)):
            total += _solid_angle(points[i], triangles[j])
        result[i] = total / (4.0 * math.pi)
    return result


@njit(cache=True)
def _solid_angle(point, triangle):
    a, b, c = _minus(triangle[0], point), _minus(triangle[1], point), _minus(triangle[2], point)
    la, lb, lc = math.sqrt(_dot(a, a)), math.sqrt(_dot(b, b)), math.sqrt(_dot(c, c))
    denominator = la * lb * lc + _dot(a, b) * lc + _dot(b, c) * la + _dot(c, a) * lb
    return 2.0 * math.atan2(_dot(a, _cross(b, c)), denominator)


@njit(cache=True)
def build_dipoles(triangles, ranges, order):
    """What each node of the tree looks like from afar: area-weighted centre (n, 3), vector area (n, 3), radius about the centre (n)."""
    count = len(ranges)
    centres, areas, radii = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros(count)
    for node in range(count):
        weight = 0.0
        for i in order[ranges[node, 0] : ranges[node, 1]]:
            corner = triangles[i]
            normal = _cross(_minus(corner[1], corner[0]), _minus(corner[2], corner[0]))
            area = 0.5 * math.sqrt(_dot(normal, normal)) + 1e-30
            weight += area
            for k in range(3):
                areas[node, k] += 0.5 * normal[k]
                centres[node, k] += area * (corner[0, k] + corner[1, k] + corner[2, k]) / 3.0
        for k in range(3):
            centres[node, k] /= weight
        for i in order[ranges[node, 0] : ranges[node, 1]]:
            for corner in range(3):
                offset = _minus(triangles[i, corner], centres[node])
                radii[node] = max(radii[node], math.sqrt(_dot(offset, offset)))
    return centres, areas, radii


@njit(parallel=True, cache=True)
def fast_winding_numbers(points, triangles, ranges, right, order, centres, areas, radii, reach):
    """Winding numbers with every node farther than `reach` of its radii taken for a dipole (Barill et al. 2018, first order)."""
    result = np.empty(len(points))
    for i in prange(len(points)):
        stack = np.empty(STACK_SIZE, np.int64)
        stack[0] = 0
        top, total = 1, 0.0
        while top > 0:
            top -= 1
            node = stack[top]
            offset = _minus(centres[node], points[i])
            distance = math.sqrt(_dot(offset, offset))
            if distance > reach * radii[node]:
                total += _dot(areas[node], offset) / (distance * distance * distance)
            elif right[node] < 0:
                for j in range(ranges[node, 0], ranges[node, 1]):
                    total += _solid_angle(points[i], triangles[order[j]])
            else:
                stack[top], stack[top + 1] = node + 1, right[node]
                top += 2
        result[i] = total / (4.0 * math.pi)
    return result
