"""`report.html`: everything about one reconstruction on one page that needs no other file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from invgraphics import __version__
from invgraphics.grasp import Grasp
from invgraphics.metrics import ShapeScores
from invgraphics.reconstruction import Reconstruction
from invgraphics.report.fit import Fit, Pictures, measure_fit
from invgraphics.report.html import build_page, count, key_figures
from invgraphics.report.images import Image
from invgraphics.report.sections import (
    describe_convergence,
    describe_fit,
    describe_grasps,
    describe_input,
    describe_objects,
    describe_scores,
    describe_timings,
    label_object,
)


@dataclass(frozen=True)
class GraspReport:
    """What came of a grasp search."""

    grasps: Sequence[Grasp]
    """Best first."""
    filmstrip: Sequence[tuple[Image, str]] = ()
    """Pictures of the execution (8-bit sRGB) and what each shows."""
    outcome: str = ""
    """How the execution ended, in words."""
    succeeded: bool | None = None
    """Whether it ended well; None where nothing was executed."""
    film: bytes = b""
    """The execution as an animated WebP."""
    drawn: Image | None = None
    """The scene with the best grasps drawn on it."""


def write_report(
    path: Path,
    reconstruction: Reconstruction,
    pictures: Pictures,
    scores: Mapping[int, ShapeScores] | None = None,
    grasp: GraspReport | None = None,
) -> None:
    """Writes the page. `scores` are by index into the scene's objects, where the truth is known."""
    fits = measure_fit(reconstruction, pictures)
    sections = [
        _summarize(reconstruction, fits, scores, grasp),
        describe_input(reconstruction),
        describe_fit(reconstruction, pictures),
        describe_objects(reconstruction, pictures, fits),
        describe_scores(reconstruction, fits, scores),
    ]
    if grasp is not None:
        labels = [label_object(reconstruction, index) for index in range(len(reconstruction.scene.objects))]
        sections.append(describe_grasps(labels, grasp.grasps, grasp.filmstrip, grasp.outcome, grasp.succeeded, grasp.film, grasp.drawn))
    sections += [describe_convergence(reconstruction.history), describe_timings(reconstruction.seconds, reconstruction.peak_memory_bytes)]
    camera = reconstruction.observation.camera
    subtitle = f"{camera.width} × {camera.height} pixels · {count(len(reconstruction.observation.masks), 'mask')}"
    footer = f"invgraphics {__version__} · torch {torch.__version__} · computed on {camera.K.device}"
    path.write_text(build_page(reconstruction.observation.name, subtitle, "".join(sections), footer), encoding="utf-8")


def _summarize(
    reconstruction: Reconstruction, fits: Sequence[Fit], scores: Mapping[int, ShapeScores] | None, grasp: GraspReport | None
) -> str:
    asked = len(reconstruction.scene.objects) + len(reconstruction.left_out)
    values = [(f"{len(reconstruction.scene.objects)} of {asked}", "objects reconstructed")]
    values.append((f"{sum(reconstruction.seconds.values()):.1f} s", "from image to scene"))
    if fits:
        values.append((f"{_mean([fit.silhouette_iou for fit in fits]):.2f}", "mean silhouette IoU"))
    if scores:
        values.append((f"{_mean([score.cd_l1_mm for score in scores.values()]):.1f} mm", "mean Chamfer distance to the truth"))
        values.append((f"{_mean([score.f10 for score in scores.values()]):.0f} %", "mean F-score at 10 mm"))
    if grasp is not None and grasp.grasps and grasp.grasps[0].trials > 0:
        values.append((f"{100 * grasp.grasps[0].success_rate:.0f} %", f"success of the best grasp in {grasp.grasps[0].trials} trials"))
    return key_figures(values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
