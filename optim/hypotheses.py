"""What the unseen side may look like: completions of one object's visible surface, as implicit functions on a lattice.

Every hypothesis bounds the object where the image cannot (a hull, a shell, a primitive) and is then carved by what the image did
see: space observed to be empty is empty, below the support plane is nothing. All are negative inside, in metres.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, label
from scipy.spatial import ConvexHull

from invgraphics.geometry.isosurface import Lattice, build_lattice, extract_isosurface
from optim.field_kernels import convex_field
from optim.object_view import ObjectView

LATTICE_SAMPLES = 450_000
FINEST_SPACING = 0.0008
"""Metres; thinner details than two of these are lost."""
TRUNCATED_AWAY = 0.02
"""Field value, metres, far outside a bound, and where it need not be evaluated because the image carved the place away."""
FIELD_SMOOTHING = 0.7
"""Standard deviation of the Gaussian over the field before the surface is taken, in lattice steps."""
_HULL_POINTS = 1500
_THICKNESS_PER_WIDTH = 0.85
_RADIUS_RATIO = 0.85
_THINNEST = 0.004
"""Metres: no visible surface belongs to anything thinner."""
_SEEN_SHARE = 0.02
"""Pieces behind less than this fraction of the visible surface are dropped."""


@dataclass(frozen=True)
class Workspace:
    """Everything that the hypotheses of one object share."""

    view: ObjectView
    lattice: Lattice
    points: np.ndarray
    """(n, 3) the lattice's samples, world frame."""
    carved: np.ndarray
    """(n,) field of the observed empty space and of the half-space below the support plane; negative where the object may be."""


@dataclass(frozen=True)
class Hypothesis:
    """One candidate for the whole shape of an object."""

    name: str
    vertices: np.ndarray
    """(v, 3) world frame, metres."""
    faces: np.ndarray
    """(f, 3) int64; closed, outward."""


def build_workspace(view: ObjectView, low: np.ndarray, high: np.ndarray, samples: int = LATTICE_SAMPLES) -> Workspace:
    """A lattice of about so many samples over the world-frame box, with the space that the image carved from it."""
    lattice = build_lattice(low, high, samples, FINEST_SPACING)
    points = lattice.points()
    carved = view.free_space(points)
    if view.has_plane:
        carved = np.maximum(carved, -points[:, 2])
    return Workspace(view, lattice, points, carved)


def bound_hull(workspace: Workspace, corners: np.ndarray) -> np.ndarray:
    """Field of the convex hull of (m, 3) points."""
    hull = ConvexHull(corners, qhull_options="QJ")
    equations = np.unique(hull.equations.round(7), axis=0)
    values = np.full(len(workspace.points), TRUNCATED_AWAY, dtype=np.float32)
    near = workspace.carved < workspace.lattice.spacing * 3
    inside = np.empty(int(near.sum()), dtype=np.float32)
    convex_field(workspace.points[near], equations[:, :3], equations[:, 3], inside)
    values[near] = inside
    return values


def bound_shadow(workspace: Workspace, generator: np.random.Generator, floor: float) -> np.ndarray:
    """Hull of the visible points and of their vertical shadow at the height `floor` (metres, world z)."""
    points = choose_points(workspace.view.points, _HULL_POINTS, generator)
    shadow = points.copy()
    shadow[:, 2] = np.minimum(points[:, 2], floor)
    return bound_hull(workspace, np.concatenate([points, shadow]))


def bound_unseen(workspace: Workspace, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fields of the two completions that fit any view: a shell behind the visible surface, and what lies between it and its shadow."""
    view = workspace.view
    shell = bound_shell(workspace, max(_THINNEST, 2 * workspace.lattice.spacing))
    floor = 0.0 if view.has_plane else float(view.points[:, 2].min())
    below = np.maximum(bound_shadow(workspace, generator, floor), bound_slender(workspace))
    return shell, np.minimum(below, shell)


def build_thinnest_shell(workspace: Workspace) -> Hypothesis | None:
    """The visible surface with the least thickness that anything has; None where the lattice is too coarse for it."""
    return build_hypothesis("shell", workspace, bound_shell(workspace, _THINNEST))


def bound_shell(workspace: Workspace, thickness: float) -> np.ndarray:
    """Within `thickness` metres behind the surface that any image shows, measured along its normal."""
    return np.minimum.reduce([_bound_shell_behind(image, workspace, thickness) for image in workspace.view.images])


def _bound_shell_behind(view: ObjectView, workspace: Workspace, thickness: float) -> np.ndarray:
    row, column, depth = _find_pixels(view, workspace.points)
    behind = (depth - view.barrier[row, column]) * _facing_image(view)[row, column] - thickness
    aside = view.outside_px[row, column] * depth / view.K[0, 0]
    return np.minimum(np.maximum(behind, aside - workspace.lattice.spacing), TRUNCATED_AWAY)


def bound_slender(workspace: Workspace) -> np.ndarray:
    """Within what is visible is as thick as it is wide: the handle of a spoon does not fill the space down to the table.

    What is wide in one image may be thin in another, so the image that allows most counts.
    """
    return np.minimum.reduce([_bound_slender_behind(image, workspace) for image in workspace.view.images])


def _bound_slender_behind(view: ObjectView, workspace: Workspace) -> np.ndarray:
    row, column, depth = _find_pixels(view, workspace.points)
    width = _THICKNESS_PER_WIDTH * measure_local_width(view.excess_px == 0)[row, column] * view.barrier[row, column] / view.K[0, 0]
    behind = (depth - view.barrier[row, column]) * _facing_image(view)[row, column] - width
    return np.where(view.owned[row, column], np.minimum(behind, TRUNCATED_AWAY), -TRUNCATED_AWAY)


def _find_pixels(view: ObjectView, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) rows and columns of the pixels that show (n, 3) world points, the nearest ones of the image, and the points' depths."""
    pixels, depth = view.project(points)
    column = np.clip(np.rint(pixels[:, 0]).astype(np.int64), 0, view.owned.shape[1] - 1)
    row = np.clip(np.rint(pixels[:, 1]).astype(np.int64), 0, view.owned.shape[0] - 1)
    return row, column, depth


def measure_local_width(mask: np.ndarray) -> np.ndarray:
    """(h, w) diameter of a large disc inside the mask that covers the pixel, pixels, to within a sixth; 0 outside the mask.

    The largest such disc is the local thickness of Hildebrand and Ruegsegger (1997). Beyond the image the mask is taken to end.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    widths = np.zeros(mask.shape)
    if len(rows):
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        widths[window] = _cover_with_discs(mask[window])
    return widths


def _cover_with_discs(mask: np.ndarray) -> np.ndarray:
    """(h, w) see `measure_local_width`."""
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    widths = np.where(mask, 2.0, 0.0)
    radius = float(inside.max())
    while radius > 1:
        away = cv2.distanceTransform((inside < radius).astype(np.uint8), cv2.DIST_L2, 5)
        reached = mask & (away < radius)
        widths[reached] = np.maximum(widths[reached], 2 * radius)
        radius *= _RADIUS_RATIO
    return widths


def _facing_image(view: ObjectView) -> np.ndarray:
    """(h, w) cosine between the surface's normal and the ray, at least 0.25; 1 where no normal is known."""
    image = np.ones(view.owned.shape)
    pixels, _ = view.project(view.points)
    columns, rows = np.rint(pixels).astype(np.int64).T
    towards_camera = view.camera_centre - view.points
    towards_camera /= np.linalg.norm(towards_camera, axis=1, keepdims=True)
    image[rows, columns] = np.maximum((view.normals * towards_camera).sum(1), 0.25)
    return image


def choose_points(points: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """At most `count` of (n, 3) points, at random."""
    return points if len(points) <= count else points[generator.choice(len(points), count, replace=False)]


def build_hypothesis(name: str, workspace: Workspace, bound: np.ndarray, smoothing: float = FIELD_SMOOTHING) -> Hypothesis | None:
    """The closed surface of a bound, carved by the image; None where nothing is left. `smoothing` in lattice steps."""
    field = np.maximum(bound, workspace.carved).reshape(workspace.lattice.shape)
    field = gaussian_filter(field.astype(np.float64), smoothing)
    if not (field[1:-1, 1:-1, 1:-1] < 0).any():
        return None
    field = _keep_seen_components(field, workspace)
    if field is None:
        return None
    return Hypothesis(name, *extract_isosurface(field, workspace.lattice))


def _keep_seen_components(field: np.ndarray, workspace: Workspace) -> np.ndarray | None:
    """The field with only those connected pieces inside that lie behind a fair share of the visible surface; None where none does."""
    view, lattice = workspace.view, workspace.lattice
    labels, count = label(field < 0)
    rays = view.sight_lines
    seen = np.zeros(count + 1, dtype=np.int64)
    for steps in (1.0, 2.0):
        behind = view.points + steps * lattice.spacing * rays
        cell = np.rint((behind - lattice.origin) / lattice.spacing).astype(np.int64)
        cell = np.clip(cell, 0, np.array(lattice.shape) - 1)
        seen += np.bincount(labels[tuple(cell.T)], minlength=count + 1)
    seen[0] = 0
    kept = seen >= max(_SEEN_SHARE * seen.sum(), 1)
    if not kept.any():
        return None
    return np.where(kept[labels] | (field >= 0), field, lattice.spacing)
