"""Plans around obstacles, in a physics world that is only asked what touches what."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest

from grasp_sim.world import World
from robot.assembly import UR5_URDF
from robot.kinematics import UR5_LIMITS, forward_kinematics
from robot.motion import MotionSettings, PickPlan, PickTask, Reason, Unreachable, joint_line, linear_path, plan_free_motion, plan_pick
from robot.rrt import connect
from robot.simulated import WorldCollisionChecker

HOME = np.array([np.pi, -np.pi / 2, np.pi / 2, -np.pi / 2, -np.pi / 2, 0.0])
DOWN = np.array([0.0, 0.0, -1.0])


def pose(x: float, y: float, z: float) -> np.ndarray:
    """Flange pointing down."""
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, 3] = x, y, z
    return T


def placed(x: float, y: float, z: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def table(world: World) -> int:
    return world.add_plane()


@pytest.fixture
def arm(world: World) -> int:
    return world.add_urdf(UR5_URDF, np.eye(4), fixed=True, self_collision=True)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_plan_goes_over_the_pregrasp_straight_to_the_grasp_and_straight_up(world: World, table: int, arm: int) -> None:
    task = PickTask(pose(0.45, 0.1, 0.15), DOWN, HOME, frozenset())
    settings = MotionSettings(approach_distance=0.1, lift_height=0.12)
    plan = plan_pick(task, WorldCollisionChecker(world, arm, {table: "table"}), generator(), settings)
    assert isinstance(plan, PickPlan)
    assert plan.lift_height == 0.12
    np.testing.assert_allclose(plan.reach.positions[0], HOME)
    np.testing.assert_allclose(plan.reach.positions[-1], plan.approach.positions[0], atol=1e-9)
    np.testing.assert_allclose(plan.approach.positions[-1], plan.lift.positions[0], atol=1e-9)
    np.testing.assert_allclose(forward_kinematics(plan.approach.positions[0]), pose(0.45, 0.1, 0.25), atol=1e-6)
    np.testing.assert_allclose(forward_kinematics(plan.approach.positions[-1]), task.T_base_grasp, atol=1e-6)
    np.testing.assert_allclose(forward_kinematics(plan.lift.positions[-1]), pose(0.45, 0.1, 0.27), atol=1e-6)
    for straight in (plan.approach, plan.lift):
        flange = forward_kinematics(straight.positions)
        np.testing.assert_allclose(flange[:, :2, 3], np.broadcast_to([0.45, 0.1], (len(flange), 2)), atol=1e-4)
        np.testing.assert_allclose(flange[:, :3, :3], np.broadcast_to(task.T_base_grasp[:3, :3], (len(flange), 3, 3)), atol=1e-3)
    for part in (plan.reach, plan.approach, plan.lift):
        assert UR5_LIMITS.contain(part.positions)
        assert (abs(part.velocities) <= UR5_LIMITS.velocity).all()


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (PickTask(pose(1.3, 0.0, 0.15), DOWN, HOME, frozenset()), Reason.OUT_OF_REACH),
        (PickTask(pose(0.45, 0.1, -0.02), DOWN, HOME, frozenset()), Reason.GRASP_IN_COLLISION),
        (PickTask(pose(0.45, 0.1, 0.03), -DOWN, HOME, frozenset()), Reason.APPROACH_BLOCKED),
        (PickTask(pose(0.45, 0.1, 0.15), DOWN, np.array([np.pi, 0.5, 0, 0, 0, 0]), frozenset()), Reason.START_IN_COLLISION),
    ],
)
def test_what_cannot_be_done_is_said_in_words(world: World, table: int, arm: int, task: PickTask, reason: Reason) -> None:
    answer = plan_pick(task, WorldCollisionChecker(world, arm, {table: "table"}), generator())
    assert isinstance(answer, Unreachable)
    assert answer.reason is reason
    assert reason.value in answer.message


def test_a_lid_over_the_grasp_blocks_it_unless_it_is_the_target(world: World, table: int, arm: int) -> None:
    lid = world.add_box([0.1, 0.1, 0.01], placed(0.45, 0.1, 0.2))
    checker = WorldCollisionChecker(world, arm, {table: "table", lid: "lid"})
    task = PickTask(pose(0.45, 0.1, 0.1), DOWN, HOME, frozenset())
    answer = plan_pick(task, checker, generator())
    assert isinstance(answer, Unreachable)
    assert "lid" in answer.message
    assert answer.reason in (Reason.GRASP_IN_COLLISION, Reason.APPROACH_BLOCKED)


def test_an_obstacle_put_in_the_way_is_gone_around(world: World, table: int, arm: int) -> None:
    start, goal = HOME.copy(), HOME.copy()
    start[0], goal[0] = np.pi - 0.9, np.pi + 0.9
    settings = MotionSettings()
    free = WorldCollisionChecker(world, arm, {table: "table"})
    direct = plan_free_motion(start, goal, free, generator(), settings)
    wall = world.add_box([0.2, 0.02, 0.3], placed(0.5, 0.0, 0.3))
    checker = WorldCollisionChecker(world, arm, {table: "table", wall: "wall"})
    hits = [checker.collision(q) for q in joint_line(start, goal, settings.joint_step)]
    assert any(words is not None and "wall" in words for words in hits)
    around = plan_free_motion(start, goal, checker, generator(), settings)
    assert around is not None
    assert around.duration > direct.duration
    np.testing.assert_allclose(around.positions[[0, -1]], [start, goal])
    assert all(checker.collision(q) is None for q in around.positions[::4])


def test_the_arm_may_not_touch_itself(world: World, arm: int) -> None:
    checker = WorldCollisionChecker(world, arm, {})
    assert checker.collision(HOME) is None
    folded = HOME.copy()
    folded[2] = 3.1
    assert checker.collision(folded) is not None


def test_a_straight_line_is_straight_or_refused() -> None:
    q = HOME
    T_from = forward_kinematics(q)
    T_to = T_from.copy()
    T_to[:3, 3] += [0.05, 0.1, -0.1]
    path = linear_path(T_from, T_to, q)
    assert path is not None
    flange = forward_kinematics(path)
    along = (flange[:, :3, 3] - T_from[:3, 3]) @ [0.05, 0.1, -0.1] / 0.15
    np.testing.assert_allclose(flange[:, :3, 3] - T_from[:3, 3], along[:, None] * np.array([0.05, 0.1, -0.1]) / 0.15, atol=1e-9)
    far = T_from.copy()
    far[:3, 3] += [0.0, 0.0, 1.0]
    assert linear_path(T_from, far, q) is None


def test_rrt_finds_the_gap_in_a_wall_of_the_plane_and_gives_up_where_there_is_none() -> None:
    def free_with(gap: tuple[float, float]) -> Callable[[np.ndarray, np.ndarray], bool]:
        def line_is_free(a: np.ndarray, b: np.ndarray) -> bool:
            points = a + np.linspace(0, 1, 50)[:, None] * (b - a)
            inside = abs(points[:, 0]) < 0.1
            return bool((~inside | ((points[:, 1] > gap[0]) & (points[:, 1] < gap[1]))).all())

        return line_is_free

    start, goal, low, high = np.array([-1.0, 0.0]), np.array([1.0, 0.0]), np.full(2, -2.0), np.full(2, 2.0)
    path = connect(start, goal, low, high, free_with((0.4, 0.8)), generator(), max_iterations=2000)
    assert path is not None
    np.testing.assert_array_equal(path[0], start)
    np.testing.assert_array_equal(path[-1], goal)
    assert all(free_with((0.4, 0.8))(a, b) for a, b in pairwise(path))
    assert connect(start, goal, low, high, free_with((5.0, 6.0)), generator(), max_iterations=200) is None
