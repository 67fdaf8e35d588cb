"""Masks made by hand: boxes, clicks and brush strokes on an image, each object's mask following them, every step undone on request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from invgraphics.datasets.files import write_image
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.segment.clicks import Prompt, PromptSegmenter
from invgraphics.segment.refine import find_boxes

Number = float | int
MOST_OBJECTS = 255
"""That an 8-bit mask.png can number."""


@dataclass(frozen=True)
class DrawnObject:
    """One object, as far as it is marked."""

    prompt: Prompt
    segmented: Bool[Tensor, "h w"]
    """What the segmenter made of the prompt, or the mask that came with the image."""
    painted: Bool[Tensor, "h w"]
    """Pixels that the brush put in."""
    erased: Bool[Tensor, "h w"]
    """Pixels that it took out."""

    @property
    def mask(self) -> Bool[Tensor, "h w"]:
        """The object's pixels; the brush has the last word."""
        return (self.segmented & ~self.erased) | self.painted


class MaskEditor:
    """The objects of one image while a person marks them. Coordinates are pixels, pixel centres at integers, unless said otherwise."""

    def __init__(self, observation: Observation, segmenter: PromptSegmenter):
        """Starts from the masks of the observation, if it has some."""
        self.observation, self.segmenter = observation, segmenter
        self.objects: tuple[DrawnObject, ...] = tuple(self._blank(mask) for mask in observation.masks)
        self._before: list[tuple[DrawnObject, ...]] = []
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every change."""
        self._listeners.append(listener)

    def add_object(self) -> int:
        """A further object without any mark; returns its index. Raises `InputError` where there are as many as a mask file numbers."""
        if len(self.objects) == MOST_OBJECTS:
            raise InputError(f"there are {MOST_OBJECTS} objects already, as many as a mask.png of 8 bits can number")
        self._commit((*self.objects, self._blank(torch.zeros_like(self.observation.valid))))
        return len(self.objects) - 1

    def remove_object(self, index: int) -> None:
        """Takes an object away; those after it move up."""
        self._commit(self.objects[:index] + self.objects[index + 1 :])

    def set_box(self, index: int, box: Sequence[Number]) -> None:
        """Segments the object anew inside a box: x0, y0, x1, y1, any two corners; pixel k reaches from k to k + 1.

        Raises `InputError` where less than a pixel of the image is in it.
        """
        height, width = self.observation.depth.shape
        x0, x1 = sorted(min(max(float(x), 0.0), float(width)) for x in (box[0], box[2]))
        y0, y1 = sorted(min(max(float(y), 0.0), float(height)) for y in (box[1], box[3]))
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise InputError(f"the box {x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f} holds less than a pixel; drag from one corner to the other")
        self._segment(index, replace(self.objects[index].prompt, box=(x0, y0, x1, y1)))

    def click(self, index: int, x: Number, y: Number, inside: bool = True) -> None:
        """Segments the object anew, knowing that this point is on it, or is not."""
        prompt, point = self.objects[index].prompt, (float(x), float(y))
        if inside:
            self._segment(index, replace(prompt, inside=(*prompt.inside, point)))
        elif prompt or self.objects[index].mask.any():
            self._segment(index, replace(prompt, outside=(*prompt.outside, point)))
        else:
            raise InputError("nothing is marked yet from which a point could be taken away; click on the object first, or draw its box")

    def paint(self, index: int, path: Sequence[tuple[Number, Number]], radius: Number, erase: bool = False) -> None:
        """Puts the pixels within `radius` of a path into the object, or takes them out; segmenting again leaves them so."""
        stroke = self._draw_stroke(path, radius)
        item = self.objects[index]
        painted, erased = (item.painted & ~stroke, item.erased | stroke) if erase else (item.painted | stroke, item.erased & ~stroke)
        self._change(index, replace(item, painted=painted, erased=erased))

    def undo(self) -> None:
        """Takes the last change back; does nothing where there is none."""
        if self._before:
            self.objects = self._before.pop()
            self._tell()

    def masks(self) -> Bool[Tensor, "n h w"]:
        """Disjoint masks of all objects, in their order: a pixel that several claim is the last one's. Some may be empty."""
        masks = torch.stack([item.mask for item in self.objects]) if self.objects else self.observation.masks[:0]
        taken = torch.zeros_like(self.observation.valid)
        disjoint = []
        for mask in masks.flip(0):
            disjoint.append(mask & ~taken)
            taken = taken | mask
        return torch.stack(disjoint[::-1]) if disjoint else masks

    def result(self) -> Observation:
        """The image with these masks, less the empty ones.

        Raises `InputError` where nothing is marked.
        """
        masks = self.masks()
        masks = masks[masks.any(2).any(1)]
        if not len(masks):
            raise InputError(f"{self.observation.name}: no object is marked")
        return self.observation.with_masks(masks)

    def save(self, path: Path) -> None:
        """Writes the masks as a frame folder's `mask.png`: 8-bit ids in the objects' order, 0 for none. Raises as `result` does."""
        ids = np.zeros(tuple(self.observation.depth.shape), np.uint8)
        for number, mask in enumerate(self.result().masks.cpu().numpy(), start=1):
            ids[mask] = number
        write_image(path, ids)

    def _blank(self, mask: Bool[Tensor, "h w"]) -> DrawnObject:
        nothing = torch.zeros_like(mask)
        return DrawnObject(Prompt(), mask, nothing, nothing)

    def _segment(self, index: int, prompt: Prompt) -> None:
        """With a prompt that marks nothing on the object (its mask came with the image), what was known of it stands in for a box."""
        item = self.objects[index]
        asked = prompt if prompt else replace(prompt, box=tuple(find_boxes(item.mask[None])[0].tolist()))
        segmented = self.segmenter.segment_prompt(self.observation, asked)
        self._change(index, replace(item, prompt=asked, segmented=segmented))

    def _draw_stroke(self, path: Sequence[tuple[Number, Number]], radius: Number) -> Bool[Tensor, "h w"]:
        canvas = np.zeros(tuple(self.observation.depth.shape), np.uint8)
        points = np.round(np.array(path, dtype=float).reshape(-1, 1, 2)).astype(np.int32)
        cv2.polylines(canvas, [points], isClosed=False, color=1, thickness=max(1, round(2 * radius)))
        for x, y in points[:, 0].tolist():
            cv2.circle(canvas, (x, y), max(0, round(radius)), 1, cv2.FILLED)
        return torch.from_numpy(canvas > 0).to(self.observation.valid.device)

    def _change(self, index: int, item: DrawnObject) -> None:
        self._commit((*self.objects[:index], item, *self.objects[index + 1 :]))

    def _commit(self, objects: tuple[DrawnObject, ...]) -> None:
        self._before.append(self.objects)
        self.objects = objects
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
