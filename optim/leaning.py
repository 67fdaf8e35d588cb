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
_TOUCHES = 1e-3
"""Metres of a gap that nothing falls through."""
_OVERLAP = 5e-4
"""Metres by which two objects overlap that stay as they are."""
_ROUNDS = 4
_MISSED, _CARRIES = 0.05, 0.02
"""Shares of an object's weight: from which it falls without a force across a gap, and from which a force counts once it does."""
_FIRM = 0.1
"""Radians by which the scene may be tilted without what was held falling again."""
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
    sides = [_Side(Surface(mesh), view) for mesh, view in zip(meshes, views, strict=True)]
    apart, met = None, np.zeros((len(sides) + 1, len(sides) + 1), dtype=bool)  # PLANE is the last.
    for _ in range(_ROUNDS):
        gaps = find_gaps([side.surface for side in sides], _REACH)
        apart = _find_pairs_apart(gaps, len(sides)) if apart is None else apart
        may_close = _may_close(gaps, sides) & apart[gaps.upper, gaps.lower]
        carrying = np.zeros(len(gaps), dtype=bool)
        known = (gaps.width <= _TOUCHES) | may_close
        carrying[known] = _find_what_carries(gaps.chosen(known), [side.surface.mesh for side in sides])
        carrying &= may_close
        met[gaps.upper[carrying], gaps.lower[carrying]] = met[gaps.lower[carrying], gaps.upper[carrying]] = True
        wrong = carrying | (met[gaps.upper, gaps.lower] & (gaps.width < -_CLOSED) & may_close)
        if not wrong.any():
            break
        sides = _close(gaps.chosen(wrong), sides)
    return [side.surface.mesh for side in sides]


def _find_pairs_apart(gaps: Gaps, count: int) -> Bool[np.ndarray, "m m"]:
    """Which two of `count` objects and the plane, the last, do not overlap: what does touches already, however the cages left it."""
    apart = np.ones((count + 1, count + 1), dtype=bool)
    overlapping = (gaps.width < -_OVERLAP) & (gaps.lower != PLANE)
    apart[gaps.upper[overlapping], gaps.lower[overlapping]] = apart[gaps.lower[overlapping], gaps.upper[overlapping]] = False
    return apart


def find_unseen(mesh: Mesh, view: ObjectView) -> Bool[torch.Tensor, " v"]:
    """Which vertices (world frame) no image shows: they look away from every camera, or lie behind what it shows."""
    points, normals = mesh.vertices.double().numpy(), vertex_normals(mesh.vertices.double(), mesh.faces).numpy()
    unseen = np.ones(len(points), dtype=bool)
    for image in view.images:
        behind = image.free_space(points) < -max(_SEEN_NOISE_LEVELS * view.noise, _SEEN_WITHIN)
        unseen &= behind | ((normals * (image.camera_centre - points)).sum(1) <= 0)
    return torch.as_tensor(unseen)


def _find_what_carries(gaps: Gaps, meshes: Sequence[Mesh]) -> Bool[np.ndarray, " g"]:
    """Which gaps to close: those that make firm whatever would fall."""
    needed = (gaps.width > _TOUCHES) & (find_support(meshes, gaps, 0.0).load > _MISSED)
    if not needed.any():
        return needed
    loose = np.union1d(gaps.upper[needed], gaps.lower[needed])
    near = (gaps.width <= _TOUCHES) | np.isin(gaps.upper, loose) | np.isin(gaps.lower, loose[loose != PLANE])
    needed[near] = find_support(meshes, gaps.chosen(near), _FIRM).load > _CARRIES
    return needed & (gaps.width > _CLOSED)


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
    along = normals @ (move / np.linalg.norm(move, axis=1, keepdims=True)).T
    along = (along * np.sign((normals[there.corners].sum(1) * move).sum(1))).clip(min=0)
    pull = np.where(side.unseen[:, None], (1 - distance**2).clip(min=0) ** 2 * along, 0.0)
    response = (there.shares[:, :, None] * pull[there.corners]).sum(1)
    shift = pull @ np.linalg.lstsq(response, move, rcond=0.1)[0]
    most = np.where(pull > 0, np.linalg.norm(move, axis=1), 0.0).max(1)
    length = np.linalg.norm(shift, axis=1)
    return side.moved(vertices + shift * np.minimum(1, most / np.maximum(length, 1e-12))[:, None])
