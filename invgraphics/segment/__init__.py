"""Masks of the objects in an image, without trained weights."""

from invgraphics.segment.boxes import DepthColourSegmenter, Segmenter
from invgraphics.segment.proposals import ProposalLimits, propose_masks
from invgraphics.segment.select import mask_objects

__all__ = ["DepthColourSegmenter", "ProposalLimits", "Segmenter", "mask_objects", "propose_masks"]
