"""Clicks and a box to a mask, without trained weights: what `segment_boxes` does, with a person's word for single pixels."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane, find_support_plane
from invgraphics.segment.boxes import build_trimap, label_parts, segment_window

_CLICK_RADIUS = 3
"""Pixels about a click that share its label."""
_REACH = 0.35
"""How far around the clicked surface the object is looked for where there is no box, as a share of the surface's longer side."""
_BLIND_REACH = 60
"""The same about clicks where no surface rises, pixels."""


@dataclass(frozen=True)
class Prompt:
    """What a person marked of one object. Pixels: x to the right, y down, pixel centres at integers."""

    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 about the object."""
    inside: tuple[tuple[float, float], ...] = ()
    """Points (x, y) on the object."""
    outside: tuple[tuple[float, float], ...] = ()
    """Points that are not on it."""

    def __bool__(self) -> bool:
        return self.box is not None or bool(self.inside)


@runtime_checkable
class PromptSegmenter(Protocol):
    """Makes a mask of what a person marked."""

    name: str
    """What it is called where results are shown."""

    def segment_prompt(self, observation: Observation, prompt: Prompt) -> Bool[Tensor, "h w"]:
        """The object's pixels; none where nothing was found."""
        ...


class DepthColourPrompts:
    """Needs no weights. One for each image: it looks at the depth once.

    Sure background: behind the support plane, around clicks outside, and every surface that rises from the plane and was clicked outside
    only. Sure object: around clicks inside. The rest starts from its height over the plane (where there is no box, as background unless its
    surface was clicked) and is decided by colour (GrabCut).
    """

    name = "depth and GrabCut"

    def __init__(self, observation: Observation, generator: torch.Generator):
        """`generator` is for the support plane."""
        plane: SupportPlane | None = find_support_plane(observation, generator)
        self._trimap, self._parts = build_trimap(observation, plane), label_parts(observation, plane)
        self._image = np.round(255 * srgb_from_linear(observation.colour).cpu().numpy()).astype(np.uint8)

    def segment_prompt(self, observation: Observation, prompt: Prompt) -> Bool[Tensor, "h w"]:
        """See `PromptSegmenter`. `observation` is the image that this was made for."""
        height, width = self._parts.shape
        inside, outside = (_to_pixels(points, width, height) for points in (prompt.inside, prompt.outside))
        trimap = self._trimap.copy()
        clicked = self._find_parts(inside)
        trimap[np.isin(self._parts, sorted(self._find_parts(outside) - clicked))] = cv2.GC_BGD
        hit = np.isin(self._parts, sorted(clicked))
        trimap[hit & (trimap != cv2.GC_FGD)] = cv2.GC_PR_FGD
        if prompt.box is None:
            trimap[(trimap == cv2.GC_FGD) & ~hit] = cv2.GC_PR_BGD
        _mark(trimap, inside, cv2.GC_FGD)
        _mark(trimap, outside, cv2.GC_BGD)
        window = self._choose_window(prompt, inside, clicked)
        return torch.from_numpy(segment_window(self._image, trimap, window)).to(observation.masks.device)

    def _find_parts(self, points: Int[np.ndarray, "k 2"]) -> set[int]:
        """Numbers of the surfaces that rise where was clicked."""
        return set(self._parts[points[:, 1], points[:, 0]].tolist()) - {0}

    def _choose_window(self, prompt: Prompt, inside: Int[np.ndarray, "k 2"], clicked: set[int]) -> tuple[slice, slice]:
        """Rows and columns of the box, widened to surfaces that were clicked beside it; without a box, around what was clicked."""
        height, width = self._parts.shape
        if prompt.box is None and not len(inside):
            raise InputError("nothing is marked: give a box, or a point on the object")
        bounds = [np.concatenate([np.floor(prompt.box[:2]), np.ceil(prompt.box[2:])])] if prompt.box is not None else []
        beside = not bounds or ((inside < bounds[0][:2]) | (inside >= bounds[0][2:])).any()
        if beside and clicked:
            rows, columns = np.nonzero(np.isin(self._parts, sorted(clicked)))
            surface = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            reach = 0 if bounds else int(_REACH * (surface[2:] - surface[:2]).max())
            bounds.append(surface + reach * np.array([-1, -1, 1, 1]))
        elif beside:
            bounds.append(np.concatenate([inside.min(0) - _BLIND_REACH, inside.max(0) + _BLIND_REACH]))
        low = np.clip(np.min(bounds, axis=0)[:2], 0, [width - 1, height - 1]).astype(int)
        high = np.maximum(np.clip(np.max(bounds, axis=0)[2:], 1, [width, height]).astype(int), low + 1)
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _to_pixels(points: tuple[tuple[float, float], ...], width: int, height: int) -> Int[np.ndarray, "k 2"]:
    rounded = np.round(np.array(points, dtype=float).reshape(-1, 2)).astype(np.int64)
    return np.clip(rounded, 0, [width - 1, height - 1])


def _mark(trimap: np.ndarray, points: Int[np.ndarray, "k 2"], label: int) -> None:
    """Gives the discs about the points a label, in place."""
    disc = np.zeros(trimap.shape, np.uint8)
    for x, y in points.tolist():
        cv2.circle(disc, (x, y), _CLICK_RADIUS, 1, cv2.FILLED)
    trimap[disc > 0] = label
