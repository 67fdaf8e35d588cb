"""What an image hides: against geometry that is known, and in the order of grasps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grasp_sim.candidates import find_candidates
from grasp_sim.hands import load_hand
from grasp_sim.occlusion import Occlusion
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchSettings, search_grasps
from invgraphics.camera import Camera
from invgraphics.observation import Observation
from tests.grasp_sim.shapes import make_box, place

WALL = 0.5
"""Metres in front of the camera."""


def look_along_x(depth: torch.Tensor, position: tuple[float, float, float] = (-0.6, 0.0, 0.05)) -> Observation:
    """An image from a camera that looks along the world's x axis, world z up."""
    T = torch.eye(4)
    T[:3, :3] = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    T[:3, 3] = torch.tensor(position)
    height, width = depth.shape
    K = torch.tensor([[80.0, 0.0, (width - 1) / 2], [0.0, 80.0, (height - 1) / 2], [0.0, 0.0, 1.0]])
    masks = torch.zeros(0, height, width, dtype=torch.bool)
    return Observation(torch.zeros(height, width, 3), depth, depth > 0, masks, Camera(K, height, width, T), "test")


def test_only_what_lies_behind_a_measured_surface_is_hidden() -> None:
    depth = torch.zeros(60, 80)
    depth[:, :40] = WALL
    occlusion = Occlusion.of(look_along_x(depth, (0.0, 0.0, 0.0)))
    left, right = 0.1, -0.1
    before, behind = WALL - 0.01, WALL + 0.01
    points = np.array([[before, left, 0], [behind, left, 0], [behind, right, 0], [-behind, left, 0], [behind, 5.0, 0], [WALL, left, 0]])
    np.testing.assert_array_equal(occlusion.hides(points), [False, True, False, False, False, False])
    np.testing.assert_array_equal(occlusion.hides(points.reshape(2, 3, 3)), occlusion.hides(points).reshape(2, 3))


def test_pixels_that_are_not_valid_hide_nothing() -> None:
    observation = look_along_x(torch.full((60, 80), WALL), (0.0, 0.0, 0.0))
    blind = replace(observation, valid=torch.zeros_like(observation.valid))
    point = np.array([[1.0, 0.0, 0.0]])
    assert Occlusion.of(observation).hides(point).all()
    assert not Occlusion.of(blind).hides(point).any()


def look_at_post(width: float) -> Observation:
    """The front face of a post 4 cm deep, 10 cm high and so wide (m), and nothing else."""
    observation = look_along_x(torch.zeros(240, 320))
    rows, columns = np.mgrid[:240, :320]
    y, z = -(columns - 159.5) / 80 * 0.58, 0.05 - (rows - 119.5) / 80 * 0.58
    depth = torch.tensor(np.where((abs(y) < width / 2) & (z > 0) & (z < 0.1), 0.58, 0.0), dtype=torch.float32)
    return replace(observation, depth=depth, valid=depth > 0)


def test_of_grasps_that_all_hold_those_in_seen_space_are_ranked_first() -> None:
    """A block too wide to be held but with one finger behind it: whatever geometry says, and though success rates leave the unseen out."""
    block = place(make_box(0.04, 0.12, 0.1))
    jaw, settings = load_hand("parallel_jaw"), SearchSettings(batch=16, batches=1, finalists=8, final_trials=2)
    with TrialPool(1) as pool:
        found = search_grasps([block], jaw, settings=settings, pool=pool, occlusion=Occlusion.of(look_at_post(0.12)))
    sure = [tried for tried in found.ranked if tried.grasp.success_rate == 1.0 and tried.grasp.trials == 2]
    hidden = [tried.hidden for tried in sure]
    assert len(sure) >= 4
    assert max(hidden) > min(hidden)
    assert hidden == sorted(hidden)


@pytest.mark.parametrize("name", ["parallel_jaw", "robotiq_2f85"])
def test_a_hand_that_stands_beside_the_line_of_sight_comes_first(name: str) -> None:
    """A square post seen from one side: without the image a jaw may come from anywhere, with it no finger stands behind the post."""
    post, observation = place(make_box(0.04, 0.04, 0.1)), look_at_post(0.04)

    def behind(occlusion: Occlusion | None) -> np.ndarray:
        """How far the hand's closing axis points along the line of sight, for the best candidates."""
        found, _ = find_candidates([post], 0, load_hand(name), np.random.default_rng(0), count=6, occlusion=occlusion)
        assert all(0 <= candidate.score <= 1 for candidate in found)
        template = {each.name: each for each in load_hand(name).templates}
        hand = load_hand(name)
        axes = []
        for candidate in found:
            _, _, axis = hand.closure(template[candidate.template]).at_width(candidate.grasp.width)
            axes.append(abs((candidate.grasp.T_world_hand[:3, :3] @ axis)[0]))
        return np.array(axes)

    assert behind(Occlusion.of(observation)).mean() < behind(None).mean() - 0.1
