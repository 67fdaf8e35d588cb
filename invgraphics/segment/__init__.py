"""Masks of the objects in an image, without trained weights."""

from invgraphics.segment.boxes import DepthColourSegmenter, Segmenter
from invgraphics.segment.clicks import DepthColourPrompts, Prompt, PromptSegmenter
from invgraphics.segment.editor import MaskEditor
from invgraphics.segment.proposals import ProposalLimits, propose_masks
from invgraphics.segment.select import mask_objects

__all__ = [
    "DepthColourPrompts",
    "DepthColourSegmenter",
    "MaskEditor",
    "Prompt",
    "PromptSegmenter",
    "ProposalLimits",
    "Segmenter",
    "mask_objects",
    "propose_masks",
]
