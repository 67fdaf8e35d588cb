"""From an image as read to an image with masks, by the best of what was given: boxes asked for, masks, boxes that came along, nothing."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.datasets import FrameInput
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.plane import find_support_plane
from invgraphics.segment.boxes import DepthColourSegmenter, Segmenter
from invgraphics.segment.clicks import Prompt, PromptSegmenter
from invgraphics.segment.proposals import propose_masks
from invgraphics.segment.refine import resolve_conflicts

_ADVICE = "mark them by a mask.png or a boxes.json in the frame folder, or by --box x0 y0 x1 y1 or --click x y"


def mask_objects(
    frame: FrameInput,
    generator: torch.Generator,
    boxes: Float[Tensor, "n 4"] | None = None,
    segmenter: Segmenter | None = None,
) -> Observation:
    """The image with a mask for each object.

    Args:
        frame: the image, with the masks or boxes that came with it.
        generator: lives on the CPU.
        boxes: objects to be segmented in place of what came with the image; x0, y0, x1, y1 in pixels.
        segmenter: makes masks of boxes; depth and GrabCut if not given.

    Raises:
        InputError: neither masks nor boxes are given, and no object is found.
    """
    observation = frame.observation
    if boxes is None and len(observation.masks):
        return observation
    boxes = frame.boxes if boxes is None else boxes
    if len(boxes):
        return observation.with_masks((segmenter or DepthColourSegmenter()).segment(observation, boxes, generator))
    return observation.with_masks(_propose(observation, generator))


def mask_prompts(observation: Observation, prompts: Sequence[Prompt], segmenter: PromptSegmenter) -> Observation:
    """The image with a mask for each thing that somebody pointed at, in their order; disjoint, whatever the segmenter says.

    Args:
        observation: the image.
        prompts: boxes and clicks.
        segmenter: the one that was made for this image.
    """
    masks = np.stack([segmenter.segment_prompt(observation, prompt).cpu().numpy() for prompt in prompts])
    points = observation.camera.unproject(observation.depth).cpu().numpy()
    return observation.with_masks(torch.from_numpy(resolve_conflicts(masks, points)).to(observation.depth.device))


def _propose(observation: Observation, generator: torch.Generator) -> Tensor:
    plane = find_support_plane(observation, generator)
    if plane is None:
        raise InputError(f"{observation.name}: no support plane to find objects on; {_ADVICE}")
    masks = propose_masks(observation, plane)
    if len(masks) == 0:
        raise InputError(f"{observation.name}: no objects found on the support plane; {_ADVICE}")
    return masks
