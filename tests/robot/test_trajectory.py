"""Timed motions: limits never exceeded, ends at rest, path kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from robot.kinematics import UR5_LIMITS
from robot.trajectory import Trajectory, concatenate, time_path

WAYPOINTS = st.integers(2, 8).flatmap(
    lambda n: st.lists(st.lists(st.floats(-3, 3), min_size=6, max_size=6), min_size=n, max_size=n).map(np.array)
)


def finely_sampled(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Positions, speeds and accelerations by finite differences of positions alone."""
    times = np.linspace(0, trajectory.duration, 1001)
    positions = np.array([trajectory.sample(t)[0] for t in times])
    step = times[1]
    velocities = np.diff(positions, axis=0) / step
    return positions, velocities, np.diff(velocities, axis=0) / step, step


@given(WAYPOINTS)
@settings(max_examples=20, deadline=None)
def test_speed_and_acceleration_stay_within_the_limits(waypoints: np.ndarray) -> None:
    trajectory = time_path(waypoints, UR5_LIMITS)
    if trajectory.duration == 0:
        assert np.ptp(waypoints, axis=0).max() < 1e-8
        return
    _, velocities, accelerations, _ = finely_sampled(trajectory)
    assert (abs(velocities) <= UR5_LIMITS.velocity).all()
    assert (abs(accelerations) <= UR5_LIMITS.acceleration + 1e-4).all()


def test_the_motion_is_as_fast_as_the_limits_allow() -> None:
    trajectory = time_path(np.array([np.zeros(6), np.full(6, 2.0)]), UR5_LIMITS)
    _, velocities, accelerations, _ = finely_sampled(trajectory)
    used = max((abs(velocities) / UR5_LIMITS.velocity).max(), (abs(accelerations) / UR5_LIMITS.acceleration).max())
    assert 0.97 < used <= 1.0
    # a minimum-jerk motion over a distance d has top speed 15 d / 8 T and top acceleration 10 d / (sqrt(3) T^2)
    shortest = max(15 * 2.0 / 8 / 1.05, np.sqrt(10 * 2.0 / np.sqrt(3) / 1.4))
    np.testing.assert_allclose(trajectory.duration, shortest, rtol=0.02)


def test_it_starts_and_ends_at_rest_on_the_waypoints_and_passes_the_others() -> None:
    waypoints = np.random.default_rng(0).normal(size=(5, 6))
    trajectory = time_path(waypoints, UR5_LIMITS)
    np.testing.assert_allclose(trajectory.positions[[0, -1]], waypoints[[0, -1]], atol=1e-12)
    np.testing.assert_allclose(trajectory.velocities[[0, -1]], 0, atol=1e-12)
    gaps = np.linalg.norm(trajectory.positions[None] - waypoints[:, None], axis=-1).min(axis=1)
    assert gaps.max() < 0.02


def test_half_speed_takes_twice_as_long() -> None:
    waypoints = np.array([np.zeros(6), np.full(6, 3.0)])
    np.testing.assert_allclose(time_path(waypoints, UR5_LIMITS, speed_scale=0.5).duration, 2 * time_path(waypoints, UR5_LIMITS).duration)


def test_velocities_are_the_slopes_of_the_positions() -> None:
    trajectory = time_path(np.random.default_rng(1).normal(size=(4, 6)), UR5_LIMITS)
    slopes = np.gradient(trajectory.positions, trajectory.times, axis=0)
    np.testing.assert_allclose(slopes[1:-1], trajectory.velocities[1:-1], atol=1e-3)


def test_parts_follow_each_other_without_a_jump() -> None:
    corners = np.random.default_rng(2).normal(size=(4, 6))
    parts = [time_path(corners[k : k + 2], UR5_LIMITS) for k in range(3)]
    whole = concatenate(parts)
    assert whole.duration == pytest.approx(sum(part.duration for part in parts))
    assert (np.diff(whole.times) > 0).all()
    for k in range(4):
        time = sum((part.duration for part in parts[:k]), 0.0)
        position, velocity = whole.sample(time)
        np.testing.assert_allclose(position, corners[k], atol=1e-9)
        np.testing.assert_allclose(velocity, 0, atol=1e-9)


def test_a_motion_to_where_the_arm_stands_takes_no_time() -> None:
    q = np.ones(6)
    trajectory = time_path(np.array([q, q]), UR5_LIMITS)
    assert trajectory.duration == 0
    np.testing.assert_array_equal(trajectory.sample(1.0)[0], q)


def test_between_the_samples_it_is_the_cubic_with_their_velocities() -> None:
    """Against SciPy's own piecewise cubic."""
    generator = np.random.default_rng(0)
    times = np.array([0.0, 0.3, 0.35, 1.2])
    trajectory = Trajectory(times, generator.normal(size=(4, 6)), generator.normal(size=(4, 6)))
    cubic = CubicHermiteSpline(times, trajectory.positions, trajectory.velocities)
    for time in np.linspace(0.0, 1.19, 50):
        position, velocity = trajectory.sample(float(time))
        np.testing.assert_allclose(position, cubic(time), atol=1e-12)
        np.testing.assert_allclose(velocity, cubic(time, 1), atol=1e-12)
    np.testing.assert_array_equal(trajectory.sample(-0.5)[0], trajectory.positions[0])
