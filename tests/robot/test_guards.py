"""What is refused before anything moves: each check on a motion that breaks it alone, and properties of the speeds."""

import time
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot.execute import Arm
from robot.guards import Motion, SpeedLimits, Workspace, check_motions, find_violation
from robot.interlock import InterlockedArm, PresumedWatch
from robot.kinematics import UR5_LIMITS, forward_kinematics, link_transforms
from robot.stops import MotionStoppedError, StopReason
from robot.trajectory import Trajectory, time_path

pytestmark = pytest.mark.realtime

SPEED = SpeedLimits(joint_share=0.1, tool=0.25)
Q = np.array([np.pi, -1.9, 1.9, -np.pi / 2, -np.pi / 2, 0.0])
ROOM = Workspace(np.array([-1.0, -1.0, -0.5]), np.array([1.0, 1.0, 1.5]))


def path_to(q: np.ndarray, q_from: np.ndarray = Q) -> Trajectory:
    return SPEED.slow_down(time_path(np.stack([q_from, q]), UR5_LIMITS), UR5_LIMITS)


class Empty:
    """Nothing is in the way."""

    def collision(self, q: np.ndarray, *, ignoring: Collection[int] = ()) -> str | None:
        return None


class Wall:
    """Something stands where the shoulder would turn beyond an angle, unless it may be touched."""

    def __init__(self, angle: float):
        self.angle = angle

    def collision(self, q: np.ndarray, *, ignoring: Collection[int] = ()) -> str | None:
        return "the hand and the wall" if q[0] > self.angle and 7 not in ignoring else None


joints = arrays(np.float64, 6, elements=st.floats(-2.5, 2.5))


@settings(max_examples=40, deadline=None)
@given(joints, joints, st.floats(0.02, 1.0), st.floats(0.02, 1.0))
def test_slowed_motions_pass_and_keep_their_path(q_from: np.ndarray, q_to: np.ndarray, share: float, tool: float) -> None:
    speed = SpeedLimits(share, tool)
    fast = time_path(np.stack([q_from, q_to]), UR5_LIMITS)
    slow = speed.slow_down(fast, UR5_LIMITS)
    np.testing.assert_array_equal(slow.positions, fast.positions)
    assert find_violation(slow, UR5_LIMITS, speed, q_from) is None
    if len(slow.times) > 1:
        middle = [slow.sample(t) for t in np.linspace(0, slow.duration, 60)]
        assert max(abs(qd / UR5_LIMITS.velocity).max() for _, qd in middle) <= 1.03 * share
        points = link_transforms(np.array([q for q, _ in middle]))[:, 6, :3, 3]
        assert np.linalg.norm(np.diff(points, axis=0), axis=-1).max() / (slow.duration / 59) <= 1.05 * tool


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: replace(t, times=t.times / 2, velocities=2 * t.velocities), "of its speed"),
        (lambda t: replace(t, times=t.times / 2), "of its speed"),
        (lambda t: replace(t, times=t.times[::-1]), "times do not increase"),
        (lambda t: replace(t, positions=np.where(t.positions == t.positions[3], np.nan, t.positions)), "numbers that are none"),
        (lambda t: replace(t, positions=t.positions + 0.1), "starts 5.7 degrees from where"),
        (lambda t: replace(t, velocities=t.velocities + 0.02), "start and end at rest"),
        (
            lambda t: replace(t, times=t.times * 50, positions=t.positions + np.linspace(0, 7, len(t.times))[:, None]),
            "beyond its range",
        ),
    ],
)
def test_driver_refuses(spoil, words: str) -> None:
    good = path_to(Q + 0.2)
    assert find_violation(good, UR5_LIMITS, SPEED, Q) is None
    assert words in find_violation(spoil(good), UR5_LIMITS, SPEED, Q)


def test_tool_speed_counts_where_joints_are_slow() -> None:
    """One joint at a tenth of its speed moves the stretched arm's flange at 0.1 m/s."""
    stretched = np.array([0.0, -0.1, 0.0, 0.0, 0.0, 0.0])
    swing = time_path(np.stack([stretched, stretched + np.eye(6)[0]]), UR5_LIMITS, speed_scale=0.1)
    assert find_violation(swing, UR5_LIMITS, SpeedLimits(0.1, 0.25), stretched) is None
    assert "mm/s are allowed" in find_violation(swing, UR5_LIMITS, SpeedLimits(0.1, 0.05), stretched)


def check(motions: list[Motion], checker=None, workspace: Workspace = ROOM) -> dict[str, str | None]:
    """What each check found wrong, None where it passed."""
    found = check_motions(motions, UR5_LIMITS, SPEED, workspace, Q, lambda motion: checker or Empty())
    return {each.name: None if each.passed else each.words for each in found}


def test_good_sequence_passes_everything() -> None:
    there = path_to(Q + 0.2)
    assert not any(check([Motion("there", there), Motion("back", there.reversed())]).values())


def test_each_check_finds_what_is_its_own() -> None:
    there = Motion("there", path_to(Q + 0.3))
    failed = {name: words for name, words in check([there], Wall(np.pi + 0.2)).items() if words}
    assert failed == {"collision": "there: the hand and the wall would touch"}
    assert not check([replace(there, may_touch={7})], Wall(np.pi + 0.2))["collision"]
    assert not check([replace(there, free_until=0.4)], Wall(np.pi + 0.2))["collision"]
    highest = forward_kinematics(there.trajectory.positions)[:, 2, 3].max()
    low = Workspace(ROOM.lower, np.array([1.0, 1.0, highest - 0.01]))
    assert "outside the box" in check([there], workspace=low)["workspace"]
    assert not check([there], workspace=low)["limits and speed"]
    straight = path_to(np.array([np.pi, -1.9, 0.0, -np.pi / 2, -np.pi / 2, 0.0]))
    assert "in straighten" in check([Motion("straighten", straight, straight=True)])["singularity"]
    assert not check([Motion("straighten", straight)])["singularity"], "joints may pass what a straight line may not"


def test_motions_must_follow_each_other() -> None:
    first, gap = path_to(Q + 0.2), path_to(Q + 0.3, Q + 0.25)
    assert "second: it starts" in check([Motion("first", first), Motion("second", gap)])["limits and speed"]
    assert check([Motion("first", first), Motion("second", gap, resumed=True)])["limits and speed"] is None


class Recorder:
    """An arm that keeps what it is told, and asks on the way."""

    def __init__(self) -> None:
        self.followed: list[Trajectory] = []
        self.q = Q.copy()

    def joint_positions(self) -> np.ndarray:
        return self.q

    def follow(self, trajectory: Trajectory, until=None) -> bool:
        if until is not None and until():
            return False
        self.followed.append(trajectory)
        self.q = trajectory.positions[-1]
        return True

    def wait(self, seconds: float) -> None:
        return None


def test_interlock_slows_down_and_stops_for_another_device() -> None:
    arm, failing = Recorder(), [False]

    def hand() -> None:
        if failing[0]:
            raise MotionStoppedError("no answer", StopReason.HAND_SILENT)

    interlocked = InterlockedArm(arm, SPEED, (hand,))
    assert isinstance(interlocked, Arm)
    fast = time_path(np.stack([Q, Q + 0.5]), UR5_LIMITS)
    assert interlocked.follow(fast)
    assert find_violation(arm.followed[0], UR5_LIMITS, SPEED, Q) is None
    assert not interlocked.follow(fast.reversed(), lambda: True)
    failing[0] = True
    for attempt in (lambda: interlocked.follow(fast.reversed()), lambda: interlocked.wait(0.1)):
        with pytest.raises(MotionStoppedError, match="no answer"):
            attempt()
    assert len(arm.followed) == 1


def test_presumed_object_goes_with_the_flange_while_it_is_held() -> None:
    arm, held = Recorder(), [False]
    point = forward_kinematics(Q)[:3, 3] + [0.0, 0.0, -0.15]
    watch = PresumedWatch(arm, lambda: held[0], point, grace=0.0)
    arm.q = Q + 0.1
    np.testing.assert_allclose(watch.position(), point)
    arm.q, held[0] = Q, True
    np.testing.assert_allclose(watch.position(), point)
    arm.q = Q + np.array([0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    turned = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]]) @ point
    np.testing.assert_allclose(watch.position(), turned, atol=1e-12)
    held[0] = False
    arm.q = Q
    np.testing.assert_allclose(watch.position(), turned, atol=1e-12)


def test_a_hand_that_says_no_for_a_moment_has_not_lost_the_object() -> None:
    arm, held = Recorder(), [True]
    watch = PresumedWatch(arm, lambda: held[0], forward_kinematics(Q)[:3, 3], grace=0.2)
    watch.position()
    held[0] = False
    arm.q = Q + np.array([0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    there = watch.position()
    np.testing.assert_allclose(there, forward_kinematics(arm.q)[:3, 3], atol=1e-12)
    time.sleep(0.25)
    arm.q = Q
    np.testing.assert_allclose(watch.position(), there)
