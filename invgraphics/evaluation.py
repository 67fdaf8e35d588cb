"""Scores of a whole set of images: an object at a time, then means and medians that keep what is missing in the account."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean, median

import torch

from invgraphics.datasets import GroundTruth
from invgraphics.geometry.mesh import Mesh
from invgraphics.metrics import ShapeScores, score_mesh

SCORE_NAMES = tuple(field.name for field in fields(ShapeScores))
_FRACTIONS = ("f5", "f10", "f20", "f30", "nc")
"""Scores in percent, which a missing object has at 0. A distance it has none."""


@dataclass(frozen=True)
class ObjectResult:
    """What came of one object whose truth is known."""

    image: str
    """Name of the image, which is its folder in the output."""
    mask_index: int
    name: str
    """The dataset's name of the object."""
    scores: ShapeScores | None
    """None where the object was not reconstructed."""
    missing: str = ""
    """Why it was not, in words."""


def score_objects(
    image: str, truths: Sequence[GroundTruth], meshes: Mapping[int, Mesh], left_out: Mapping[int, str], seed: int
) -> list[ObjectResult]:
    """Each true object of an image against the mesh (camera frame) of its mask, in the order of `truths`.

    `left_out` says of the masks without a mesh why they have none.
    """
    results = []
    for truth in truths:
        index = truth.mask_index
        mesh = meshes.get(index)
        scores = None if mesh is None else score_mesh(mesh, truth.mesh, torch.Generator().manual_seed(seed))
        results.append(ObjectResult(image, index, truth.name, scores, "" if scores else left_out[index]))
    return results


def mark_missing(image: str, truths: Sequence[GroundTruth], reason: str) -> list[ObjectResult]:
    """The objects of an image of which nothing was reconstructed."""
    return [ObjectResult(image, truth.mask_index, truth.name, None, reason) for truth in truths]


def average(results: Sequence[ObjectResult]) -> dict[str, dict[str, float]]:
    """Mean and median of every score. Missing objects count as 0 in the percentages and are left out of the distances (nan if all are)."""
    columns = {name: _collect(results, name) for name in SCORE_NAMES}
    return {
        "mean": {name: fmean(values) if values else math.nan for name, values in columns.items()},
        "median": {name: median(values) if values else math.nan for name, values in columns.items()},
    }


def average_by_name(results: Sequence[ObjectResult]) -> dict[str, dict[str, float | int]]:
    """Mean scores of the objects of each name, with their `count` and how many of them are `missing`."""
    groups: dict[str, list[ObjectResult]] = {}
    for result in results:
        groups.setdefault(result.name, []).append(result)
    return {
        name: {"count": len(group), "missing": sum(result.scores is None for result in group), **average(group)["mean"]}
        for name, group in sorted(groups.items())
    }


def worst_first(results: Sequence[ObjectResult]) -> list[ObjectResult]:
    """Missing objects, then by falling Chamfer distance."""
    return sorted(results, key=lambda result: -math.inf if result.scores is None else -result.scores.cd_l1_mm)


def describe_result(result: ObjectResult) -> dict[str, object]:
    """One row of `results.json`: scores are null where the object is missing."""
    scores = dict.fromkeys(SCORE_NAMES) if result.scores is None else asdict(result.scores)
    row = {"image": result.image, "mask_index": result.mask_index, "name": result.name, **scores}
    return row | ({"missing": result.missing} if result.missing else {})


def _collect(results: Sequence[ObjectResult], name: str) -> list[float]:
    absent = [0.0] if name in _FRACTIONS else []
    return [value for result in results for value in ([getattr(result.scores, name)] if result.scores else absent)]
