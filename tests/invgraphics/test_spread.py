"""Scores of shape samples: exchangeable samples are calibrated, too similar ones are not; ranks agree with scipy's."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.spread import compute_reliability, correlate_ranks, score_samples, summarize_spread

SPHERE, FACES = icosphere(2)


def make_ball(radius: float) -> Mesh:
    return Mesh(SPHERE * radius, FACES)


def score(radii: list[float], true_radius: float, seed: int = 0):
    return score_samples([make_ball(radius) for radius in radii], make_ball(true_radius), torch.Generator().manual_seed(seed))


def test_distances_between_balls_are_those_of_their_radii() -> None:
    scores = score([0.05, 0.053, 0.046], 0.052)
    assert scores.actual_mm == pytest.approx(2.0, rel=0.03)
    assert scores.predicted_mm == pytest.approx(3.5, rel=0.03)
    assert scores.missed_mm == pytest.approx(2.0, rel=0.03)
    assert scores.missed_by_all_mm == pytest.approx(1.0, rel=0.06)
    assert scores.ranks == (1.0, 0.0, 0.0)


def test_truth_that_is_one_more_sample_is_calibrated() -> None:
    """Radii drawn alike for truth and samples: the truth's rank is uniform. Samples half as far apart promise too much."""
    generator = np.random.default_rng(3)
    draws = 0.05 + 0.004 * generator.standard_normal((40, 5))
    alike = [score([0.05, *radii[1:]], radii[0]) for radii in draws]
    timid = [score([0.05, *((radii[1:] - 0.05) / 4 + 0.05)], radii[0]) for radii in draws]
    assert summarize_spread(alike)["miscalibration"] < 0.1
    assert summarize_spread(timid)["miscalibration"] > 0.2
    observed = [share for _, share in compute_reliability(timid)]
    predicted = [share for share, _ in compute_reliability(timid)]
    assert predicted == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert all(o < p for o, p in zip(observed, predicted, strict=True))


def test_objects_that_are_more_wrong_where_samples_differ_more_correlate() -> None:
    scores = [score([0.05, 0.05 + spread], 0.05 + 0.9 * spread) for spread in (0.001, 0.002, 0.004)]
    facts = summarize_spread(scores)
    assert facts["rank_correlation"] == pytest.approx(1.0)
    assert facts["samples"] == 2
    assert facts["predicted_mm"] == pytest.approx(facts["actual_mm"] / 0.9, rel=0.05)


def test_rank_correlation_is_spearmans() -> None:
    generator = np.random.default_rng(0)
    a = generator.integers(0, 6, 40).astype(float)
    b = a + generator.normal(0, 3, 40)
    assert correlate_ranks(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert math.isnan(correlate_ranks([1.0, 1.0], [1.0, 2.0]))
    assert math.isnan(correlate_ranks([1.0], [2.0]))
