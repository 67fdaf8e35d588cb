"""Masks mended and measured: by what depth says of masks that were found in colour, by one another, by their boxes."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor

from invgraphics.observation import Observation
from invgraphics.segment.surface import LARGEST_STEP, invert_depth, label_connected

_LARGEST_STRAY = 0.1
"""Parts of a mask larger than this, as a share of its largest part, belong to the object whatever their depth: a handle, a far rim."""
_OUTLYING_QUANTILE, _MARGIN = 0.02, 0.25
"""The largest part's depths are its inner quantiles, and a quarter of their range on either side: rims seen edge-on fall into parts too."""


def refine_by_depth(masks: Bool[Tensor, "n h w"], observation: Observation) -> Bool[Tensor, "n h w"]:
    """Masks without the strips and specks of something else that outlines drawn in colour take with them, and disjoint.

    A mask falls into parts where the depth steps. Small ones that lie in front of or behind all of the largest one are taken off; pixels
    without depth stay as they are. A pixel that two masks claim goes to the one whose undisputed points are nearer in space.
    """
    inverse_depth = invert_depth(observation)
    valid = observation.valid.cpu().numpy()
    refined = np.stack([_drop_strays(mask, valid, inverse_depth) for mask in masks.cpu().numpy()]) if len(masks) else masks.cpu().numpy()
    points = observation.camera.unproject(observation.depth).cpu().numpy()
    return torch.from_numpy(resolve_conflicts(refined, points)).to(masks.device)


def find_boxes(masks: Bool[Tensor, "n h w"], margin: int = 0) -> Float[Tensor, "n 4"]:
    """The boxes around masks, wider by a margin in pixels but not beyond the image; pixel k covers [k, k + 1]. No mask may be empty."""
    height, width = masks.shape[1:]
    boxes = torch.zeros(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        v, u = torch.nonzero(mask, as_tuple=True)
        box[:] = torch.stack([u.min(), v.min(), u.max() + 1, v.max() + 1]) + torch.tensor([-1, -1, 1, 1]) * margin
    return torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=boxes.dtype))


def _drop_strays(mask: np.ndarray, valid: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    parts = label_connected(mask & valid, inverse_depth, LARGEST_STEP)
    sizes = np.bincount(parts.reshape(-1))[1:]
    if len(sizes) < 2:
        return mask
    largest = 1 + int(sizes.argmax())
    nearest, farthest = np.quantile(inverse_depth[parts == largest], [1 - _OUTLYING_QUANTILE, _OUTLYING_QUANTILE])
    margin = LARGEST_STEP + _MARGIN * (nearest - farthest)
    middles = [float(np.median(inverse_depth[parts == part])) for part in range(1, len(sizes) + 1)]
    strays = [
        part
        for part, (size, middle) in enumerate(zip(sizes, middles, strict=True), start=1)
        if size < _LARGEST_STRAY * sizes.max() and not farthest - margin <= middle <= nearest + margin
    ]
    return mask & ~np.isin(parts, strays)


def resolve_conflicts(masks: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Masks (n, h, w) made disjoint: a pixel claimed by several goes to the one whose undisputed points are nearest to it in space.

    A mask that is nearly all disputed (a thing inside another's box) keeps what it claims. `points` are (h, w, 3), metres.
    """
    claims = masks.sum(0)
    shares = [(mask & (claims > 1)).sum() / max(mask.sum(), 1) for mask in masks]
    masks = masks.copy()
    for index in sorted(range(len(masks)), key=lambda k: masks[k].sum()):
        if shares[index] > 0.8:
            masks[[k for k in range(len(masks)) if k != index]] &= ~masks[index]
    disputed = masks.sum(0) > 1
    if not disputed.any():
        return masks
    distances = np.stack([_distance_to(points[mask & ~disputed], points[disputed]) for mask in masks])
    owner = np.where(masks[:, disputed], distances, np.inf).argmin(0)
    masks[:, disputed] &= owner == np.arange(len(masks))[:, None]
    return masks


def _distance_to(cloud: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cKDTree(cloud).query(points)[0] if len(cloud) else np.full(len(points), np.finfo(np.float32).max)
