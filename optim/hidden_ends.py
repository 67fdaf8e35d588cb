"""How far a long object reaches behind what hides one of its ends.

An image in which an object runs behind a nearer one says that it goes on there, not how far. Its length lies between that of the
completion, `v`, and the greatest that would still be hidden, `v + h`. Where no scale is preferred (Jeffreys' prior: the logarithm of the
length is uniform), the median is `sqrt(v (v + h))`, and that is taken.
"""

from dataclasses import replace

import numpy as np
import torch

from invgraphics.geometry.mesh import sample_surface
from optim.hypotheses import Hypothesis
from optim.object_view import ObjectView

_LEAST_ELONGATION = 1.2
"""Length over width from which on an object is long: what is as wide as it is long has been completed across both already."""
_END = 0.12
"""Share of the length that makes up an end; at most half of the width."""
_STEP = 0.003
"""Metres by which an end is moved on at a time."""
_FARTHEST = 1.5
"""Lengths by which an end is moved at most."""
_HIDDEN_SHARE = 0.8
"""Share of a moved end that must be out of sight: outlines are cut askew, and masks are off by a pixel."""
_LEAST_ROOM = 0.15
"""Share of the length below which the room behind the occluder does not count: it only brushes the outline."""
_FACING, _SEEN_SHARE = 0.6, 0.2
"""An end is seen where this share of the visible points near it face along the axis, with at least that cosine."""
_COMPLETED = 0.15
"""Share of the length beyond what is visible from which on a completion has said already how the object goes on."""
_STEEPEST_DESCENT = 0.35
"""A lower end is hidden by what carries it, and ends there."""
_MARGIN_PX = 1.5
"""Pixels by which masks may be off."""
_FRONT, _BEHIND = 0.004, 0.004
"""Metres before and behind the measured depth within which a point could as well be what was measured."""
_TABLE = 0.012
"""Metres over the support plane up to which a measured point may be the plane's, which hides nothing that lies on it."""
_STRETCHED, _KEPT_END = 0.3, 0.03
"""Shares of the length: what is stretched, and the very end beyond it, which keeps its shape."""
_SAMPLES = 3000


def extend_hidden_ends(completion: Hypothesis, view: ObjectView, generator: np.random.Generator) -> Hypothesis:
    """The completion, each end of its longest axis moved on where the image hides it and nothing else has completed it; else as it is."""
    seeded = torch.Generator().manual_seed(int(generator.integers(2**31)))
    vertices, faces = torch.as_tensor(completion.vertices), torch.as_tensor(completion.faces)
    surface = sample_surface(vertices, faces, _SAMPLES, seeded)[0].numpy()
    axes = np.linalg.eigh(np.cov(surface.T)).eigenvectors[:, ::-1]
    if np.ptp(surface @ axes[:, 0]) < _LEAST_ELONGATION * np.ptp(surface @ axes[:, 1]):
        return completion
    for direction in (axes[:, 0], -axes[:, 0]):
        extension = _estimate_extension(surface, axes[:, 1], direction, view)
        if extension > 0:
            completion = replace(completion, vertices=_stretch(completion.vertices, direction, extension))
    return completion


def _estimate_extension(surface: np.ndarray, across: np.ndarray, direction: np.ndarray, view: ObjectView) -> float:
    """Metres by which the end of a shape, given by (n, 3) points on it, is to be moved along a direction; 0 where nothing speaks for it."""
    along = surface @ direction
    length, width = float(np.ptp(along)), float(np.ptp(surface @ across))
    visible = view.points @ direction
    last = float(np.quantile(visible, 0.995))
    if direction[2] < -_STEEPEST_DESCENT or along.max() - last > _COMPLETED * length:
        return 0.0
    near = visible > last - _END * length
    if (view.normals[near] @ direction > _FACING).mean() > _SEEN_SHARE:
        return 0.0
    end = surface[along > along.max() - min(_END * length, 0.5 * width)]
    room = _measure_room(end, direction, _FARTHEST * length, view)
    return float(np.sqrt(length * (length + room)) - length) if room > _LEAST_ROOM * length else 0.0


def _measure_room(end: np.ndarray, direction: np.ndarray, farthest: float, view: ObjectView) -> float:
    """Metres by which (n, 3) points may be moved along a direction until an image would show them, or they sink into the plane."""
    room = 0.0
    for distance in np.arange(_STEP, farthest, _STEP):
        moved = end + distance * direction
        sunk = view.has_plane and moved[:, 2].min() < -_FRONT
        if sunk or any(_find_out_of_sight(moved, image).mean() < _HIDDEN_SHARE for image in view.images):
            return room
        room = float(distance)
    return room


def _find_out_of_sight(points: np.ndarray, image: ObjectView) -> np.ndarray:
    """(n,) whether the object could be at (n, 3) world points without being seen there. What leaves the image is not taken to go on."""
    pixels, depth = image.project(points)
    height, width = image.owned.shape
    column, row = np.rint(pixels).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    measured = image.barrier[row, column]
    behind_itself = (image.outside_px[row, column] <= _MARGIN_PX) & (depth > measured - _FRONT)
    occluder = (measured > 0) & (depth > measured + _BEHIND)
    touching = (measured > 0) & (depth > measured - _FRONT) & (_height_of_pixels(row, column, measured, image) > _TABLE)
    return inside & (behind_itself | (~image.owned[row, column] & (occluder | touching)))


def _height_of_pixels(row: np.ndarray, column: np.ndarray, depth: np.ndarray, image: ObjectView) -> np.ndarray:
    """(n,) world z, metres, of what pixels show at these depths."""
    rays = np.stack([column, row, np.ones(len(row))], axis=1) @ np.linalg.inv(image.K).T
    return depth * (rays @ image.T_world_camera[2, :3]) + image.T_world_camera[2, 3]


def _stretch(vertices: np.ndarray, direction: np.ndarray, extension: float) -> np.ndarray:
    """(v, 3) with the end along a direction moved by `extension` metres, and the part before it stretched."""
    along = vertices @ direction
    length = np.ptp(along)
    stop = along.max() - _KEPT_END * length
    share = np.clip((along - stop) / (_STRETCHED * length) + 1, 0.0, 1.0)
    return vertices + extension * share[:, None] * direction
