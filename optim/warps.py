"""Random deformations of a shape that leave what was seen where it is: how the unseen side of one completion may vary.

Each is a displacement of the vertices that is a smooth function of place, so that a closed surface stays closed and does not fold.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array, diags_array, sparray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from optim.hypotheses import Hypothesis
from optim.object_view import ObjectView
from optim.superquadrics import Superquadric

SEEN_NOISE = 0.85
"""Standard deviation, in noise levels of the depth, by which what was seen varies. One of the constants of calibration: these three were
fitted on the odd scenes of a development set of scanned objects (43 objects), so that the truth ranks among 7 samples by chance; the
shares of `invgraphics.spread.compute_reliability` are then off by 1.4 % there in the mean, and by 3.6 % on the even ones (30)."""
UNSEEN_SHARE = 0.35
"""Standard deviation of what was not seen, as a share of its distance from what was seen."""
_LEAST_NOISE = 0.001
_CORRELATION = 0.4
"""Length over which deformations go together, as a share of the visible extent."""
_FEATURES = 48
_DEPTH_SPREAD = 0.6
"""Standard deviation of the logarithm of the depth of the unseen side: the third constant of calibration."""
_FULL_DOUBT = 2.0
"""Doubt (`alternatives.Beliefs`) from which the unseen side varies in full; below, in proportion, ..."""
_LEAST_VARIED = 0.2
"""... but so much at the least."""
_SATURATION = 0.25
"""Visible extents from what was seen beyond which nothing gets more uncertain."""
_MOST_STRETCH = (0.3, 2.5)
_PULLED = 0.1
"""Distance from what was seen, as a share of the visible extent, from which parameters of a primitive act fully."""
_LARGEST_CHANGE = 0.7
"""Of a logarithm of a radius, and of a rotation in radians: beyond, a covariance says nothing."""
_CUT_SHARE = 0.08
"""Of an outline: less of it behind something nearer does not matter."""
_LEAST_ASIDE = 0.1
"""Visible extents from the middle of what is visible to where it is cut off: nearer, it is cut off all around."""
_JUMP_PIXELS = 4
_LONGEST_EXTENSION = 0.05
"""Mean length, metres, by which a tiny visible part that is cut off across its whole width goes on behind what cuts it off."""
_USUAL_SIZE = 0.3
"""Metres: what is seen to be so long hardly goes on."""
_STANDING = 0.15
"""Share of the height of what stands on the plane over which the contact with it is kept."""
_RETREATS = 6


@dataclass(frozen=True)
class Occlusion:
    """Where the outline of an object is not its own but that of something nearer, or the image's border."""

    place: np.ndarray
    """(3,) mean of that part of the outline, world frame."""
    direction: np.ndarray
    """(3,) from the middle of what is visible to there, unit."""
    share: float
    """Of the object's width across that direction that is cut off, [0, 1]."""


def find_occlusion(view: ObjectView) -> Occlusion | None:
    """How the visible part is cut off; None where hardly anything cuts it off, or all around."""
    outline, is_cut = _find_outline(view)
    if is_cut.mean() < _CUT_SHARE:
        return None
    cut = outline[is_cut]
    pixels, _ = view.project(view.points)
    places = view.points[cKDTree(pixels).query(cut)[1]]
    towards = places.mean(0) - view.points.mean(0)
    length = float(np.linalg.norm(towards))
    if length < _LEAST_ASIDE * np.linalg.norm(np.ptp(view.points, axis=0)):
        return None
    aside = cut.mean(0) - pixels.mean(0)
    sideways = np.array([-aside[1], aside[0]]) / np.linalg.norm(aside)
    return Occlusion(places.mean(0), towards / length, min(len(cut) / max(float(np.ptp(pixels @ sideways)), 1.0), 1.0))


def _find_outline(view: ObjectView) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) pixels u, v along the outline, and which of them are next to something nearer or to the image's border.

    Depth is often missing where it jumps, so that "next to" is within `_JUMP_PIXELS`.
    """
    owned = np.pad(view.owned.astype(np.uint8), 1)
    rows, columns = np.nonzero((cv2.erode(owned, np.ones((3, 3), np.uint8)) == 0)[1:-1, 1:-1] & view.owned)
    hiding = np.pad(((view.excess_px == 0) & ~view.owned).astype(np.uint8), 1, constant_values=1)
    side = 2 * _JUMP_PIXELS + 1
    near = cv2.dilate(hiding, np.ones((side, side), np.uint8))[1:-1, 1:-1] > 0
    return np.stack([columns, rows], axis=1).astype(np.float64), near[rows, columns]


class Warper:
    """Draws deformations of the shapes of one object."""

    def __init__(self, view: ObjectView, primitive: Superquadric | None, covariance: np.ndarray):
        self.view, self.primitive, self.covariance = view, primitive, covariance
        self.seen = cKDTree(view.points)
        self.extent = float(np.linalg.norm(np.ptp(view.points, axis=0)))
        self.noise = max(view.noise, _LEAST_NOISE)
        self.occlusion = find_occlusion(view)

    def warp(self, shape: Hypothesis, doubt: float, is_primitive: bool, generator: np.random.Generator) -> Hypothesis:
        """One random variation of a shape, consistent with the image where the shape is.

        Args:
            shape: closed; world frame.
            doubt: of the shape (`alternatives.Beliefs`): what is firmly founded varies less.
            is_primitive: the shape is the superquadric, whose parameters then vary with their covariance.
            generator: of everything random.
        """
        vertices = shape.vertices
        away = self._measure_distance(vertices)
        varied = np.clip(doubt / _FULL_DOUBT, _LEAST_VARIED, 1.0) * away
        offset = self._draw_residual(vertices, varied, generator) + self._draw_depth(vertices, varied, generator)
        if is_primitive and self.primitive is not None:
            offset += (1 - np.exp(-((away / (_PULLED * self.extent)) ** 2) / 2))[:, None] * self._draw_parameters(vertices, generator)
        if self.occlusion is not None:
            offset += self._draw_extension(vertices, generator)
        offset = self._keep_contact(vertices, offset)
        warped = vertices + _retreat(vertices, offset, shape.faces, self._excess)
        if self.view.has_plane:
            warped[:, 2] = np.maximum(warped[:, 2], 0.0)
        return Hypothesis(shape.name, warped, shape.faces)

    def _measure_distance(self, points: np.ndarray) -> np.ndarray:
        """(n,) metres from what was seen, beyond what noise and the spacing of pixels account for; levels off far away."""
        most = _SATURATION * self.extent
        return most * np.tanh(np.maximum(self.seen.query(points)[0] - 2 * self.noise, 0.0) / most)

    def _draw_residual(self, points: np.ndarray, away: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A smooth random field: what no family of shapes accounts for. Random Fourier features (Rahimi and Recht 2007)."""
        waves = generator.standard_normal((_FEATURES, 3)) / (_CORRELATION * self.extent)
        phases = generator.uniform(0, 2 * np.pi, _FEATURES)
        mix = generator.standard_normal((_FEATURES, 3))
        field = np.sqrt(2 / _FEATURES) * np.cos(points @ waves.T + phases) @ mix
        return (SEEN_NOISE * self.noise + UNSEEN_SHARE * away)[:, None] * field

    def _draw_depth(self, points: np.ndarray, away: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The unseen side nearer to what was seen, or farther behind it."""
        stretch = np.clip(np.exp(_DEPTH_SPREAD * generator.standard_normal()), *_MOST_STRETCH)
        rays = points - self.view.camera_centre
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        return (stretch - 1) * away[:, None] * rays

    def _draw_parameters(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The primitive moved, turned and scaled."""
        fit = self.primitive
        change = generator.multivariate_normal(np.zeros(9), self.covariance, method="cholesky")
        turn, grow = np.clip(change[3:6], -_LARGEST_CHANGE, _LARGEST_CHANGE), np.clip(change[6:], -_LARGEST_CHANGE, _LARGEST_CHANGE)
        R = fit.R @ Rotation.from_rotvec(turn).as_matrix()
        local = (points - fit.centre) @ fit.R
        return fit.centre + change[:3] + (local * np.exp(grow)) @ R.T - points

    def _draw_extension(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What is cut off by something nearer goes on behind it: exponentially distributed, longer where more is cut off of less."""
        cut = self.occlusion
        mean = _LONGEST_EXTENSION * cut.share * np.clip(1 - self.extent / _USUAL_SIZE, _LEAST_VARIED, 1.0)
        length = generator.exponential(mean)
        start = 0.1 * self.extent
        beyond = np.clip(((points - cut.place) @ cut.direction + start) / start, 0.0, 1.0)
        return length * beyond[:, None] * cut.direction

    def _keep_contact(self, points: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """What stands on the plane goes on standing on it."""
        height = points[:, 2]
        if not self.view.has_plane or height.min() > 0.006:
            return offset
        damped = offset.copy()
        damped[:, 2] *= np.clip(height / (_STANDING * max(np.ptp(height), 1e-6)), 0.0, 1.0)
        return damped

    def _excess(self, points: np.ndarray) -> np.ndarray:
        """(n,) metres by which points stand in space seen to be empty, beyond what noise excuses."""
        return self.view.free_space(points) - (0.001 + 2 * SEEN_NOISE * self.noise)


def _retreat(vertices: np.ndarray, offset: np.ndarray, faces: np.ndarray, excess: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Offsets (v, 3) shortened, smoothly over the surface, where they would lead deeper into places that `excess` calls empty."""
    allowed = np.maximum(excess(vertices), 0.0)
    mean = _build_mean(faces, len(vertices))
    factor = np.ones(len(vertices))
    for _ in range(_RETREATS):
        bad = excess(vertices + factor[:, None] * offset) > allowed
        if not bad.any():
            break
        factor[bad] *= 0.5
        factor = np.minimum(factor, mean @ factor)
    bad = excess(vertices + factor[:, None] * offset) > allowed
    factor[bad] = 0.0
    return np.minimum(factor, mean @ factor)[:, None] * offset


def _build_mean(faces: np.ndarray, count: int) -> sparray:
    """(v, v) matrix that takes at each vertex the mean over its neighbours."""
    rows, columns = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1), faces[:, [1, 0, 2, 1, 0, 2]].reshape(-1)
    adjacency = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    return diags_array(1 / np.maximum(adjacency.sum(1), 1)) @ adjacency
