"""Boxes, clicks and SAM 2 on the command line: which objects are meant, and who segments them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from invgraphics.datasets import FrameInput, parse_boxes
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.segment import (
    DepthColourPrompts,
    DepthColourSegmenter,
    Prompt,
    Sam2Segmenter,
    mask_objects,
    mask_prompts,
)


@dataclass
class _Marks:
    """What was said of one object, in the order of the words."""

    option: str
    box: list[float] | None = None
    inside: list[tuple[float, float]] = field(default_factory=list)
    outside: list[tuple[float, float]] = field(default_factory=list)


class _Mark(argparse.Action):
    """Collects --box, --click, --on and --off into one list: the first two begin an object, the others belong to the last one."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        option = str(option_string)
        marks: list[_Marks] = list(getattr(namespace, self.dest) or [])
        if option in ("--on", "--off") and not marks:
            parser.error(f"{option} belongs to an object: write --box or --click before it")
        if option in ("--box", "--click"):
            marks.append(_Marks(f"object {len(marks)} ({option})"))
        if option == "--box":
            marks[-1].box = values
        else:
            if len(values) % 2:
                parser.error(f"{option} takes pairs of x and y; it was given {len(values)} numbers")
            points = list(zip(values[::2], values[1::2], strict=True))
            (marks[-1].outside if option == "--off" else marks[-1].inside).extend(points)
        setattr(namespace, self.dest, marks)


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """--box, --click, --on, --off (together as `arguments.marks`) and --sam2."""
    parser.add_argument(
        "--box",
        dest="marks",
        type=float,
        nargs=4,
        action=_Mark,
        metavar=("X0", "Y0", "X1", "Y1"),
        help="an object's box in pixels, once for each object; in place of the masks and boxes that come with the image",
    )
    points = {"type": float, "nargs": "+", "action": _Mark, "metavar": ("X", "Y")}
    parser.add_argument("--click", dest="marks", help="points on an object, in pixels, once for each object", **points)
    parser.add_argument("--on", dest="marks", help="further points on the object of the last --box or --click", **points)
    parser.add_argument("--off", dest="marks", help="points that are not on the object of the last --box or --click", **points)
    add_sam2_argument(parser)


def add_sam2_argument(parser: argparse.ArgumentParser) -> None:
    """--sam2 alone."""
    parser.add_argument(
        "--sam2",
        type=Path,
        metavar="FOLDER",
        help="segment by the SAM 2 checkpoint in this folder (Hugging Face's format; see `invgraphics sam2`), not by depth and GrabCut",
    )


def parse_prompts(marks: Sequence[_Marks] | None, frames: Sequence[FrameInput]) -> list[Prompt] | None:
    """What was marked on the image; None where nothing was.

    Raises:
        InputError: a mark lies outside the image, or there are several images.
    """
    if not marks:
        return None
    if len(frames) > 1:
        given = "--box" if marks[0].box is not None else "--click"
        raise InputError(f"{given} holds pixels of one image, and there are several; put boxes.json or mask.png into each frame folder")
    camera = frames[0].observation.camera
    boxes = [mark.box for mark in marks if mark.box is not None]
    checked = iter(parse_boxes(boxes, camera.height, camera.width, "--box").tolist() if boxes else [])
    prompts = []
    for mark in marks:
        for x, y in [*mark.inside, *mark.outside]:
            if not (-0.5 <= x < camera.width - 0.5 and -0.5 <= y < camera.height - 0.5):
                raise InputError(f"point ({x:g}, {y:g}) of {mark.option} lies outside the image of {camera.width}x{camera.height} pixels")
        box = None if mark.box is None else tuple(next(checked))
        prompts.append(Prompt(box, tuple(mark.inside), tuple(mark.outside)))
    return prompts


@lru_cache(maxsize=1)
def load_segmenter(sam2: Path | None) -> DepthColourSegmenter | Sam2Segmenter:
    """SAM 2 where its folder is given, depth and GrabCut where not. The last one is kept: a set of images loads its weights once."""
    return DepthColourSegmenter() if sam2 is None else Sam2Segmenter(sam2)


def segment_frame(frame: FrameInput, prompts: Sequence[Prompt] | None, sam2: Path | None, seed: int) -> tuple[Observation, str]:
    """The image with its masks, and in words where they are from.

    Args:
        frame: the image, with the masks or boxes that came with it.
        prompts: what was marked, in place of these; None where nothing was.
        sam2: folder of a SAM 2 checkpoint; None for depth and GrabCut.
        seed: of every random choice.

    Raises:
        InputError: no object is found, or the checkpoint cannot be used.
    """
    generator = torch.Generator().manual_seed(seed)
    observation = frame.observation
    if prompts is None and len(observation.masks):
        return observation, "those that came with the image"
    if prompts is None and len(frame.boxes) == 0:
        return mask_objects(frame, generator), "of what stands on the support plane, by depth and GrabCut (nothing was marked)"
    segmenter = load_segmenter(sam2)
    if prompts is None:
        return mask_objects(frame, generator, segmenter=segmenter), f"from the boxes that came with the image, by {segmenter.name}"
    if not any(prompt.inside or prompt.outside for prompt in prompts):
        boxes = torch.tensor([prompt.box for prompt in prompts])
        return mask_objects(frame, generator, boxes, segmenter), f"from what was marked, by {segmenter.name}"
    on_image = segmenter.look_at(observation) if isinstance(segmenter, Sam2Segmenter) else DepthColourPrompts(observation, generator)
    return mask_prompts(observation, prompts, on_image), f"from what was marked, by {segmenter.name}"
