"""Trials: grasps whose outcome mechanics decides."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from grasp_sim.candidates import find_candidates
from grasp_sim.hands import load_hand
from grasp_sim.solids import PlacedSolid
from grasp_sim.trial import GraspOutcome, Physics, Spread, TrialSettings, push_apart, try_grasp, try_grasps
from invgraphics.grasp import Grasp
from tests.grasp_sim.shapes import make_box, place, translation

JAW = load_hand("parallel_jaw")
DOWN = Rotation.from_euler("x", 180, degrees=True).as_matrix()


def from_above(x: float, y: float, z: float, opening: float = 0.06) -> Grasp:
    """A jaw pointing straight down with its grasp frame's origin there, closing along world y."""
    T = translation(x, y, z)
    T[:3, :3] = DOWN
    return Grasp("parallel_jaw", 0, T, {"left_finger_joint": opening / 2}, {"left_finger_joint": 0.0}, opening, float("nan"), 0)


def test_a_box_taken_in_the_middle_is_lifted_and_held() -> None:
    assert try_grasp([place(make_box(0.04, 0.04, 0.08))], from_above(0, 0, 0.05), JAW) == GraspOutcome.SUCCESS


def test_flat_fingers_do_not_sink_into_flat_faces() -> None:
    """Where Bullet kept one contact point of a face, one in eight of these let the box slip out sideways."""
    box = [place(make_box(0.04, 0.05, 0.08))]
    grasps = [from_above(0, y, z, 0.0696) for y in np.arange(-0.003, 0.003, 0.0011) for z in (0.042, 0.044, 0.046, 0.048)]
    for grasp in grasps:
        grasp.T_world_hand[:3, :3] = [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]
    outcomes = try_grasps(box, JAW, [(grasp, Physics()) for grasp in grasps])
    assert outcomes == [GraspOutcome.SUCCESS] * len(grasps)


def test_closing_beside_the_object_touches_nothing() -> None:
    assert try_grasp([place(make_box(0.04, 0.04, 0.08))], from_above(0.08, 0, 0.05), JAW) == GraspOutcome.NO_CONTACT


def test_a_finger_coming_down_on_the_object_is_a_collision() -> None:
    assert try_grasp([place(make_box(0.04, 0.04, 0.08))], from_above(0, 0.03, 0.05), JAW) == GraspOutcome.COLLISION


def test_starting_inside_an_object_is_told() -> None:
    wall = place(make_box(0.3, 0.02, 0.3), y=0.1)
    assert try_grasp([place(make_box(0.04, 0.04, 0.08)), wall], from_above(0, 0, 0.05), JAW) == GraspOutcome.BLOCKED


def test_a_slippery_heavy_object_is_not_held() -> None:
    """Grip 2 x 20 N x friction 0.02 against a weight of 8 N."""
    outcome = try_grasp([place(make_box(0.04, 0.04, 0.12))], from_above(0, 0, 0.09), JAW, Physics(friction=0.02, density=4200.0))
    assert outcome in (GraspOutcome.NOT_LIFTED, GraspOutcome.SLIPPED)


@pytest.mark.parametrize(("density", "held"), [(8000.0, True), (25000.0, False)])
def test_what_friction_can_carry_is_held_and_more_is_not(density: float, held: bool) -> None:
    """Friction carries 2 x 20 N x 0.6 = 24 N; 0.04 x 0.04 x 0.08 m weigh 10 N and 31 N."""
    outcome = try_grasp([place(make_box(0.04, 0.04, 0.08))], from_above(0, 0, 0.05), JAW, Physics(density=density))
    assert (outcome == GraspOutcome.SUCCESS) == held


def test_a_small_error_of_the_hands_pose_is_survived() -> None:
    bar = [place(make_box(0.04, 0.04, 0.08))]
    moved = Physics(hand_offset=(0.003, 0.004, 0.002, 0.02, 0.0, 0.05))
    assert try_grasp(bar, from_above(0, 0, 0.05), JAW, moved) == GraspOutcome.SUCCESS


def test_the_mia_lifts_a_flat_box_off_the_table() -> None:
    """2 cm high, its tips' diameter: only a pinch close above the table gets hold of it."""
    hand = load_hand("mia_right")
    objects = [place(make_box(0.1, 0.06, 0.02))]
    found, _ = find_candidates(objects, 0, hand, np.random.default_rng(0), count=12)
    outcomes = [try_grasp(objects, candidate.grasp, hand) for candidate in found if candidate.template == "pinch"]
    assert outcomes.count(GraspOutcome.SUCCESS) > len(outcomes) / 2


def test_a_reconstruction_that_would_topple_is_held_until_it_is_grasped() -> None:
    """A box on its edge falls over on its own; in the image it stood, so it is still there when the fingers come."""
    tilted = translation(0, 0, 0.0)
    tilted[:3, :3] = Rotation.from_euler("y", 20, degrees=True).as_matrix()
    item = place(make_box(0.03, 0.03, 0.1))
    lowest = (item.solid.vertices @ tilted[:3, :3].T)[:, 2].min()
    tilted[2, 3] = -lowest
    outcome = try_grasp([PlacedSolid(item.solid, tilted, "leaning")], from_above(0, 0, tilted[2, 3] + 0.02, 0.075), JAW)
    assert outcome == GraspOutcome.SUCCESS


def test_trials_repeat_exactly() -> None:
    objects = [place(make_box(0.03, 0.05, 0.03)), place(make_box(0.03, 0.03, 0.03), x=0.05)]
    physics = Spread().draw(Physics(), np.random.default_rng(3))
    assert physics == Spread().draw(Physics(), np.random.default_rng(3))
    outcomes = {try_grasp(objects, from_above(0.014, 0, 0.02, 0.07), JAW, physics) for _ in range(3)}
    assert len(outcomes) == 1


def test_settings_that_forbid_any_touch_turn_a_brush_into_a_collision() -> None:
    grasp = from_above(0, 0.0085, 0.05, opening=0.0415)
    box = [place(make_box(0.04, 0.04, 0.08))]
    assert try_grasp(box, grasp, JAW, settings=TrialSettings(touch_force=0.0)) == GraspOutcome.COLLISION


def test_objects_that_do_not_overlap_stay_where_they_are() -> None:
    objects = [place(make_box(0.04, 0.04, 0.08)), place(make_box(0.04, 0.04, 0.08), x=0.1)]
    for before, after in zip(objects, push_apart(objects), strict=True):
        np.testing.assert_allclose(after.T_world_body, before.T_world_body, atol=3e-4)
