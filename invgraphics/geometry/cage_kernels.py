"""Compiled loops of `invgraphics.geometry.cage`: mean value coordinates, one point at a time. float64 throughout."""

import math

import numpy as np
from numba import njit

_COPLANAR = 1e-8
"""Sine of the spherical triangle's angle below which a face's plane holds the point."""
_ON_FACE = 1e-7
"""How little, radians, half the sum of a face's angles may lack to pi where the point lies on it."""


@njit(nogil=True, cache=True, error_model="numpy")
def compute_weights(points, vertices, faces, edges, face_edges, tolerance, weights):
    """Weights (n, c), zero before, of points (n, 3) in a closed cage; a point within `tolerance` metres of a vertex is at it.

    Column k of `face_edges` names the edge, a row of `edges`, opposite each face's corner k.
    """
    directions, distances, angles = np.empty(vertices.shape), np.empty(len(vertices)), np.empty((len(edges), 3))
    for i in range(len(points)):
        row = weights[i]
        vertex = _look_at_vertices(points[i], vertices, tolerance, directions, distances)
        if vertex >= 0:
            row[vertex] = 1.0
            continue
        for edge in range(len(edges)):
            sine, cosine = _half_angle(directions, edges[edge, 0], edges[edge, 1])
            angles[edge, 0], angles[edge, 1], angles[edge, 2] = sine, cosine, 2.0 * math.atan2(sine, cosine)
        face = _add_faces(faces, face_edges, angles, directions, distances, row)
        if face >= 0:
            _write_barycentric(faces[face], directions, distances, row)
        total = 0.0
        for k in range(len(row)):
            total += row[k]
        for k in range(len(row)):
            row[k] /= total


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _look_at_vertices(point, vertices, tolerance, directions, distances):
    """Write unit directions and distances to the vertices; return the one that the point is at, or -1."""
    at = -1
    for k in range(len(vertices)):
        x, y, z = vertices[k, 0] - point[0], vertices[k, 1] - point[1], vertices[k, 2] - point[2]
        distance = math.sqrt(x * x + y * y + z * z)
        if distance <= tolerance:
            at = k
        inverse = 1.0 / max(distance, tolerance)
        directions[k, 0], directions[k, 1], directions[k, 2] = x * inverse, y * inverse, z * inverse
        distances[k] = distance
    return at


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _half_angle(directions, i, j):
    """Sine and cosine of half the angle between two unit directions: accurate near angles of 0 and of pi."""
    x, y, z = directions[i, 0] - directions[j, 0], directions[i, 1] - directions[j, 1], directions[i, 2] - directions[j, 2]
    u, v, w = directions[i, 0] + directions[j, 0], directions[i, 1] + directions[j, 1], directions[i, 2] + directions[j, 2]
    return 0.5 * math.sqrt(x * x + y * y + z * z), 0.5 * math.sqrt(u * u + v * v + w * w)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _triple_product(directions, i, j, k):
    a, b, c = directions[i], directions[j], directions[k]
    x, y, z = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
    return a[0] * x + a[1] * y + a[2] * z


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _sine_of_sum(s0, c0, s1, c1, s2, c2):
    """Sine of the sum of three angles, given their sines and cosines."""
    return (s0 * c1 + c0 * s1) * c2 + (c0 * c1 - s0 * s1) * s2


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _clamped(value):
    return min(max(value, -1.0), 1.0)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _corner_weight(angle, before, after, sine_after, cosine_before, cosine_after, signed_sine_before, distance):
    """Of one corner: `angle` is that of the edge opposite it, before and after those of the next corners round the face."""
    return (angle - cosine_after * before - cosine_before * after) / (distance * sine_after * signed_sine_before)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_faces(faces, face_edges, angles, directions, distances, row):
    """Add every face's weights to those of its corners; return the face that the point lies on, or -1.

    Faces whose plane holds the point subtend no solid angle and add nothing. Angle k is that of the edge opposite corner k, seen from the
    point; sines of the spherical triangle come from its triple product: near faces and edges, sqrt(1 - cosine^2) has no digits.
    """
    on_face = -1
    for face in range(len(faces)):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        e0, e1, e2 = face_edges[face, 0], face_edges[face, 1], face_edges[face, 2]
        s0, c0, angle_0 = angles[e0, 0], angles[e0, 1], angles[e0, 2]
        s1, c1, angle_1 = angles[e1, 0], angles[e1, 1], angles[e1, 2]
        s2, c2, angle_2 = angles[e2, 0], angles[e2, 1], angles[e2, 2]
        sine_0, sine_1, sine_2 = 2.0 * s0 * c0, 2.0 * s1 * c1, 2.0 * s2 * c2
        product_0, product_1, product_2 = max(sine_1 * sine_2, 1e-300), max(sine_2 * sine_0, 1e-300), max(sine_0 * sine_1, 1e-300)
        triple = _triple_product(directions, i, j, k)
        signed_0, signed_1, signed_2 = _clamped(triple / product_0), _clamped(triple / product_1), _clamped(triple / product_2)
        half_sum = 0.5 * (angle_0 + angle_1 + angle_2)
        if min(abs(signed_0), abs(signed_1), abs(signed_2)) <= _COPLANAR:
            if math.pi - half_sum < _ON_FACE:
                on_face = face
            continue
        twice = 2.0 * _sine_of_sum(s0, c0, s1, c1, s2, c2)
        cosine_0 = _clamped(twice * _sine_of_sum(-s0, c0, s1, c1, s2, c2) / product_0 - 1.0)
        cosine_1 = _clamped(twice * _sine_of_sum(s0, c0, -s1, c1, s2, c2) / product_1 - 1.0)
        cosine_2 = _clamped(twice * _sine_of_sum(s0, c0, s1, c1, -s2, c2) / product_2 - 1.0)
        row[i] += _corner_weight(angle_0, angle_2, angle_1, sine_1, cosine_2, cosine_1, signed_2, distances[i])
        row[j] += _corner_weight(angle_1, angle_0, angle_2, sine_2, cosine_0, cosine_2, signed_0, distances[j])
        row[k] += _corner_weight(angle_2, angle_1, angle_0, sine_0, cosine_1, cosine_0, signed_1, distances[k])
    return on_face


@njit(nogil=True, cache=True, error_model="numpy")
def _write_barycentric(face, directions, distances, row):
    """Barycentric coordinates of a point on a face, and nothing else: twice the areas between the point and each edge, not yet scaled."""
    row[:] = 0.0
    for corner in range(3):
        j, k = face[(corner + 1) % 3], face[(corner + 2) % 3]
        sine, cosine = _half_angle(directions, j, k)
        row[face[corner]] = 2.0 * sine * cosine * distances[j] * distances[k]
