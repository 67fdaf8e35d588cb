"""Images from files: frame folders, benchmark datasets and recordings, read, checked, and with the truth where it is known."""

from invgraphics.datasets.checks import find_masks_without_depth, parse_boxes
from invgraphics.datasets.sample import FrameInput, GroundTruth, PoseTruth
from invgraphics.datasets.sources import (
    is_set,
    list_images,
    load_frame,
    load_ground_truth,
    load_observation,
    load_pose_truth,
    place_surfaces,
)

__all__ = [
    "FrameInput",
    "GroundTruth",
    "PoseTruth",
    "find_masks_without_depth",
    "is_set",
    "list_images",
    "load_frame",
    "load_ground_truth",
    "load_observation",
    "load_pose_truth",
    "parse_boxes",
    "place_surfaces",
]
