"""Boxes to masks without trained weights: height above the support plane, depth steps, and GrabCut on colour."""

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane, find_support_plane
from invgraphics.segment.refine import resolve_conflicts
from invgraphics.segment.surface import (
    LARGEST_STEP,
    compute_heights,
    compute_rise,
    find_rising,
    invert_depth,
    keep_largest_parts,
    label_connected,
)

_CONTEXT_SHARE = 0.25
"""How far around a box its surroundings are taken for background, as a share of the box's longer side."""
_GRABCUT_STEPS = 4
_SURE_DEVIATIONS, _SURE_HEIGHT = 8.0, 0.008
_SURE_BELOW_DEVIATIONS = -6.0
_OWN_SHARE, _SPANNED_SHARE = 0.5, 0.75


@runtime_checkable
class Segmenter(Protocol):
    """Makes masks of boxes."""

    def segment(self, observation: Observation, boxes: Float[Tensor, "n 4"], generator: torch.Generator) -> Bool[Tensor, "n h w"]:
        """Disjoint masks of the objects in the boxes (x0, y0, x1, y1 in pixels), in their order; empty where nothing was found."""
        ...


class DepthColourSegmenter:
    """Needs no weights: see `segment_boxes`."""

    name = "depth and GrabCut"

    def segment(self, observation: Observation, boxes: Float[Tensor, "n 4"], generator: torch.Generator) -> Bool[Tensor, "n h w"]:
        """See `Segmenter.segment`."""
        return segment_boxes(observation, boxes, find_plane_around_boxes(observation, boxes, generator))


def segment_boxes(observation: Observation, boxes: Float[Tensor, "n 4"], plane: SupportPlane | None) -> Bool[Tensor, "n h w"]:
    """GrabCut (Rother, Kolmogorov and Blake 2004) on colour, told by the depth what surely is the object and what surely is not.

    Sure background: outside the box, behind the support plane, and what a depth step separates from an object that spans the box. Sure
    object: well above the plane and away from depth steps. The rest starts from its height and is decided by colour. Without a plane
    all of the box starts as object. Returns disjoint masks, empty where nothing was found.
    """
    height, width = observation.depth.shape
    trimap, parts = build_trimap(observation, plane), label_parts(observation, plane)
    image = np.round(255 * srgb_from_linear(observation.colour).cpu().numpy()).astype(np.uint8)
    masks = np.zeros((len(boxes), height, width), bool)
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        window = _box_window(box, height, width)
        mask[:] = segment_window(image, _exclude_intruders(trimap, parts, window), window)
    points = observation.camera.unproject(observation.depth).cpu().numpy()
    return torch.from_numpy(resolve_conflicts(masks, points)).to(observation.depth.device)


def find_plane_around_boxes(observation: Observation, boxes: Float[Tensor, "n 4"], generator: torch.Generator) -> SupportPlane | None:
    """The support plane seen around the boxes; where they leave too little of it, the one seen in the whole image."""
    height, width = observation.depth.shape
    filled = torch.zeros(len(boxes), height, width, dtype=torch.bool, device=observation.depth.device)
    for mask, box in zip(filled, boxes.tolist(), strict=True):
        mask[_box_window(box, height, width)] = True
    plane = find_support_plane(observation.with_masks(filled), generator)
    return plane if plane is not None else find_support_plane(observation.with_masks(filled[:0]), generator)


def _box_window(box: list[float], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns whose pixels a box touches; pixel k covers [k, k + 1] in the coordinates of boxes."""
    x0, y0, x1, y1 = box
    left, top = min(int(x0), width - 1), min(int(y0), height - 1)
    return slice(top, max(int(np.ceil(y1)), top + 1)), slice(left, max(int(np.ceil(x1)), left + 1))


def build_trimap(observation: Observation, plane: SupportPlane | None) -> np.ndarray:
    """(h, w) uint8 of GrabCut's labels from depth alone, as if all of the image were inside a box."""
    valid = observation.valid.cpu().numpy()
    trimap = np.full(valid.shape, cv2.GC_PR_FGD, np.uint8)
    if plane is None:
        return trimap
    rise, height = compute_rise(observation, plane), compute_heights(observation, plane)
    trimap[valid & ~find_rising(rise, height)] = cv2.GC_PR_BGD
    sure = (rise > _SURE_DEVIATIONS) & (height > _SURE_HEIGHT)
    trimap[cv2.erode(sure.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = cv2.GC_FGD
    trimap[valid & (rise < _SURE_BELOW_DEVIATIONS)] = cv2.GC_BGD
    return trimap


def label_parts(observation: Observation, plane: SupportPlane | None) -> np.ndarray:
    """(h, w) int32: the parts above the plane that hang together in depth; 0 where there is none."""
    mask = observation.valid.cpu().numpy()
    if plane is not None:
        mask = mask & find_rising(compute_rise(observation, plane), compute_heights(observation, plane))
    return label_connected(mask, invert_depth(observation), LARGEST_STEP)


def _exclude_intruders(trimap: np.ndarray, parts: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """(h, w) uint8: the trimap for one box, in which parts that lie mostly outside of the box are not surely its object.

    They are surely not its object where the parts that lie mostly inside span the box, as an object does that the box was drawn around.
    """
    inside = np.bincount(parts[window].reshape(-1), minlength=int(parts.max()) + 1)
    share = inside / np.maximum(np.bincount(parts.reshape(-1)), 1)
    share[0] = 0.0
    own = share[parts[window]] >= _OWN_SHARE
    intruding = (parts[window] > 0) & ~own
    spans = (
        all(np.ptp(np.flatnonzero(own.any(axis))) + 1 >= _SPANNED_SHARE * own.shape[1 - axis] for axis in (0, 1)) if own.any() else False
    )
    trimap = trimap.copy()
    trimap[window][intruding & (trimap[window] == cv2.GC_FGD)] = cv2.GC_PR_FGD
    if spans:
        trimap[window][intruding] = cv2.GC_BGD
    return trimap


def segment_window(image: np.ndarray, trimap: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """(h, w) bool: the object in one box."""
    rows, columns = window
    margin = int(_CONTEXT_SHARE * max(rows.stop - rows.start, columns.stop - columns.start)) + 4
    around = tuple(slice(max(part.start - margin, 0), part.stop + margin) for part in window)
    labels = np.full(trimap.shape, cv2.GC_BGD, np.uint8)
    labels[window] = trimap[window]
    crop = np.ascontiguousarray(labels[around])
    _run_grabcut(np.ascontiguousarray(image[around][..., ::-1]), crop)
    mask = np.zeros(trimap.shape, bool)
    mask[around] = keep_largest_parts((crop == cv2.GC_FGD) | (crop == cv2.GC_PR_FGD))
    return mask


def _run_grabcut(image: np.ndarray, labels: np.ndarray) -> None:
    """Refines GrabCut labels in place; leaves them as they are where there is no object or no background to learn colours from."""
    foreground = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if not foreground.any() or foreground.all():
        return
    cv2.setRNGSeed(0)
    cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _GRABCUT_STEPS, cv2.GC_INIT_WITH_MASK)
