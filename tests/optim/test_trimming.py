from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from invgraphics.observation import Observation
from optim.trimming import trim_masks
from tests.optim.views import ball, box, photograph


def _widen(observation: Observation, pixels: int) -> Observation:
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    masks = [torch.from_numpy(cv2.dilate(mask.numpy().astype(np.uint8), kernel)).bool() for mask in observation.masks]
    return observation.with_masks(torch.stack(masks), observation.object_names)


def _overlap(first: Observation, second: Observation) -> float:
    return float((first.masks & second.masks).sum() / (first.masks | second.masks).sum())


@pytest.mark.parametrize("pixels", [2, 5])
@pytest.mark.parametrize("thing", [box((0.06, 0.05, 0.05), turn=0.4), ball(0.03)])
def test_table_around_an_object_is_taken_off_its_mask(thing, pixels):
    observation = photograph([thing], noise=5e-4)
    wide = _widen(observation, pixels)
    assert _overlap(wide, observation) < 0.9
    assert _overlap(trim_masks(wide), observation) > 0.95


def test_a_good_mask_keeps_nearly_all_of_itself():
    observation = photograph([box((0.06, 0.05, 0.05))], noise=5e-4)
    assert _overlap(trim_masks(observation), observation) > 0.95


def test_what_is_as_low_as_the_tables_noise_is_left_alone():
    observation = photograph([box((0.08, 0.05, 0.006))], noise=5e-4)
    assert torch.equal(trim_masks(observation).masks, observation.masks)


def test_where_no_depth_was_measured_the_mask_stays():
    observation = photograph([box((0.06, 0.05, 0.05))])
    blind = replace(observation, depth=torch.zeros_like(observation.depth), valid=torch.zeros_like(observation.valid))
    assert torch.equal(trim_masks(blind).masks, observation.masks)
