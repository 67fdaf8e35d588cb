"""Masks of things of one plain colour each, as physics engines draw them: cut where the colour changes, whatever the depth."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane
from invgraphics.segment.surface import compute_heights, compute_rise, find_rising

_NEXT, _SAME = 0.02, 0.012
"""Differences in chromaticity: between neighbouring pixels of one thing (8-bit rounding in dark places), between parts of one thing."""
_SMALLEST_AREA, _SMALLEST_GREY = 3e-4, 1e-3
"""Visible pixels of a thing, as a share of the image's; of a part that has the ground's colour."""
_SPECK = 30
"""Pixels below which a part is noise."""
_PATCH, _DENSE = 11, 0.7
"""Pixels across a patch of which that share must rise where a thing has the ground's colour; noise does not."""
_LEAST_RISE = 0.3
"""Share of a thing's pixels that must rise from the plane."""


def propose_plain_masks(observation: Observation, plane: SupportPlane) -> Bool[Tensor, "n h w"]:
    """Disjoint masks of the things on a plane, the largest first, one for each chromaticity; n may be 0.

    Light and shade change the brightness of a plain colour, not its chromaticity. Parts of one chromaticity that something stands before
    are one thing. For scenes whose things have printed or several colours `propose_masks` is right, which cuts at depth steps.
    """
    chromaticity = _measure_chromaticity(observation)
    valid = observation.valid.cpu().numpy()
    rising = find_rising(compute_rise(observation, plane), compute_heights(observation, plane))
    ground = np.median(chromaticity[plane.inliers.cpu().numpy()], axis=0)
    coloured = np.abs(chromaticity - ground).max(-1) > _SAME
    fewest = _SMALLEST_AREA * valid.size
    foreground = valid & (_open(coloured) | _keep_parts(~coloured & _find_dense(rising), _SMALLEST_GREY * valid.size))
    masks = [mask for mask in _join_parts(_label_alike(foreground, chromaticity), chromaticity) if mask.sum() >= fewest]
    masks = sorted((mask for mask in masks if rising[mask].mean() > _LEAST_RISE), key=np.sum, reverse=True)
    found = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *valid.shape, dtype=torch.bool)
    return found.to(observation.depth.device)


def _measure_chromaticity(observation: Observation) -> Float[np.ndarray, "h w 2"]:
    colour = observation.colour.clamp(min=0).double().cpu().numpy()
    return colour[..., :2] / np.maximum(colour.sum(-1, keepdims=True), 1e-3)


def _open(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def _find_dense(rising: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where most of a patch rises, out to its edge."""
    core = cv2.blur(rising.astype(np.float32), (_PATCH, _PATCH)) > _DENSE
    around = cv2.dilate(core.astype(np.uint8), np.ones((_PATCH // 2, _PATCH // 2), np.uint8)) > 0
    return around & (cv2.blur(rising.astype(np.float32), (3, 3)) > _DENSE)


def _keep_parts(mask: Bool[np.ndarray, "h w"], fewest: float) -> Bool[np.ndarray, "h w"]:
    """The mask's connected parts of `fewest` pixels or more."""
    labels, _ = label(mask)
    areas = np.bincount(labels.reshape(-1))
    areas[0] = 0
    return (areas >= fewest)[labels]


def _label_alike(mask: Bool[np.ndarray, "h w"], chromaticity: Float[np.ndarray, "h w 2"]) -> Int[np.ndarray, "h w"]:
    """Numbers from 1 on for what hangs together by neighbours of like chromaticity; 0 outside the mask."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    pairs = []
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        joined = mask[first] & mask[second] & (np.abs(chromaticity[first] - chromaticity[second]).max(-1) < _NEXT)
        pairs.append(np.stack([number[first][joined], number[second][joined]]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(mask.sum(), mask.sum()))
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = connected_components(graph, directed=False)[1] + 1
    return labels


def _join_parts(labels: Int[np.ndarray, "h w"], chromaticity: Float[np.ndarray, "h w 2"]) -> list[Bool[np.ndarray, "h w"]]:
    """A mask for each chromaticity that parts have, from the largest part on."""
    areas = np.bincount(labels.reshape(-1))
    joined: list[tuple[np.ndarray, np.ndarray]] = []
    for k in sorted((k for k in range(1, len(areas)) if areas[k] >= _SPECK), key=lambda k: -areas[k]):
        mask = labels == k
        colour = np.median(chromaticity[mask], axis=0)
        same = next((other for known, other in joined if np.abs(known - colour).max() < _SAME), None)
        if same is None:
            joined.append((colour, mask))
        else:
            same |= mask
    return [mask for _, mask in joined]
