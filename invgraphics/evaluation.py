"""Scores of a whole set of images: an object at a time, then means and medians that keep what is missing in the account."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import fmean, median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.datasets import GroundTruth
from invgraphics.geometry.mesh import Mesh
from invgraphics.metrics import ShapeScores, compute_auc, score_mesh
from invgraphics.spread import SpreadScores, score_samples


@dataclass(frozen=True)
class ObjectChecks:
    """What can be said of a reconstructed object without its truth. nan where it does not apply."""

    depth_mm: float
    """Mean absolute difference of rendered and measured depth on the object's mask, millimetres (`agreement.ImageAgreement`)."""
    silhouette_iou: float
    """Of render and mask, percent."""
    colour_psnr_db: float
    """Of the render's colour on the object's mask, decibels."""
    penetration_mm: float
    """How deep the object and another reach into one another, millimetres (`agreement.measure_penetration`)."""
    sinking_mm: float
    """How far it reaches below the support plane, millimetres; nan without a plane."""
    moved_mm: float
    """How far its centre of mass is from its place once the scene has settled under gravity, millimetres; nan without a plane."""
    turned_degrees: float
    """How far it has turned then."""
    closed: bool
    """Whether the mesh file holds a closed surface: every edge between two faces that agree which side is out."""


SCORE_NAMES = tuple(entry.name for entry in fields(ShapeScores))
CHECK_NAMES = tuple(entry.name for entry in fields(ObjectChecks) if entry.name != "closed")
STABLE_MM, STABLE_DEGREES = 5.0, 5.0
"""A scene that settles has objects that stand still if they move and turn by no more."""
_FRACTIONS = ("f5", "f10", "f20", "f30", "nc", "iou", "silhouette_iou")
"""Scores in percent, which a missing object has at 0. A distance it has none."""


@dataclass(frozen=True)
class ObjectResult:
    """What came of one object."""

    image: str
    """Name of the image, which is its folder in the output."""
    mask_index: int
    name: str
    """The dataset's name of the object."""
    scores: ShapeScores | None
    """None where the object was not reconstructed, or where its true shape is not known."""
    missing: str = ""
    """Why it was not reconstructed, in words."""
    checks: ObjectChecks | None = None
    """None where the object was not reconstructed, or where nobody looked."""
    hypothesis: str = ""
    """Which completion of its unseen side was chosen."""
    candidates: Mapping[str, float] = field(default_factory=dict)
    """Chamfer distance, millimetres, of every completion that could have been chosen, before refinement; empty unless asked for."""
    spread: SpreadScores | None = None
    """What its shape samples predict against the truth; None where there are none, or no truth."""

    @property
    def category(self) -> str:
        """What kind of thing it is, as far as the name tells (`categorize`)."""
        return categorize(self.name)


def categorize(name: str) -> str:
    """The kind of thing that a name is of: its last word that is not a number, as in English ("round_plate_1" is a plate)."""
    words = [word for word in name.replace("-", "_").lower().split("_") if word and not word.isdigit()]
    return words[-1] if words else name


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


def score_spreads(
    truths: Sequence[GroundTruth], samples: Mapping[int, Sequence[Mesh]], T_camera_world: Float[Tensor, "4 4"], seed: int
) -> dict[int, SpreadScores]:
    """The shape samples (world frame, by mask index) of the objects that have a truth against it, by mask index."""
    return {
        truth.mask_index: score_samples(
            [sample.transformed(T_camera_world) for sample in samples[truth.mask_index]], truth.mesh, torch.Generator().manual_seed(seed)
        )
        for truth in truths
        if truth.mask_index in samples
    }


def mark_missing(image: str, truths: Sequence[GroundTruth], reason: str) -> list[ObjectResult]:
    """The objects of an image of which nothing was reconstructed."""
    return [ObjectResult(image, truth.mask_index, truth.name, None, reason) for truth in truths]


def average(results: Sequence[ObjectResult]) -> dict[str, dict[str, float]]:
    """Mean and median of every score. Missing objects count as 0 in the percentages and are left out of the others (nan if all are)."""
    columns = {name: _collect(results, name) for name in (*SCORE_NAMES, *CHECK_NAMES)}
    return {
        "mean": {name: fmean(values) if values else math.nan for name, values in columns.items()},
        "median": {name: median(values) if values else math.nan for name, values in columns.items()},
    }


def measure_shares(results: Sequence[ObjectResult]) -> dict[str, float]:
    """Percentages of the objects that pass; nan where none could be asked.

    `stable`: of those on a support plane, moved and turned by at most 5 mm and 5 degrees when the scene settles. `closed`: of those
    reconstructed. `add_s_auc`: area under the curve of the share of objects with an ADD-S below a threshold, from 0 to 10 cm (PoseCNN's),
    missing ones counting as infinitely far.
    """
    checks = [result.checks for result in results if result.checks]
    moved = [check for check in checks if not math.isnan(check.moved_mm)]
    scored = [result for result in results if result.scores or result.missing]
    add_s = torch.tensor([result.scores.add_s_mm / 1e3 if result.scores else math.inf for result in scored])
    return {
        "stable": _percentage(check.moved_mm <= STABLE_MM and check.turned_degrees <= STABLE_DEGREES for check in moved),
        "closed": _percentage(check.closed for check in checks),
        "add_s_auc": 100 * compute_auc(add_s) if scored else math.nan,
    }


def average_by(key: Callable[[ObjectResult], str], results: Sequence[ObjectResult]) -> dict[str, dict[str, float | int]]:
    """Mean scores of the objects of each group, with their `count`, how many of them are `missing` and the share that is `stable`."""
    groups: dict[str, list[ObjectResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return {
        name: {
            "count": len(group),
            "missing": sum(result.scores is None for result in group),
            **average(group)["mean"],
            "stable": measure_shares(group)["stable"],
        }
        for name, group in sorted(groups.items())
    }


def average_by_name(results: Sequence[ObjectResult]) -> dict[str, dict[str, float | int]]:
    """`average_by` the dataset's names."""
    return average_by(lambda result: result.name, results)


def average_by_category(results: Sequence[ObjectResult]) -> dict[str, dict[str, float | int]]:
    """`average_by` the kind of thing."""
    return average_by(lambda result: result.category, results)


def compare_hypotheses(results: Sequence[ObjectResult]) -> dict[str, dict[str, Any]]:
    """For each kind of thing and for "all": which completions were chosen, and how they compare with the best there was.

    `chosen` counts the completions; `cd_l1_mm` is the mean Chamfer distance of the finished meshes. Where the candidates were scored,
    `best` counts which would have been best; `cd_chosen_mm` and `cd_best_mm` are means over the chosen and the best ones before refinement.
    """
    reconstructed = [result for result in results if result.scores and result.hypothesis]
    groups = {"all": reconstructed} if reconstructed else {}
    for result in sorted(reconstructed, key=lambda result: result.category):
        groups.setdefault(result.category, []).append(result)
    return {name: _compare_group(group) for name, group in groups.items()}


def _compare_group(group: Sequence[ObjectResult]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "count": len(group),
        "chosen": dict(Counter(result.hypothesis for result in group).most_common()),
        "cd_l1_mm": fmean(result.scores.cd_l1_mm for result in group),
    }
    weighed = [result for result in group if result.hypothesis in result.candidates]
    if weighed:
        best = [min(result.candidates, key=result.candidates.__getitem__) for result in weighed]
        row["best"] = dict(Counter(best).most_common())
        row["cd_chosen_mm"] = fmean(result.candidates[result.hypothesis] for result in weighed)
        row["cd_best_mm"] = fmean(min(result.candidates.values()) for result in weighed)
    return row


def worst_first(results: Sequence[ObjectResult]) -> list[ObjectResult]:
    """Missing objects, then by falling Chamfer distance, then those without a true shape by falling depth residual."""
    return sorted(results, key=_goodness)


def _goodness(result: ObjectResult) -> tuple[int, float]:
    if result.scores is not None:
        return 1, -result.scores.cd_l1_mm
    if result.checks is not None:
        return 2, math.inf if math.isnan(result.checks.depth_mm) else -result.checks.depth_mm
    return 0, 0.0


def describe_result(result: ObjectResult) -> dict[str, Any]:
    """One row of `results.json`: scores are null where the object is missing or its true shape is not known."""
    scores = dict.fromkeys(SCORE_NAMES) if result.scores is None else asdict(result.scores)
    checks = {} if result.checks is None else asdict(result.checks)
    row = {"image": result.image, "mask_index": result.mask_index, "name": result.name, "category": result.category, **scores, **checks}
    spread = None if result.spread is None else asdict(result.spread)
    optional = {"hypothesis": result.hypothesis, "candidates": dict(result.candidates), "missing": result.missing, "spread": spread}
    return row | {key: value for key, value in optional.items() if value}


def parse_result(row: Mapping[str, Any]) -> ObjectResult:
    """What `describe_result` described; null numbers come back as nan."""
    scores = None if row["cd_l1_mm"] is None else ShapeScores(*(_number(row[name]) for name in SCORE_NAMES))
    checks = ObjectChecks(*(_number(row[name]) for name in CHECK_NAMES), closed=row["closed"]) if "closed" in row else None
    spread = _parse_spread(row["spread"]) if "spread" in row else None
    optional = (row.get("missing", ""), checks, row.get("hypothesis", ""), row.get("candidates", {}), spread)
    return ObjectResult(row["image"], row["mask_index"], row["name"], scores, *optional)


def _parse_spread(row: Mapping[str, Any]) -> SpreadScores:
    numbers = {name: _number(value) for name, value in row.items() if name != "ranks"}
    return SpreadScores(ranks=tuple(row["ranks"]), **numbers)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _percentage(passed: Iterable[bool]) -> float:
    values = list(passed)
    return 100 * fmean(values) if values else math.nan


def _collect(results: Sequence[ObjectResult], name: str) -> list[float]:
    values = []
    for result in results:
        part = result.scores if name in SCORE_NAMES else result.checks
        if part is not None:
            values.append(getattr(part, name))
        elif result.missing and name in _FRACTIONS:
            values.append(0.0)
    return [value for value in values if not math.isnan(value)]
