"""Objects on a plane, found without being asked for: what rises from the plane, cut where the depth steps."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane
from invgraphics.segment.surface import LARGEST_STEP, compute_heights, compute_rise, find_rising, invert_depth, label_connected
from invgraphics.transforms import transform_points


@dataclass(frozen=True)
class ProposalLimits:
    """What counts as an object."""

    smallest_area: float = 5e-4
    """Visible pixels, as a share of the image's."""
    smallest_height_m: float = 0.006
    """Height above the plane that a tenth of its pixels must reach."""
    largest_extent_m: float = 0.6
    """Extent along the plane."""
    largest_border_share: float = 0.12
    """Share of the outline that may lie on the image's border: what is cut by it more is a robot, a wall, an arm."""
    smallest_support_share: float = 0.5
    """Share of the pixels that must stand over the visible part of the plane: what does not is beyond the table's edge, or a bin's wall."""


def propose_masks(observation: Observation, plane: SupportPlane, limits: ProposalLimits = ProposalLimits()) -> Bool[Tensor, "n h w"]:
    """Disjoint masks of the objects on a plane, from left to right by their centres. n may be 0."""
    rise, height = compute_rise(observation, plane), compute_heights(observation, plane)
    foreground = cv2.morphologyEx(find_rising(rise, height).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    labels = label_connected(foreground, invert_depth(observation), LARGEST_STEP)
    world = transform_points(plane.T_world_camera, observation.camera.unproject(observation.depth).reshape(-1, 3)).cpu().numpy()
    ground = _Ground(world[plane.inliers.cpu().numpy().reshape(-1), :2])
    areas = np.bincount(labels.reshape(-1))
    candidates = [k for k in range(1, len(areas)) if areas[k] >= limits.smallest_area * labels.size]
    masks = [labels == k for k in candidates]
    masks = [mask for mask in masks if _is_object(mask, world[mask.reshape(-1)], ground, limits)]
    masks.sort(key=lambda mask: np.nonzero(mask)[1].mean())
    stacked = np.stack(masks) if masks else np.zeros((0, *labels.shape), bool)
    return torch.from_numpy(stacked).to(observation.masks.device)


class _Ground:
    """The convex hull of the visible part of the plane, in its two coordinates."""

    def __init__(self, points: np.ndarray):
        self.hull = cv2.convexHull(np.ascontiguousarray(points[:: max(1, len(points) // 20_000)], np.float32))

    def covers(self, points: np.ndarray) -> np.ndarray:
        return np.array([cv2.pointPolygonTest(self.hull, (float(x), float(y)), False) >= 0 for x, y in points])


def _is_object(mask: np.ndarray, points: np.ndarray, ground: _Ground, limits: ProposalLimits) -> bool:
    if np.quantile(points[:, 2], 0.9) < limits.smallest_height_m:
        return False
    low, high = np.quantile(points[:, :2], [0.02, 0.98], axis=0)
    if (high - low).max() > limits.largest_extent_m:
        return False
    if ground.covers(points[:: max(1, len(points) // 500), :2]).mean() < limits.smallest_support_share:
        return False
    return _measure_border_share(mask) <= limits.largest_border_share


def _measure_border_share(mask: np.ndarray) -> float:
    """Share of the mask's outline that lies on the border of the image."""
    on_border = np.count_nonzero(mask[[0, -1]]) + np.count_nonzero(mask[:, [0, -1]])
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    return on_border / max(np.count_nonzero(mask & ~eroded), 1)
