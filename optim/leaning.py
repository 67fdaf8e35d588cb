"""What carries an object touches it: gaps that forces must act across are closed by moving surfaces that no image shows.

A few millimetres of error on a side that was guessed leave things in the air, and they fall when they are let go. Which gaps those are is
told by `optim.equilibrium`; here the unseen surfaces on both sides of each are bent until they meet. What was seen stays where it was seen.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from invgraphics.geometry.mesh import Mesh, vertex_normals
from optim.contacts import PLANE, Gaps, Surface, find_gaps
from optim.equilibrium import find_support
from optim.object_view import ObjectView

_REACH = 0.012
"""Metres of the widest gap that is closed."""
_CLOSED = 1e-4
"""Metres: no gap."""
_ROUNDS = 4
_TOUCHED, _FIRM = 0.03, 0.1
"""Radians by which the scene may be tilted without anything falling: before something is called loose, and once it is held."""
_WIDTH, _WIDTH_IN_EDGES = 0.012, 1.5
"""Radius of what moves round a contact: metres, and in edges of the triangle that it lies on at the least."""
_SEEN_NOISE_LEVELS, _SEEN_WITHIN = 3.0, 0.003
"""How far behind the surface that an image shows a vertex belongs to that surface, in noise levels and at least in metres."""
_FREE_TOLERANCE = 0.003
"""Metres by which a surface may come to stand in space that was seen to be empty."""


def let_lean(meshes: Sequence[Mesh], views: Sequence[ObjectView]) -> list[Mesh]:
    """Closed meshes (world frame, metres) with their unseen sides bent by as little as lets forces hold all of them still.

    What nothing unseen within `_REACH` can hold stays as it is, and so does what stands by itself.
    """
    sides = _part([_Side(Surface(mesh), view) for mesh, view in zip(meshes, views, strict=True)])
    for _ in range(_ROUNDS):
        gaps = find_gaps([side.surface for side in sides], _REACH)
        gaps = gaps.chosen((gaps.width <= _CLOSED) | _may_close(gaps, sides))
        wide = _find_what_carries(gaps, [side.surface.mesh for side in sides])
        if not len(wide):
            break
        sides = _part(_close(wide, sides))
    return [side.surface.mesh for side in sides]


def find_unseen(mesh: Mesh, view: ObjectView) -> Bool[torch.Tensor, " v"]:
    """Which vertices (world frame) no image shows: they look away from every camera, or lie behind what it shows."""
    points, normals = mesh.vertices.double().numpy(), vertex_normals(mesh.vertices.double(), mesh.faces).numpy()
    unseen = np.ones(len(points), dtype=bool)
    for image in view.images:
        behind = image.free_space(points) < -max(_SEEN_NOISE_LEVELS * view.noise, _SEEN_WITHIN)
        unseen &= behind | ((normals * (image.camera_centre - points)).sum(1) <= 0)
    return torch.as_tensor(unseen)


def _find_what_carries(gaps: Gaps, meshes: Sequence[Mesh]) -> Gaps:
    """The gaps to close: those that make firm whatever would fall at a touch."""
    open_ones = gaps.width > _CLOSED
    needed = open_ones & find_support(meshes, gaps, _TOUCHED).used
    if not needed.any():
        return gaps.chosen(needed)
    loose = np.union1d(gaps.upper[needed], gaps.lower[needed])
    gaps = gaps.chosen(~open_ones | np.isin(gaps.upper, loose) | np.isin(gaps.lower, loose[loose != PLANE]))
    return gaps.chosen((gaps.width > _CLOSED) & find_support(meshes, gaps, _FIRM).used)


class _Side:
    """An object beside a gap."""

    def __init__(self, surface: Surface, view: ObjectView):
        self.surface = surface
        self.view = view
        self.unseen = find_unseen(surface.mesh, view).numpy()

    def moved(self, vertices: Float[np.ndarray, "v 3"]) -> "_Side":
        """The object with its vertices elsewhere."""
        mesh = self.surface.mesh
        return _Side(Surface(replace(mesh, vertices=torch.as_tensor(vertices).to(mesh.vertices))), self.view)


def _may_close(gaps: Gaps, sides: Sequence[_Side]) -> Bool[np.ndarray, " g"]:
    """Whether either side of each gap may move, into space that was not seen to be empty."""
    return _may_move(gaps.upper, gaps.at_upper, gaps.at_lower, sides) | _may_move(gaps.lower, gaps.at_lower, gaps.at_upper, sides)


def _may_move(end: np.ndarray, at: np.ndarray, onto: np.ndarray, sides: Sequence[_Side]) -> Bool[np.ndarray, " g"]:
    allowed = np.zeros(len(end), dtype=bool)
    for k, side in enumerate(sides):
        mine = np.flatnonzero(end == k)
        if len(mine):
            corners = side.surface.find_nearest(at[mine]).corners
            allowed[mine] = side.unseen[corners].all(1) & (side.view.free_space(onto[mine]) < _FREE_TOLERANCE)
    return allowed


def _close(gaps: Gaps, sides: Sequence[_Side]) -> list[_Side]:
    """The objects, bent so that both sides of each gap meet: halfway where both may move, else where the one stands that may not."""
    upper_may = _may_move(gaps.upper, gaps.at_upper, gaps.at_lower, sides)
    lower_may = _may_move(gaps.lower, gaps.at_lower, gaps.at_upper, sides)
    share = upper_may / np.maximum(upper_may.astype(float) + lower_may, 1)
    way = gaps.at_lower - gaps.at_upper
    result = []
    for k, side in enumerate(sides):
        up, down = (gaps.upper == k) & upper_may, (gaps.lower == k) & lower_may
        at = np.concatenate([gaps.at_upper[up], gaps.at_lower[down]])
        move = np.concatenate([share[up, None] * way[up], (share[down, None] - 1) * way[down]])
        result.append(_bend(side, at, move) if len(at) else side)
    return result


def _bend(side: _Side, at: Float[np.ndarray, "g 3"], move: Float[np.ndarray, "g 3"]) -> _Side:
    """The object with points of its surface moved, and its unseen surface round them, less the further away."""
    vertices, normals = side.surface.vertices, vertex_normals(side.surface.mesh.vertices.double(), side.surface.mesh.faces).numpy()
    there = side.surface.find_nearest(at)
    triangles = vertices[there.corners]
    longest = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).max(1)
    radius = np.maximum(_WIDTH, _WIDTH_IN_EDGES * longest)
    distance = np.linalg.norm(vertices[:, None] - at[None], axis=2) / radius
    along = (normals @ (move / np.linalg.norm(move, axis=1, keepdims=True)).T).clip(min=0)
    pull = np.where(side.unseen[:, None], (1 - distance**2).clip(min=0) ** 2 * along, 0.0)
    response = (there.shares[:, :, None] * pull[there.corners]).sum(1)
    shift = pull @ np.linalg.lstsq(response, move, rcond=0.1)[0]
    most = np.where(pull > 0, np.linalg.norm(move, axis=1), 0.0).max(1)
    length = np.linalg.norm(shift, axis=1)
    return side.moved(vertices + shift * np.minimum(1, most / np.maximum(length, 1e-12))[:, None])


def _part(sides: Sequence[_Side]) -> list[_Side]:
    """The objects, with the unseen vertices that lie inside another, or below the plane, on its surface."""
    result = list(sides)
    for k, side in enumerate(sides):
        vertices = np.where(side.unseen[:, None], side.surface.vertices.clip(min=[-np.inf, -np.inf, 0]), side.surface.vertices)
        for other in result[:k] + result[k + 1 :]:
            low, high = other.surface.vertices.min(0), other.surface.vertices.max(0)
            within = np.flatnonzero(((vertices >= low) & (vertices <= high)).all(1) & side.unseen)
            if len(within):
                nearest = other.surface.find_nearest(vertices[within])
                sunk = (nearest.distance < 0) & (nearest.distance > -_REACH)
                vertices[within[sunk]] = nearest.position[sunk]
        if (vertices != side.surface.vertices).any():
            result[k] = side.moved(vertices)
    return result
