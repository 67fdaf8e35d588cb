"""The benchmarks of the reconstruction do to their input, and make of their results, what they say."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from tests.benchmarks.ablations import build_table, describe_ablation, describe_ellipsoids
from tests.benchmarks.robustness import CONDITIONS, MISSING_SHARE, grow_masks
from tests.benchmarks.scaling import build_observation, fit_line
from tests.benchmarks.tables import format_table

HEIGHT, WIDTH = 80, 100


@pytest.fixture
def observation() -> Observation:
    """Two square masks that touch; depth 1 m with an error of 4 mm in its right half."""
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 20:40, 20:40] = masks[1, 20:40, 40:60] = True
    camera = Camera(torch.tensor([[90.0, 0, 50], [0, 90, 40], [0, 0, 1]]), HEIGHT, WIDTH, torch.eye(4))
    depth = torch.ones(HEIGHT, WIDTH)
    depth[:, 50:] += 0.004
    return Observation(torch.full((HEIGHT, WIDTH, 3), 0.5), depth, depth > 0, masks, camera, "two", ("a", "b"))


def _worsen(name: str, observation: Observation) -> Observation:
    return CONDITIONS[name](observation, torch.ones(HEIGHT, WIDTH), np.random.default_rng(0))


def test_masks_grow_outwards_but_not_into_each_other(observation):
    worse = grow_masks(2)(observation, observation.depth, np.random.default_rng(0))
    assert not (worse.masks[0] & worse.masks[1]).any()
    assert (worse.masks & ~observation.masks)[:, 18:20].any((1, 2)).all()
    assert (observation.masks <= worse.masks).all()
    assert not worse.masks[0, :, 40:60].logical_and(observation.masks[1, :, 40:60]).any()


def test_masks_shrink_from_every_side(observation):
    worse = _worsen("masks eroded by 5 px", observation)
    assert [int(mask.sum()) for mask in worse.masks] == [100, 100]
    assert worse.masks[0, 25:35, 25:35].all()


def test_masks_at_the_images_border_shrink_there_too(observation):
    edge = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    edge[0, :20, :20] = True
    worse = _worsen("masks eroded by 2 px", observation.with_masks(edge))
    assert int(worse.masks.sum()) == 16 * 16


def test_noise_is_the_sets_own_times_the_factor(observation):
    worse = _worsen("depth noise x 4", observation)
    assert float(worse.depth[0, 99]) == pytest.approx(1.016)
    assert float(worse.depth[0, 0]) == 1.0


@pytest.mark.parametrize("kind", ["blobs", "pixels"])
def test_the_stated_share_of_depth_goes_missing(observation, kind):
    worse = _worsen(f"30 % of depth missing, {kind}", observation)
    assert float((~worse.valid).double().mean()) == pytest.approx(MISSING_SHARE, abs=0.02)
    assert (worse.depth[~worse.valid] == 0).all()
    changes = (worse.valid[:, 1:] != worse.valid[:, :-1]).double().mean()
    assert (float(changes) < 0.1) == (kind == "blobs")


def test_only_the_focal_length_is_stretched(observation):
    K = _worsen("focal length 2 % too long", observation).camera.K
    torch.testing.assert_close(K, torch.tensor([[91.8, 0, 50], [0, 91.8, 40], [0, 0, 1]]))


def test_toys_stand_apart_and_each_is_seen():
    observation = build_observation(4)
    assert observation.masks.flatten(1).sum(1).min() > 300
    assert observation.masks.sum(0).max() == 1
    assert len(set(observation.object_names)) == 4
    fewer = build_observation(2)
    assert (fewer.masks & observation.masks[:2]).sum() > 0.95 * fewer.masks.sum()


def test_a_line_is_found_in_times_that_lie_on_one():
    objects = np.array([1.0, 5.0, 30.0])
    assert fit_line(objects, 0.7 + 0.3 * objects) == pytest.approx({"fixed": 0.7, "each": 0.3, "explained": 1.0})


def _results(*distances: float | None) -> dict:
    keys = ("cd_l1_mm", "f5", "f10", "nc", "iou", "silhouette_iou", "depth_mm", "colour_psnr_db")
    objects = [{"image": "a", "mask_index": k, "cd_l1_mm": value} for k, value in enumerate(distances)]
    means = dict.fromkeys(keys, 1.0)
    return {"mean": means, "shares": {"stable": None}, "missing": 0, "seconds_per_image": {"mean": 2.0}, "objects": objects}


def test_ablations_are_compared_object_by_object():
    row = describe_ablation(_results(2.0, 2.0, 1.0, None), _results(1.0, 1.9, 2.0, 5.0))
    assert (row["worse"], row["better"]) == (1, 1)
    assert row["change_mm"] == pytest.approx(0.1 / 3)
    assert row["change_error_mm"] == pytest.approx(np.std([1.0, 0.1, -1.0], ddof=1) / math.sqrt(3))
    ended = {"ellipsoid_loss": 3.0, "ellipsoid_seconds": 0.25}
    table = build_table({"nothing": {**describe_ablation(_results(1.0), _results(1.0)), **ended}, "support": {**row, **ended}})
    assert "| support | 1.00 |" in table
    assert "+0.03 ± 0.58" in table


def test_tables_are_markdown():
    assert format_table(["", "n", "x"], [["a", 3, 1.234], ["b", 0, math.nan]]) == (
        "|  | n | x |\n| :-- | --: | --: |\n| a | 3 | 1.23 |\n| b | 0 | – |\n"
    )


def test_a_lost_mask_is_kept_as_an_empty_one(observation):
    thin = replace(observation, masks=observation.masks.clone())
    thin.masks[1, :, 44:] = False
    worse = _worsen("masks eroded by 5 px", thin)
    assert [bool(mask.any()) for mask in worse.masks] == [True, False]


def test_ellipsoids_are_judged_by_where_their_objective_ended(tmp_path: Path):
    for name, losses, seconds in (("000001", [9.0, 2.0], 0.1), ("000002", [9.0, 4.0], 0.3), ("000003", [1.0, 1.0], 0.8)):
        whole = {"points": losses, "contact": [1.0, 0.5], "total": [losses[0] + 1.0, losses[1] + 0.5]}
        stages = [{"stage": "ellipsoids", "loss": whole}, {"stage": "cage", "loss": {"depth": [100.0], "total": [100.0]}}]
        metrics = {"stages": stages, "seconds": {"ellipsoids": seconds, "ellipsoids to image": 1.0, "cages": 50.0}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    assert describe_ellipsoids(tmp_path) == pytest.approx({"ellipsoid_loss": 2.5, "ellipsoid_seconds": 1.3})
