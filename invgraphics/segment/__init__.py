"""Masks of the objects in an image: by depth and GrabCut, or by SAM 2 where its weights are given."""

from invgraphics.segment.boxes import DepthColourSegmenter, Segmenter
from invgraphics.segment.clicks import DepthColourPrompts, Prompt, PromptSegmenter
from invgraphics.segment.editor import MaskEditor
from invgraphics.segment.proposals import ProposalLimits, propose_masks
from invgraphics.segment.refine import find_boxes
from invgraphics.segment.sam2 import Sam2Segmenter
from invgraphics.segment.select import mask_objects, mask_prompts

__all__ = [
    "DepthColourPrompts",
    "DepthColourSegmenter",
    "MaskEditor",
    "Prompt",
    "PromptSegmenter",
    "ProposalLimits",
    "Sam2Segmenter",
    "Segmenter",
    "find_boxes",
    "mask_objects",
    "mask_prompts",
    "propose_masks",
]
