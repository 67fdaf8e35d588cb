"""How good poses are, as the benchmarks report it: ADD, ADD-S, their areas and recalls, BOP's VSD, MSSD, MSPD and average recall.

A pose here is that of a model laid over a reconstruction (`model_registration`), or of a reconstruction from another image of the same
object; `docs/evaluation.md` says what such numbers mean and what they do not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean, median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.metrics import average_recall, bop_thresholds, compute_add, compute_add_s, compute_auc, compute_mspd, compute_mssd
from invgraphics.transforms import so3_log

CORRECT_SHARE = 0.1
"""An ADD below this share of the diameter is a correct pose (Hinterstoisser et al. 2012)."""
_DIRECTIONS = 2000
"""In which a model of very many points is measured across."""
_PART = 32
"""Symmetries looked at at a time: a continuous one stands for hundreds, of thousands of vertices each."""
_MEDIANS = ("add_mm", "add_s_mm", "rotation_degrees", "translation_mm", "residual_mm")


@dataclass(frozen=True)
class PoseScores:
    """An estimated pose of a model against the true one. nan where a number cannot be had."""

    add_mm: float
    """Mean distance between the model's points in both poses, millimetres."""
    add_s_mm: float
    """Mean distance from the model's points in the true pose to the nearest of its points in the estimated one, millimetres."""
    mssd_mm: float
    """BOP's maximum symmetry-aware surface distance, millimetres; nan where the symmetries are not known."""
    mspd_px: float
    """BOP's maximum symmetry-aware projection distance, pixels of an image 640 wide; nan where the symmetries are not known."""
    vsd: tuple[float, ...]
    """BOP's visible surface discrepancy at each of its ten tolerances; empty where it was not computed."""
    rotation_degrees: float
    """Angle between both rotations, the least over the symmetries where these are known."""
    translation_mm: float
    """Distance between both positions of the model's origin, of the symmetric pose that is nearest in angle."""
    diameter_mm: float
    """Of the model."""
    symmetric: bool
    """Whether the model has symmetries, so that ADD-S takes the place of ADD; false where they are not known."""
    residual_mm: float
    """How well the model fits the reconstruction it was laid over: mean distance between both surfaces, millimetres."""

    @property
    def add_or_s_mm(self) -> float:
        """ADD, or ADD-S of a symmetric model: what papers write ADD(-S)."""
        return self.add_s_mm if self.symmetric else self.add_mm


_SCORE_NAMES = tuple(entry.name for entry in fields(PoseScores))


@dataclass(frozen=True)
class PoseResult:
    """What came of the pose of one object."""

    image: str
    """Name of the image, which is its folder in the output."""
    mask_index: int
    name: str
    object_id: str
    """What the dataset calls the object."""
    model: str
    """Whose pose it is: "published" for the dataset's model, else the name of the image whose reconstruction served as the model."""
    scores: PoseScores | None
    missing: str = ""
    """Why there are no scores, in words: the object was not reconstructed. It counts as a wrong pose."""
    counted: bool = True
    """Whether the dataset's evaluation counts the object; averages are over those that count."""


def measure_diameter(points: Float[Tensor, "p 3"]) -> float:
    """The greatest distance between two of the points, in their unit; of very many points, between those that reach farthest out."""
    if len(points) > _DIRECTIONS:
        directions = torch.nn.functional.normalize(
            torch.randn(_DIRECTIONS, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1
        )
        points = points[(points.double() @ directions.T).argmax(0).unique()]
    return float(torch.cdist(points.double(), points.double()).max())


def score_pose(
    points: Float[Tensor, "p 3"],
    vertices: Float[Tensor, "v 3"],
    T_camera_object: Float[Tensor, "4 4"],
    true_T_camera_object: Float[Tensor, "4 4"],
    camera: Camera,
    *,
    diameter_m: float,
    symmetries: Float[Tensor, "s 4 4"] | None,
    vsd: Float[Tensor, " t"] | None,
    residual_m: float,
) -> PoseScores:
    """Every score of one pose.

    Args:
        points: where ADD is measured, metres, object frame.
        vertices: where MSSD and MSPD are measured: the model's vertices, metres, object frame.
        T_camera_object: the estimated pose.
        true_T_camera_object: the true pose.
        camera: of the image.
        diameter_m: of the model, metres.
        symmetries: motions that leave the model as it is, the identity among them; None where they are not known.
        vsd: `metrics.compute_vsd` at BOP's ten tolerances, from renders; None where there are none.
        residual_m: of the registration.
    """
    points, vertices, estimate, truth = (x.double() for x in (points, vertices, T_camera_object, true_T_camera_object))
    motions = torch.eye(4, dtype=torch.float64)[None] if symmetries is None else symmetries.double()
    known, K = symmetries is not None, camera.K.double()
    angle, shift = _compare_poses(estimate, truth, motions)
    return PoseScores(
        1e3 * compute_add(points, estimate, truth),
        1e3 * compute_add_s(points, estimate, truth),
        1e3 * min(compute_mssd(vertices, estimate, truth, part) for part in motions.split(_PART)) if known else math.nan,
        640 / camera.width * min(compute_mspd(vertices, estimate, truth, part, K) for part in motions.split(_PART)) if known else math.nan,
        () if vsd is None else tuple(float(value) for value in vsd),
        math.degrees(angle),
        1e3 * shift,
        1e3 * diameter_m,
        len(motions) > 1,
        1e3 * residual_m,
    )


def _compare_poses(estimate: Float[Tensor, "4 4"], truth: Float[Tensor, "4 4"], motions: Float[Tensor, "s 4 4"]) -> tuple[float, float]:
    """Angle in radians and distance in metres to that one of the equivalent true poses which is nearest in angle, then in place."""
    equivalent = truth @ motions
    angles = so3_log(equivalent[:, :3, :3].transpose(1, 2) @ estimate[:3, :3]).norm(dim=-1)
    shifts = (equivalent[:, :3, 3] - estimate[:3, 3]).norm(dim=-1)
    best = int((angles + 1e-6 * shifts).argmin())
    return float(angles[best]), float(shifts[best])


def describe_pose(result: PoseResult) -> dict[str, Any]:
    """One row of `results.json`: scores are null where there are none."""
    scores = dict.fromkeys(_SCORE_NAMES) if result.scores is None else asdict(result.scores)
    row = {"image": result.image, "mask_index": result.mask_index, "name": result.name, "object_id": result.object_id}
    return row | {"model": result.model, **scores, "missing": result.missing or None, "counted": result.counted}


def parse_pose_result(row: Mapping[str, Any]) -> PoseResult:
    """What `describe_pose` described; null numbers come back as nan."""
    scores = None
    if row["add_mm"] is not None:
        values = {name: math.nan if row[name] is None else row[name] for name in _SCORE_NAMES}
        scores = PoseScores(**(values | {"vsd": tuple(math.nan if value is None else value for value in row["vsd"])}))
    place = (row["image"], row["mask_index"], row["name"], row["object_id"], row["model"])
    return PoseResult(*place, scores, row["missing"] or "", row["counted"])


def summarize_poses(results: Sequence[PoseResult]) -> dict[str, Any]:
    """What papers report, in percent, over the objects that count; an object without a pose is a wrong one. None where it is not known.

    `add_auc`, `add_s_auc`, `add_or_s_auc`: area under the curve of the share of poses below a threshold from 0 to 0.1 m (PoseCNN).
    `add_or_s_recall`: share of the poses whose ADD(-S) is below a tenth of the diameter. `ar_vsd`, `ar_mssd`, `ar_mspd` and their mean
    `ar`: BOP 2019; known only if every object's symmetries are. Medians are of the poses that there are.
    """
    counted = [result for result in results if result.counted]
    scores = [result.scores for result in counted]
    if not scores:
        return {"count": 0, "missing": 0, "not_counted": len(results)}
    there = [score for score in scores if score is not None]
    errors = {name: _collect_metres(scores, f"{name}_mm") for name in ("add", "add_s", "add_or_s")}
    correct = [score is not None and score.add_or_s_mm < CORRECT_SHARE * score.diameter_mm for score in scores]
    summary: dict[str, Any] = {"count": len(scores), "missing": len(scores) - len(there), "not_counted": len(results) - len(scores)}
    summary |= {f"{name}_auc": 100 * compute_auc(values) for name, values in errors.items()}
    summary |= {"add_or_s_recall": 100 * fmean(correct), **_average_recalls(scores)}
    return summary | {f"median_{name}": _find_median([getattr(score, name) for score in there]) for name in _MEDIANS}


def _collect_metres(scores: Sequence[PoseScores | None], name: str) -> Float[Tensor, " n"]:
    return torch.tensor([math.inf if score is None else getattr(score, name) / 1e3 for score in scores], dtype=torch.float64)


def _average_recalls(scores: Sequence[PoseScores | None]) -> dict[str, float | None]:
    """BOP's average recalls in percent; None where a pose that there is lacks the error."""
    there = [score for score in scores if score is not None]
    limits, lost = bop_thresholds(640), math.inf
    recalls: dict[str, float | None] = dict.fromkeys(("ar_vsd", "ar_mssd", "ar_mspd"))
    if there and all(score.vsd for score in there):
        count = len(there[0].vsd)
        errors = torch.tensor([score.vsd if score else (lost,) * count for score in scores], dtype=torch.float64)
        recalls["ar_vsd"] = 100 * average_recall(errors, limits["vsd"])
    if there and not any(math.isnan(score.mssd_mm) for score in there):
        shares = [score.mssd_mm / score.diameter_mm if score else lost for score in scores]
        recalls["ar_mssd"] = 100 * average_recall(torch.tensor(shares, dtype=torch.float64), limits["mssd"])
        pixels = [score.mspd_px if score else lost for score in scores]
        recalls["ar_mspd"] = 100 * average_recall(torch.tensor(pixels, dtype=torch.float64), limits["mspd"])
    known = [value for value in recalls.values() if value is not None]
    return recalls | {"ar": fmean(known) if len(known) == len(recalls) else None}


def _find_median(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else None
