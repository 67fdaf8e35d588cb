"""Whether shape samples know how wrong a reconstruction is: what they predict against what the truth says.

If the true surface were one more sample, its distance from the reconstruction would rank among the samples' distances by chance: of m
samples, j lie nearer to the reconstruction than the truth does at 1 / (m + 1) of the points for every j from 0 to m (the rank histogram
of Talagrand; Hamill 2001). Its sums are the reliability curve.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from invgraphics.geometry.distances import find_nearest_faces
from invgraphics.geometry.mesh import Mesh, sample_surface

_SURFACE_SAMPLES = 2000


@dataclass(frozen=True)
class SpreadScores:
    """One object's samples against the truth."""

    predicted_mm: float
    """Distance between the reconstructed surface and a sample's, both ways, mean over the samples, millimetres."""
    actual_mm: float
    """The same between the reconstructed surface and the true one."""
    point_correlation: float
    """Spearman's, over points of the reconstructed surface, of the samples' root mean square distance and the true surface's; nan where
    either is the same everywhere."""
    ranks: tuple[float, ...]
    """Shares of those points at which 0, 1, ... of the samples lie nearer to them than the true surface; they add up to one."""
    missed_mm: float
    """Mean distance from the true surface to the reconstructed one, millimetres, ..."""
    missed_by_all_mm: float
    """... and to the nearest of the reconstruction and the samples: less, where samples reach what the reconstruction does not."""


def score_samples(samples: Sequence[Mesh], truth: Mesh, generator: torch.Generator) -> SpreadScores:
    """The samples of an object, of which the first is its reconstruction, against the true mesh: same frame, metres."""
    reconstructed, others = samples[0], samples[1:]
    points, true_points = _draw(reconstructed, generator), _draw(truth, generator)
    error, missed = _measure(points, truth), _measure(true_points, reconstructed)
    distances = np.stack([_measure(points, other) for other in others])
    back = [_measure(_draw(other, generator), reconstructed).mean() for other in others]
    nearest = np.minimum.reduce([missed, *(_measure(true_points, other) for other in others)])
    ranks = np.bincount((distances < error).sum(0), minlength=len(others) + 1) / len(points)
    return SpreadScores(
        predicted_mm=1e3 * float(distances.mean() + np.mean(back)) / 2,
        actual_mm=1e3 * float(error.mean() + missed.mean()) / 2,
        point_correlation=correlate_ranks(np.sqrt((distances**2).mean(0)), error),
        ranks=tuple(ranks.tolist()),
        missed_mm=1e3 * float(missed.mean()),
        missed_by_all_mm=1e3 * float(nearest.mean()),
    )


def correlate_ranks(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; nan where there are fewer than two values or either are all equal."""
    ranks = [rankdata(np.asarray(values)) for values in (a, b)]
    if len(ranks[0]) < 2 or min(np.ptp(values) for values in ranks) == 0:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def compute_reliability(scores: Sequence[SpreadScores]) -> list[tuple[float, float]]:
    """(predicted, observed) shares of the points where the truth is nearer than so many of the samples, every object counting the same.

    All objects have equally many samples. Above the diagonal the samples differ too much, below too little.
    """
    shares = list(accumulate(np.mean([score.ranks for score in scores], axis=0).tolist()))
    return [((j + 1) / len(shares), share) for j, share in enumerate(shares[:-1])]


def summarize_spread(scores: Sequence[SpreadScores]) -> dict[str, Any]:
    """What a set of objects says of the samples' calibration; at least one object."""
    known = [score.point_correlation for score in scores if not math.isnan(score.point_correlation)]
    reliability = compute_reliability(scores)
    return {
        "count": len(scores),
        "samples": len(scores[0].ranks),
        "rank_correlation": correlate_ranks([score.predicted_mm for score in scores], [score.actual_mm for score in scores]),
        "point_rank_correlation": fmean(known) if known else math.nan,
        "predicted_mm": fmean(score.predicted_mm for score in scores),
        "actual_mm": fmean(score.actual_mm for score in scores),
        "missed_mm": fmean(score.missed_mm for score in scores),
        "missed_by_all_mm": fmean(score.missed_by_all_mm for score in scores),
        "reliability": [{"predicted": predicted, "observed": observed} for predicted, observed in reliability],
        "miscalibration": fmean(abs(predicted - observed) for predicted, observed in reliability),
    }


def _draw(mesh: Mesh, generator: torch.Generator) -> torch.Tensor:
    return sample_surface(mesh.vertices.detach().cpu().double(), mesh.faces.cpu(), _SURFACE_SAMPLES, generator)[0]


def _measure(points: torch.Tensor, mesh: Mesh) -> np.ndarray:
    return find_nearest_faces(points, mesh.vertices.detach().cpu().double(), mesh.faces.cpu())[0].numpy()
