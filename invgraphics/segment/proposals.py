"""Objects on a plane, found without being asked for: what rises from the plane, cut where the depth steps."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from invgraphics.datasets.checks import make_disjoint
from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane
from invgraphics.segment.boxes import segment_boxes
from invgraphics.segment.parts import merge_lines, merge_rims
from invgraphics.segment.refine import find_boxes
from invgraphics.segment.surface import LARGEST_STEP, compute_heights, compute_rise, find_low, find_rising, invert_depth, label_connected
from invgraphics.transforms import transform_points

_LEAST_KEPT, _LARGEST_GROWTH = 0.6, 6.0
"""How far colour may change a part."""
_BOX_MARGIN_PIXELS = 3
_EDGE_MARGIN_M = 0.01
"""A strip along the edge of the plane's visible part, where bins' walls begin."""


@dataclass(frozen=True)
class ProposalLimits:
    """What counts as an object."""

    smallest_area: float = 1e-3
    """Visible pixels, as a share of the image's."""
    smallest_height_m: float = 0.006
    """Height above the plane that a tenth of its pixels must reach."""
    smallest_rise: float = 6.0
    """The same in standard deviations of the plane's pixels, which the folds of a cloth widen."""
    largest_extent_m: float = 0.6
    """Extent along the plane."""
    largest_cut_share: float = 0.15
    """Share of the outline that may lie on the image's border, or where the part goes on beyond the plane's edge: more of it is cut of
    robots, walls, arms."""


def propose_masks(observation: Observation, plane: SupportPlane, limits: ProposalLimits = ProposalLimits()) -> Bool[Tensor, "n h w"]:
    """Disjoint masks of the objects on a plane, from left to right by their centres. n may be 0.

    Objects that touch without a depth step between them come as one: mark those by boxes.
    """
    world = transform_points(plane.T_world_camera, observation.camera.unproject(observation.depth).reshape(-1, 3))
    world = world.reshape(*observation.depth.shape, 3).cpu().numpy()
    inverse_depth = invert_depth(observation)
    rise, heights = compute_rise(observation, plane), compute_heights(observation, plane)
    rising = find_rising(rise, heights)
    carried = rising & _find_carried(world, plane.inliers.cpu().numpy())
    foreground = cv2.morphologyEx(carried.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    labels = merge_rims(label_connected(foreground, inverse_depth, LARGEST_STEP), world, plane.T_world_camera[:2, 3].cpu().numpy())
    labels = np.where(np.bincount(labels.reshape(-1))[labels] >= limits.smallest_area * labels.size, labels, 0)
    low = carried | find_low(rise, heights, observation.valid.cpu().numpy())
    labels = merge_lines(labels, label_connected(low, inverse_depth, LARGEST_STEP), world)
    parts = [labels == k for k in np.unique(labels) if k > 0]
    parts = [part for part in parts if _rises(world[part], rise[part], limits) and _measure_extent(world[part]) < limits.largest_extent_m]
    parts = [part for part in parts if _measure_cut_share(part, rising & ~carried, inverse_depth) <= limits.largest_cut_share]
    parts.sort(key=lambda part: np.nonzero(part)[1].mean())
    return _refine(observation, plane, parts)


def _refine(observation: Observation, plane: SupportPlane, parts: list[np.ndarray]) -> Bool[Tensor, "n h w"]:
    """Parts with their outlines drawn by colour too, and with what lies too low to rise from the plane (the floor of a plate).

    Where colour leads far away from what the depth says, the part stays as it was.
    """
    given = torch.from_numpy(np.stack(parts)) if parts else torch.zeros(0, *observation.depth.shape, dtype=torch.bool)
    refined = segment_boxes(observation, find_boxes(given, _BOX_MARGIN_PIXELS), plane).cpu()
    kept, before, after = (given & refined).sum((1, 2)), given.sum((1, 2)), refined.sum((1, 2))
    agrees = (kept > _LEAST_KEPT * before) & (after < _LARGEST_GROWTH * before)
    return make_disjoint(torch.where(agrees[:, None, None], refined, given)).to(observation.depth.device)


def _find_carried(world: np.ndarray, inliers: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels whose points stand over the convex hull of the plane's visible part, but for a strip at its edge."""
    points = world[inliers][:, :2]
    hull = cv2.convexHull(np.ascontiguousarray(points[:: max(1, len(points) // 20_000)], np.float32))[:, 0].astype(np.float64)
    along = np.roll(hull, -1, axis=0) - hull
    outward = np.stack([along[:, 1], -along[:, 0]], axis=-1) / np.linalg.norm(along, axis=-1, keepdims=True)
    outward *= np.sign(cv2.contourArea(hull.astype(np.float32), oriented=True))
    carried = np.ones(inliers.shape, bool)
    for normal, corner in zip(outward, hull, strict=True):
        carried &= world[..., :2] @ normal <= corner @ normal - _EDGE_MARGIN_M
    return carried


def _rises(points: np.ndarray, rise: np.ndarray, limits: ProposalLimits) -> bool:
    """Whether a part stands out from the plane by its height, and by more than the plane's own unevenness."""
    return bool(np.quantile(points[:, 2], 0.9) > limits.smallest_height_m and np.quantile(rise, 0.9) > limits.smallest_rise)


def _measure_extent(points: np.ndarray) -> float:
    """Extent along the plane in metres, without the outermost points."""
    low, high = np.quantile(points[:, :2], [0.02, 0.98], axis=0)
    return float((high - low).max())


def _measure_cut_share(part: np.ndarray, beyond: np.ndarray, inverse_depth: np.ndarray) -> float:
    """Share of a part's outline that lies on the border of the image, or where its surface goes on beyond the plane."""
    outline, cut = part.copy(), np.zeros_like(part)
    outline[1:-1, 1:-1] &= ~(part[:-2, 1:-1] & part[2:, 1:-1] & part[1:-1, :-2] & part[1:-1, 2:])
    cut[[0, -1]] = cut[:, [0, -1]] = True
    for axis in (0, 1):
        for forward in (True, False):
            here, there = (slice(None, -1), slice(1, None)) if forward else (slice(1, None), slice(None, -1))
            marks, others, values = (np.moveaxis(x, axis, 0) for x in (cut, beyond, inverse_depth))
            marks[here] |= others[there] & (np.abs(values[here] - values[there]) < LARGEST_STEP)
    return np.count_nonzero(outline & cut) / max(np.count_nonzero(outline), 1)
