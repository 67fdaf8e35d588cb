"""The UR5's kinematics against themselves, finite differences, and properties that need no model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.kinematics import (
    UR5_GEOMETRY,
    UR5_LIMITS,
    configurations_near,
    forward_kinematics,
    inverse_kinematics,
    jacobian,
    link_transforms,
    manipulability,
    wrap_angle,
)

CONFIGURATIONS = st.lists(st.floats(-np.pi, np.pi), min_size=6, max_size=6).map(np.array)
SINGULAR_ANGLES = st.sampled_from([0.0, np.pi, -np.pi, np.pi / 2, 1e-9, -1e-7, 1e-5, np.pi - 1e-8])
NEARLY_SINGULAR = st.lists(st.one_of(SINGULAR_ANGLES, st.floats(-np.pi, np.pi)), min_size=6, max_size=6).map(np.array)


def contains(solutions: np.ndarray, q: np.ndarray, tolerance: float) -> bool:
    return bool((abs(wrap_angle(solutions - q)).max(axis=1) < tolerance).any())


def test_every_branch_of_thousands_of_random_poses_gives_the_pose_back() -> None:
    rng = np.random.default_rng(0)
    for q in rng.uniform(-np.pi, np.pi, (1000, 6)):
        T = forward_kinematics(q)
        solutions = inverse_kinematics(T)
        assert contains(solutions, q, 1e-6), q
        np.testing.assert_allclose(forward_kinematics(solutions), np.broadcast_to(T, (len(solutions), 4, 4)), atol=1e-7)


@given(NEARLY_SINGULAR)
@settings(max_examples=300, deadline=None)
def test_poses_at_and_near_singularities_are_reached_too(q: np.ndarray) -> None:
    T = forward_kinematics(q)
    solutions = inverse_kinematics(T)
    assert len(solutions) > 0
    np.testing.assert_allclose(forward_kinematics(solutions), np.broadcast_to(T, (len(solutions), 4, 4)), atol=2e-6)


def test_a_generic_pose_has_eight_distinct_branches() -> None:
    solutions = inverse_kinematics(forward_kinematics(np.array([0.3, -1.2, 1.4, -0.9, 0.7, 0.2])))
    assert len(solutions) == 8
    distances = np.linalg.norm(wrap_angle(solutions[:, None] - solutions[None]), axis=-1)
    assert distances[~np.eye(8, dtype=bool)].min() > 0.1


def test_the_free_last_joint_is_taken_as_given_where_the_wrist_is_singular() -> None:
    T = forward_kinematics(np.array([0.3, -1.2, 1.4, -0.9, 0.0, 0.2]))
    solutions = inverse_kinematics(T, free_wrist_3=1.1)
    aligned = abs(np.sin(solutions[:, 4])) < 1e-6
    assert aligned.any()
    np.testing.assert_allclose(solutions[aligned, 5], 1.1)
    np.testing.assert_allclose(forward_kinematics(solutions[aligned])[:, :3], np.repeat(T[None, :3], aligned.sum(), 0), atol=1e-6)


@pytest.mark.parametrize("position", [(1.2, 0.0, 0.2), (0.0, 0.0, 1.3), (0.02, 0.02, 0.4)])
def test_poses_out_of_reach_or_too_near_the_shoulder_axis_have_no_solution(position: tuple[float, float, float]) -> None:
    T = np.eye(4)
    T[:3, 3] = position
    assert inverse_kinematics(T).shape == (0, 6)


def test_the_stretched_arm_lies_where_the_lengths_say() -> None:
    g = UR5_GEOMETRY
    expected = [g.a2 + g.a3, -(g.d4 + g.d6), g.d1 - g.d5]
    np.testing.assert_allclose(forward_kinematics(np.zeros(6))[:3, 3], expected, atol=1e-12)


@given(CONFIGURATIONS)
@settings(max_examples=100, deadline=None)
def test_the_jacobian_agrees_with_finite_differences(q: np.ndarray) -> None:
    step = 1e-6
    numeric = np.zeros((6, 6))
    for joint in range(6):
        offset = np.zeros(6)
        offset[joint] = step
        before, after = forward_kinematics(q - offset), forward_kinematics(q + offset)
        numeric[:3, joint] = (after - before)[:3, 3] / (2 * step)
        spin = (after - before)[:3, :3] @ forward_kinematics(q)[:3, :3].T / (2 * step)
        numeric[3:, joint] = [spin[2, 1], spin[0, 2], spin[1, 0]]
    np.testing.assert_allclose(jacobian(q), numeric, atol=1e-8)


def test_manipulability_vanishes_at_each_kind_of_singularity() -> None:
    generic = np.array([0.3, -1.2, 1.4, -0.9, 0.7, 0.2])
    stretched, aligned = generic.copy(), generic.copy()
    stretched[2] = 0.0
    aligned[4] = 0.0
    assert manipulability(generic) > 1e-2
    assert manipulability(stretched) < 1e-12
    assert manipulability(aligned) < 1e-12


@given(CONFIGURATIONS)
@settings(max_examples=50, deadline=None)
def test_link_frames_are_rigid_and_start_at_the_base(q: np.ndarray) -> None:
    frames = link_transforms(q)
    np.testing.assert_array_equal(frames[0], np.eye(4))
    rotations = frames[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.repeat(np.eye(3)[None], 7, 0), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


@given(CONFIGURATIONS, st.lists(st.floats(-2 * np.pi, 2 * np.pi), min_size=6, max_size=6).map(np.array))
@settings(max_examples=100, deadline=None)
def test_whole_turns_keep_the_pose_and_the_limits_and_come_nearest_first(q: np.ndarray, reference: np.ndarray) -> None:
    turned = configurations_near(q, reference)
    assert UR5_LIMITS.contain(turned)
    np.testing.assert_allclose(forward_kinematics(turned), np.repeat(forward_kinematics(q)[None], len(turned), 0), atol=1e-9)
    distances = np.linalg.norm(turned - reference, axis=1)
    assert (np.diff(distances) >= 0).all()
    assert (abs(turned[0, [0, 1, 3, 4, 5]] - reference[[0, 1, 3, 4, 5]]) <= 2 * np.pi).all()


def test_limits_tell_what_lies_outside() -> None:
    assert UR5_LIMITS.contain(np.zeros(6))
    assert UR5_LIMITS.contain(UR5_LIMITS.upper)
    assert not UR5_LIMITS.contain(UR5_LIMITS.upper + 1e-3)
    assert not UR5_LIMITS.contain(np.array([0.0, 0.0, 3.2, 0.0, 0.0, 0.0]))
