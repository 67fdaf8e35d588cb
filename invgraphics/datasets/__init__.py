"""Images from files: frame folders and BOP datasets, read, checked, and with the truth where it is known."""

from invgraphics.datasets.checks import find_masks_without_depth, parse_boxes
from invgraphics.datasets.sample import FrameInput, GroundTruth
from invgraphics.datasets.sources import list_images, load_frame, load_ground_truth, load_observation

__all__ = [
    "FrameInput",
    "GroundTruth",
    "find_masks_without_depth",
    "list_images",
    "load_frame",
    "load_ground_truth",
    "load_observation",
    "parse_boxes",
]
