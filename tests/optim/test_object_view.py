from dataclasses import replace

import numpy as np
import pytest
import torch

from optim.object_view import TRUNCATION, estimate_noise, view_objects
from tests.optim.views import ball, box, photograph


def test_points_and_normals_of_a_ball_lie_on_it():
    view = view_objects(photograph([ball(0.04)]), has_plane=True)[0]
    offset = view.points - [0, 0, 0.04]
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), 0.04, atol=1e-3)
    agreement = (view.normals * offset / 0.04).sum(1)
    assert np.median(agreement) > 0.995


def test_free_space_is_positive_in_front_and_negative_behind_the_surface():
    view = view_objects(photograph([box((0.06, 0.06, 0.06))]), has_plane=True)[0]
    towards_camera = view.camera_centre / np.linalg.norm(view.camera_centre)
    front = view.points[::50]
    assert (view.free_space(front + 0.006 * towards_camera) > 0.002).all()
    assert (view.free_space(front - 0.006 * towards_camera) < -0.002).all()


def test_points_beside_the_mask_are_free_by_their_distance_to_it_and_points_out_of_view_are_unknown():
    view = view_objects(photograph([ball(0.03)]), has_plane=True)[0]
    beside = np.array([[0.045, 0.0, 0.03], [0.1, 0.0, 0.03], [5.0, 0.0, 0.0]])
    free = view.free_space(beside)
    assert free[0] == pytest.approx(0.015, abs=0.003)
    assert free[1] == pytest.approx(TRUNCATION)
    assert free[2] == pytest.approx(-TRUNCATION)


def test_missing_depth_is_filled_from_the_object_not_taken_for_zero():
    observation = photograph([box((0.06, 0.06, 0.06))])
    holes = torch.rand(observation.depth.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    pierced = replace(observation, depth=torch.where(holes, 0.0, observation.depth), valid=observation.valid & ~holes)
    whole, holed = (view_objects(item, has_plane=True)[0] for item in (observation, pierced))
    owned = observation.masks[0].numpy()
    assert np.median(np.abs(whole.barrier - holed.barrier)[owned]) < 1e-3
    assert not (holed.measured & holes.numpy()).any()


def test_holes_in_the_background_show_the_plane():
    observation = photograph([ball(0.03)])
    pierced = replace(observation, depth=torch.where(observation.masks[0], observation.depth, 0.0), valid=observation.masks[0])
    view = view_objects(pierced, has_plane=True)[0]
    background = ~observation.masks[0].numpy()
    np.testing.assert_allclose(view.barrier[background], observation.depth.numpy()[background], atol=1e-4)


def test_noise_is_told_from_creases():
    clean = view_objects(photograph([box((0.06, 0.06, 0.06), turn=0.5)]), has_plane=True)[0]
    noisy = view_objects(photograph([box((0.06, 0.06, 0.06), turn=0.5)], noise=0.002), has_plane=True)[0]
    assert clean.noise < 4e-4
    assert noisy.noise == pytest.approx(0.002, rel=0.15)


def test_noise_of_too_few_pixels_is_a_guess_not_a_failure():
    assert estimate_noise(np.full((3, 3), 0.5), np.ones((3, 3), dtype=bool)) == 0.001


def test_object_may_hide_behind_an_occluder_but_not_where_the_table_shows():
    # The small box stands in front of the large one and hides its lower half.
    observation = photograph([box((0.1, 0.03, 0.08), y=0.05), box((0.04, 0.03, 0.04), y=-0.03)])
    behind, front = view_objects(observation, has_plane=True)
    occluder = observation.masks[1].numpy()
    near = occluder & (behind.outside_px < 10)
    assert near.any()
    assert (behind.excess_px[near] == 0).all()
    assert (front.excess_px[observation.masks[0].numpy()] > 0).all()
