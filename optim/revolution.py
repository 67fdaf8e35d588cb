"""Upright surfaces of revolution: the axis about which the visible surface agrees with itself, and what the image leaves turned about it.

Shape from symmetry (Thrun and Wegbreit 2005): the visible surface, turned about a true axis of symmetry, falls on what was seen or on
what could not be seen, never into space that was seen to be empty.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize

from optim.hypotheses import TRUNCATED_AWAY, Workspace, choose_points
from optim.object_view import ObjectView

_TURNS = 2 * np.pi * np.arange(1, 24) / 24
_POINTS = 300
_GRID = np.linspace(-0.5, 0.5, 13)
_FREE = 0.005
_FREE_WEIGHT = 2.0
_RING_SAMPLES = 48
_PROFILE_CELLS = 96
_EMPTY_SHARE = 0.9
"""A ring is empty where at least a tenth of its samples say so: handles and noise must not decide."""
_TOLERANCE = 0.003
"""Metres by which a ring may stand in space seen to be empty: walls thinner than the errors of axis and depth would be lost."""
_TOLERANCE_PER_HEIGHT = 0.4
"""Just above the plane no place can be seen to be empty by more than its height: there the tolerance is this share of it."""
_MARGIN = 0.004
_LIFTED = 0.04
"""Height of the lowest visible point over the plane, metres, from which an object is taken to lie on another."""


@dataclass(frozen=True)
class UprightAxis:
    """A vertical axis of symmetry, and what speaks for it."""

    place: np.ndarray
    """(2,) world x and y, metres."""
    score: float
    """Agreement less twice the contradiction; the axis is where it is greatest."""
    contradicted: float
    """Share of the turned points that stand more than 5 mm in space that was seen to be empty."""
    coverage: float
    """Share of the directions about the axis in which something of the object was seen."""

    @property
    def is_plausible(self) -> bool:
        """Whether the object may be taken for a surface of revolution."""
        return self.score > 0.1 and self.contradicted < 0.11 and self.coverage > 0.4


def find_upright_axis(view: ObjectView, generator: np.random.Generator) -> UprightAxis:
    """The vertical axis about which the visible surface agrees best with the image; whether it is any good, the result says."""
    points = choose_points(view.points, _POINTS, generator)
    tolerance = max(0.002, 3 * view.noise)
    middle, extent = points[:, :2].mean(0), np.linalg.norm(np.ptp(points, axis=0))

    def cost(place: np.ndarray, chosen: np.ndarray) -> float:
        free = _turn_into_view(view, chosen, place)
        agreement = np.exp(-((free / tolerance) ** 2) / 2).mean()
        return float(_FREE_WEIGHT * np.clip(free / (2 * _FREE), 0, 1).mean() - agreement)

    places = [middle + extent * np.array([x, y]) for x in _GRID for y in _GRID]
    rough = np.array([cost(place, points[::3]) for place in places])
    step = 0.05 * extent
    refined = []
    for index in np.argsort(rough)[:3]:
        simplex = places[index] + step * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        options = {"initial_simplex": simplex, "xatol": 3e-4, "fatol": 1e-4, "maxiter": 60}
        refined.append(minimize(cost, places[index], args=(points,), method="Nelder-Mead", options=options))
    best = min(refined, key=lambda result: result.fun)
    contradicted = float((_turn_into_view(view, points, best.x) > _FREE).mean())
    return UprightAxis(best.x, -float(best.fun), contradicted, _measure_coverage(view.points, best.x))


def measure_radius(view: ObjectView, axis: UprightAxis) -> float:
    """Distance from the axis within which nearly all visible points lie, metres."""
    return float(np.quantile(np.linalg.norm(view.points[:, :2] - axis.place, axis=1), 0.998))


def bound_revolution(workspace: Workspace, axis: UprightAxis) -> np.ndarray:
    """Field of what is left when every ring about the axis that was seen empty is taken away."""
    view = workspace.view
    outer = measure_radius(view, axis) + _MARGIN
    lowest, highest = (float(np.quantile(view.points[:, 2], share)) for share in (0.01, 0.998))
    # What is seen to end well above the plane stands on something else, and is not turned down to the plane.
    low, high = (lowest if lowest > _LIFTED else 0.0) - _MARGIN, highest + _MARGIN
    cell = max(outer, high - low) / _PROFILE_CELLS
    profile = _carve_profile(view, axis, np.arange(0, outer + cell, cell), np.arange(low, high + cell, cell))
    radius = np.linalg.norm(workspace.points[:, :2] - axis.place, axis=1)
    height = workspace.points[:, 2]
    values = map_coordinates(profile, [radius / cell, (height - low) / cell], order=1, mode="nearest")
    outside = np.maximum.reduce([radius - outer, low - height, height - high])
    return np.minimum(np.maximum(values, outside), TRUNCATED_AWAY)


def _turn_into_view(view: ObjectView, points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(turns, n) free-space distance of the points turned about the vertical through `place`."""
    x, y = points[:, 0] - place[0], points[:, 1] - place[1]
    cosine, sine = np.cos(_TURNS)[:, None], np.sin(_TURNS)[:, None]
    height = np.broadcast_to(points[:, 2], (len(_TURNS), len(points)))
    turned = np.stack([place[0] + cosine * x - sine * y, place[1] + sine * x + cosine * y, height], axis=-1)
    return view.free_space(turned.reshape(-1, 3)).reshape(len(_TURNS), -1)


def _carve_profile(view: ObjectView, axis: UprightAxis, radii: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(r, h) free-space distance of the ring at each radius and height: a high quantile over its samples, less the tolerance."""
    angles = 2 * np.pi * np.arange(_RING_SAMPLES) / _RING_SAMPLES
    angle, radius, height = np.meshgrid(angles, radii, heights, indexing="ij")
    rings = np.stack([axis.place[0] + radius * np.cos(angle), axis.place[1] + radius * np.sin(angle), height], axis=-1)
    free = view.free_space(rings.reshape(-1, 3)).reshape(angle.shape)
    tolerance = np.minimum(_TOLERANCE, _TOLERANCE_PER_HEIGHT * np.maximum(heights, 0.0))
    return np.quantile(free, _EMPTY_SHARE, axis=0) - tolerance


def _measure_coverage(points: np.ndarray, place: np.ndarray) -> float:
    angle = np.arctan2(points[:, 1] - place[1], points[:, 0] - place[0])
    bins = np.bincount(((angle + np.pi) / (2 * np.pi) * 36).astype(np.int64) % 36, minlength=36)
    return float((bins >= max(3, 0.002 * len(points))).mean())
