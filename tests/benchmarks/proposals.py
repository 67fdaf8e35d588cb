"""How well the masks that are proposed without being asked for are the objects, by a dataset's true masks.

    python -m tests.benchmarks.proposals shared/data/tabletop_dev

One row: objects, those that a proposal covers with an intersection over union above 0.7, those cut into several proposals, proposals that
join several objects, and proposals of nothing.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from invgraphics.datasets import list_images, load_observation
from invgraphics.plane import find_support_plane
from invgraphics.segment import propose_masks
from tests.benchmarks.tables import format_table

_SAME = 0.7
"""Intersection over union from which a proposal is the object."""
_OF_IT, _PIECE = 0.6, 0.05
"""A piece of an object lies in it with so much of itself, and is at least so much of it."""
_COVERED, _NOTHING = 0.5, 0.3
"""A proposal joins objects of each of which it covers so much, and is of nothing where so little of it lies in any."""


@dataclass
class Counts:
    """Of one image or several."""

    objects: int = 0
    found: int = 0
    cut: int = 0
    joined: int = 0
    of_nothing: int = 0

    def add(self, other: "Counts") -> None:
        """Those of another image."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def compare(proposed: np.ndarray, true: np.ndarray) -> Counts:
    """Of (p, h, w) bool proposals and (n, h, w) bool true visible masks."""
    shared = (proposed[:, None] & true[None]).sum((2, 3)).astype(float)
    areas, true_areas = proposed.sum((1, 2))[:, None], true.sum((1, 2))[None]
    same = shared / (areas + true_areas - shared) > _SAME
    pieces = (shared / areas > _OF_IT) & (shared / true_areas > _PIECE)
    joined = (shared / true_areas > _COVERED).sum(1) > 1
    of_nothing = shared.sum(1) / areas[:, 0] < _NOTHING
    return Counts(len(true), *(int(np.count_nonzero(x)) for x in (same.any(0), pieces.sum(0) > 1, joined, of_nothing)))


def measure(dataset: str) -> Counts:
    """Of all images of a dataset with masks."""
    counts = Counts()
    for image in list_images(dataset):
        observation = load_observation(image)
        plane = find_support_plane(observation, torch.Generator().manual_seed(0))
        counts.add(compare(propose_masks(observation, plane).numpy(), observation.masks.numpy()))
    return counts


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="any that `invgraphics evaluate` takes, with masks")
    counts = measure(parser.parse_args().dataset)
    header = ["dataset's objects", "found", "cut", "proposals that join", "proposals of nothing"]
    print(format_table(header, [[f"{counts.objects}", *list(vars(counts).values())[1:]]]))


if __name__ == "__main__":
    main()
