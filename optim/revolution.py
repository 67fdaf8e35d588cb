"""Surfaces of revolution: the axis about which the visible surface agrees with itself, and what the image leaves turned about it.

Shape from symmetry (Thrun and Wegbreit 2005): the visible surface, turned about a true axis of symmetry, falls on what was seen or on
what could not be seen, never into space that was seen to be empty. Axes are tried upright, as most things of this kind stand, and where
the normals of the surface meet: lying bottles, leaning plates.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize

from optim.field_kernels import mean_skew
from optim.hypotheses import TRUNCATED_AWAY, Workspace
from optim.object_view import ObjectView

_ANGLES = 2 * np.pi * np.arange(1, 24) / 24
_TURNS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_POINTS = 300
_GRID = np.linspace(-0.5, 0.5, 13)
_FREE = 0.005
_FREE_WEIGHT = 2.0
_SKEW_WEIGHT = 0.5
_LARGEST_SKEW = 0.36
"""With normals at random it would be a half."""
_SHORT_ARM = 0.002
"""Metres from the axis within which a normal says little."""
_SUBSETS = 48
"""Random subsets of the oriented points, each of which proposes an axis."""
_SUBSET_SIZE = 24
_LARGEST_SIGHT_COSINE = 0.85
"""Between a leaning axis and the line of sight."""
_REFINED = 3
"""Candidates of either kind that are refined."""
_UPRIGHT_BONUS = 0.08
"""By which a leaning axis must agree better than an upright one to be taken."""
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
_UPRIGHT = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class SymmetryAxis:
    """An axis of rotational symmetry, and what speaks for it."""

    place: np.ndarray
    """(3,) a point of the axis, world frame, metres."""
    direction: np.ndarray
    """(3,) unit vector, world frame, not pointing down."""
    score: float
    """Agreement less twice the clash with empty space; the axis is where it is greatest."""
    contradicted: float
    """Share of the turned points that stand more than 5 mm in space that was seen to be empty."""
    skew: float
    """Mean sine of the angle by which the surface's normals miss the axis."""
    coverage: float
    """Share of the directions about the axis in which something of the object was seen."""

    @property
    def is_upright(self) -> bool:
        """Whether it is exactly vertical."""
        return bool(self.direction[2] == 1.0)

    @property
    def is_plausible(self) -> bool:
        """Whether the object may be taken for a surface of revolution."""
        met = self.coverage > 0.4 if self.is_upright else self.coverage > 0.3 and self.skew < _LARGEST_SKEW
        return met and self.score > 0.1 and self.contradicted < 0.11

    def measure(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) distance from the axis and (n,) position along it of (n, 3) world points, metres."""
        offset = points - self.place
        along = offset @ self.direction
        return np.sqrt(np.maximum((offset**2).sum(1) - along**2, 0.0)), along


def find_symmetry_axis(view: ObjectView, generator: np.random.Generator) -> SymmetryAxis | None:
    """The axis about which the visible surface agrees best with the image; whether it is any good, the result says. None where none is met.

    An upright axis is sought where a support plane tells what upright is.
    """
    chosen = generator.choice(len(view.points), min(len(view.points), _POINTS), replace=False)
    points, normals = view.points[chosen], view.normals[chosen]
    proposed = [axis for axis in propose_axes(points, normals, generator) if _is_seen_from_aside(view, points, axis[1])]
    axes = [_refine(view, points, normals, proposed, tilts=True)] if proposed else []
    axes = [axis for axis in axes if _is_seen_from_aside(view, points, axis.direction)]
    if view.has_plane:
        axes.append(_refine(view, points, normals, _upright_grid(points), tilts=False))
    return max(axes, key=lambda axis: axis.score + _UPRIGHT_BONUS * axis.is_upright, default=None)


def propose_axes(points: np.ndarray, normals: np.ndarray, generator: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Axes (place, direction) that the normals of random subsets of (n, 3) oriented points meet as nearly as any.

    The normals of a surface of revolution meet its axis: with c the axis' direction and c' its moment, `c . (p x n) + c' . n = 0` for
    every point p of normal n, the linear complex of Pottmann and Randrup (1998). Of the complex' pitch nothing is kept.
    """
    middle = points.mean(0)
    size = float(np.linalg.norm(np.ptp(points, axis=0)))
    local = (points - middle) / size
    moments = np.cross(local, normals)
    axes = []
    for _ in range(_SUBSETS):
        subset = generator.choice(len(points), min(_SUBSET_SIZE, len(points)), replace=False)
        a, b = moments[subset], normals[subset]
        stiff = b.T @ b + 1e-3 * len(subset) * np.eye(3)
        towards = np.linalg.solve(stiff, b.T @ a)
        direction = np.linalg.eigh(a.T @ a - a.T @ b @ towards).eigenvectors[:, 0]
        moment = -towards @ direction
        moment -= direction * (moment @ direction)
        axes.append((middle + size * np.cross(direction, moment), direction if direction[2] >= 0 else -direction))
    return axes


def measure_radius(view: ObjectView, axis: SymmetryAxis) -> float:
    """Distance from the axis within which nearly all visible points lie, metres."""
    return float(np.quantile(axis.measure(view.points)[0], 0.998))


def measure_span(view: ObjectView, axis: SymmetryAxis) -> tuple[float, float]:
    """Positions along the axis between which the turned shape lies, metres from its place, with a margin.

    What stands upright and is not seen to end well above the plane goes down to it.
    """
    lowest, highest = (float(value) for value in np.quantile(axis.measure(view.points)[1], [0.01, 0.998]))
    if axis.is_upright and view.has_plane and lowest + axis.place[2] <= _LIFTED:
        lowest = -float(axis.place[2])
    return lowest - _MARGIN, highest + _MARGIN


def bound_revolution(workspace: Workspace, axis: SymmetryAxis) -> np.ndarray:
    """Field of what is left when every ring about the axis that was seen empty is taken away."""
    view = workspace.view
    outer = measure_radius(view, axis) + _MARGIN
    low, high = measure_span(view, axis)
    cell = max(outer, high - low) / _PROFILE_CELLS
    profile = _carve_profile(view, axis, np.arange(0, outer + cell, cell), np.arange(low, high + cell, cell))
    radius, along = axis.measure(workspace.points)
    values = map_coordinates(profile, [radius / cell, (along - low) / cell], order=1, mode="nearest")
    outside = np.maximum.reduce([radius - outer, low - along, along - high])
    return np.minimum(np.maximum(values, outside), TRUNCATED_AWAY)


def _is_seen_from_aside(view: ObjectView, points: np.ndarray, direction: np.ndarray) -> bool:
    """Whether turning about the direction brings hidden surface to light: about the line of sight, everything agrees with itself."""
    sight = points.mean(0) - view.camera_centre
    return bool(abs(sight @ direction) < _LARGEST_SIGHT_COSINE * np.linalg.norm(sight))


def _upright_grid(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    middle, extent = points.mean(0), np.linalg.norm(np.ptp(points, axis=0))
    return [(middle + extent * np.array([x, y, 0.0]), _UPRIGHT) for x in _GRID for y in _GRID]


def _refine(
    view: ObjectView, points: np.ndarray, normals: np.ndarray, candidates: list[tuple[np.ndarray, np.ndarray]], tilts: bool
) -> SymmetryAxis:
    """The best axis near the best of the candidates: moved sideways, and tilted where it may."""
    middle, extent = points.mean(0), float(np.linalg.norm(np.ptp(points, axis=0)))
    steps = np.array([0.05 * extent] * 2 + [0.08] * (2 if tilts else 0))
    options = {"initial_simplex": np.vstack([0 * steps, np.diag(steps)]), "xatol": 3e-4, "fatol": 1e-4, "maxiter": 30 * len(steps)}
    rough = [_judge(view, points[::3], normals[::3], *candidate) for candidate in candidates]
    refined = []
    for index in np.argsort(rough)[: -_REFINED - 1 : -1]:
        place, direction = candidates[index]
        start = (place + direction * ((middle - place) @ direction), direction)
        found = minimize(
            lambda change, start=start: -_judge(view, points, normals, *_move(*start, change)),
            0 * steps,
            method="Nelder-Mead",
            options=options,
        )
        refined.append((-found.fun, _move(*start, found.x)))
    place, direction = max(refined, key=lambda pair: pair[0])[1]
    agreement, clash, contradicted = _turn(view, points, place, direction)
    skew, coverage = mean_skew(points, normals, place, direction, _SHORT_ARM), _measure_coverage(view.points, place, direction)
    return SymmetryAxis(place, direction, agreement - _FREE_WEIGHT * clash, contradicted, skew, coverage)


def _move(place: np.ndarray, direction: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An axis moved sideways by the first two numbers, metres, and tilted by the others, radians, where there are more."""
    across = np.linalg.svd(direction[None])[2][1:]
    if len(change) == 2:
        return place + change @ across, direction
    tilted = direction + change[2:] @ across
    return place + change[:2] @ across, tilted / np.linalg.norm(tilted)


def _judge(view: ObjectView, points: np.ndarray, normals: np.ndarray, place: np.ndarray, direction: np.ndarray) -> float:
    """What is to be greatest. Without the normals, thin things would agree best with an axis in their visible surface."""
    agreement, clash, _ = _turn(view, points, place, direction)
    return agreement - _FREE_WEIGHT * clash - _SKEW_WEIGHT * mean_skew(points, normals, place, direction, _SHORT_ARM)


def _turn(view: ObjectView, points: np.ndarray, place: np.ndarray, direction: np.ndarray) -> tuple[float, float, float]:
    """Agreement, clash and share contradicted of the points turned about an axis."""
    return view.turn(points, place, direction, _TURNS, tolerance=max(0.002, 3 * view.noise), reach=_FREE)


def _carve_profile(view: ObjectView, axis: SymmetryAxis, radii: np.ndarray, along: np.ndarray) -> np.ndarray:
    """(r, s) free-space distance of the ring at each radius and place along the axis, beyond the tolerance: a high quantile of samples."""
    across = np.linalg.svd(axis.direction[None])[2][1:]
    angles = 2 * np.pi * np.arange(_RING_SAMPLES) / _RING_SAMPLES
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ across
    centres = axis.place + along[:, None] * axis.direction
    rings = centres[None, None] + radii[None, :, None, None] * spokes[:, None, None]
    free = view.free_space(rings.reshape(-1, 3)).reshape(rings.shape[:3])
    tolerance = np.minimum(_TOLERANCE, _TOLERANCE_PER_HEIGHT * np.maximum(rings[..., 2], 0.0)) if view.has_plane else _TOLERANCE
    return np.quantile(free - tolerance, _EMPTY_SHARE, axis=0)


def _measure_coverage(points: np.ndarray, place: np.ndarray, direction: np.ndarray) -> float:
    across = np.linalg.svd(direction[None])[2][1:]
    x, y = ((points - place) @ across.T).T
    angle = np.arctan2(y, x)
    bins = np.bincount(((angle + np.pi) / (2 * np.pi) * 36).astype(np.int64) % 36, minlength=36)
    return float((bins >= max(3, 0.002 * len(points))).mean())
