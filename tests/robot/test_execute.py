"""The guarded sequence: on a simple scene that is known, with arm and hand simulated, and its verdicts on every way to end."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from grasp_sim.hands import Hand, load_hand
from grasp_sim.world import World
from invgraphics.geometry.mesh import mesh_from_trimesh
from robot.assembly import MIA_RIGHT_MOUNT, UR5_URDF, HandMount, build_arm_with_hand, load_mount
from robot.execute import ExecutionReport, ExecutionSettings, Grip, Outcome, Phase, execute_pick
from robot.kinematics import JOINT_NAMES, UR5_LIMITS
from robot.motion import PickPlan, PickTask, plan_pick
from robot.simulated import SimulatedHand, SimulatedUR5, SimulatedWatch, Simulation, WorldCollisionChecker
from robot.stops import MotionStoppedError
from robot.trajectory import Trajectory, time_path

HOME = np.array([np.pi, -np.pi / 2, np.pi / 2, -np.pi / 2, -np.pi / 2, 0.0])
BOX = np.array([0.5, 0.1, 0.0225])
LIFT = 0.1


@pytest.fixture(scope="module")
def mia() -> Hand:
    return load_hand("mia_right")


@pytest.fixture(scope="module")
def mount() -> HandMount:
    return load_mount(MIA_RIGHT_MOUNT)


@pytest.fixture(scope="module")
def urdf(mia: Hand, mount: HandMount, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("robot") / "ur5_mia.urdf"
    path.write_text(build_arm_with_hand(UR5_URDF, mia.urdf, mount))
    return path


def add_robot(world: World, urdf: Path, mia: Hand, motors: Mapping[str, float]) -> int:
    body = world.add_urdf(urdf, np.eye(4), fixed=True, self_collision=True)
    world.couple_joints(body, mia.couplings)
    links = set(mia.link_poses(mia.templates[0].opened))
    world.set_friction(body, mia.friction, spinning=mia.torsional_friction, links=links)
    world.set_joint_positions(body, dict(zip(JOINT_NAMES, HOME.tolist(), strict=True)) | dict(motors))
    world.ignore_own_overlaps(body)
    return body


def add_box(world: World, mass: float = 0.1) -> int:
    T_world_box = np.eye(4)
    T_world_box[:3, 3] = BOX
    return world.add_box([0.0225, 0.06, 0.0225], T_world_box, mass=mass)


@pytest.fixture(scope="module")
def plan(mia: Hand, mount: HandMount, urdf: Path) -> PickPlan:
    """To the box, the hand straight above it, its fingers and thumb on the long sides."""
    template = mia.template("tridigital")
    _, centre, _ = mia.closure(template).at_width(0.06)
    T_world_hand = np.eye(4)
    T_world_hand[:3, :3] = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    T_world_hand[:3, 3] = BOX + np.array([0.0, 0.0, 0.0075]) - T_world_hand[:3, :3] @ centre
    T_base_grasp = T_world_hand @ np.linalg.inv(mount.T_flange_hand @ mia.T_root_hand)
    with World() as world:
        table, box = world.add_plane(), add_box(world)
        checker = WorldCollisionChecker(world, add_robot(world, urdf, mia, preshape(mia)), {table: "table", box: "box"}, margin=0.003)
        task = PickTask(T_base_grasp, T_world_hand[:3, 2], HOME, frozenset({box}))
        planned = plan_pick(task, checker, np.random.default_rng(0))
    assert isinstance(planned, PickPlan), planned
    return planned


def preshape(mia: Hand) -> dict[str, float]:
    template = mia.template("tridigital")
    share, _, _ = mia.closure(template).at_width(0.06)
    return template.motors_at(share / 2)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        world.add_plane()
        yield world


def run(
    world: World, urdf: Path, mia: Hand, plan: PickPlan, box: int, closed: Mapping[str, float], observer=None, hold: float = 0.3
) -> ExecutionReport:
    simulation = Simulation(world)
    body = add_robot(world, urdf, mia, mia.template("tridigital").opened)
    arm = SimulatedUR5(simulation, body)
    efforts = {name: motor.effort for name, motor in mia.motors.items()}
    velocities = {name: motor.velocity for name, motor in mia.motors.items()}
    hand = SimulatedHand(simulation, body, efforts, velocities)
    watch = SimulatedWatch(world, box)
    settings = ExecutionSettings(hold_seconds=hold)
    return execute_pick(plan, preshape(mia), closed, arm, hand, watch, settings=settings, observer=observer or (lambda phase: None))


def test_ur5_and_mia_lift_a_box_and_hold_it(world: World, urdf: Path, mia: Hand, plan: PickPlan) -> None:
    phases = []
    box = add_box(world)
    report = run(world, urdf, mia, plan, box, mia.template("tridigital").closed, phases.append, hold=2.0)
    assert report.outcome is Outcome.HELD, report.message
    assert report.rise == pytest.approx(plan.lift_height, abs=0.02)
    assert report.pushed < 0.002
    assert world.pose(box)[2, 3] == pytest.approx(BOX[2] + report.rise)
    assert phases == list(Phase)[: list(Phase).index(Phase.HELD) + 1]


def test_a_hand_that_does_not_close_lifts_nothing_and_says_so(world: World, urdf: Path, mia: Hand, plan: PickPlan) -> None:
    report = run(world, urdf, mia, plan, add_box(world), preshape(mia))
    assert report.outcome is Outcome.NEVER_LIFTED
    assert abs(report.rise) < 0.005
    assert report.reached is Phase.CLOSED
    assert "mm in the hand" in report.message


def test_an_object_heavier_than_the_hand_can_hold_is_not_held(world: World, urdf: Path, mia: Hand, plan: PickPlan) -> None:
    report = run(world, urdf, mia, plan, add_box(world, mass=8.0), mia.template("tridigital").closed)
    assert report.outcome in (Outcome.NEVER_LIFTED, Outcome.SLIPPED)
    assert report.reached is Phase.CLOSED
    assert "in the hand" in report.message or "went on closing" in report.message


def test_a_ball_that_rolls_off_a_ramp_is_not_reached_for(world: World, urdf: Path, mia: Hand, plan: PickPlan) -> None:
    """It is gone before the hand comes near: the approach is never begun."""
    ramp = np.eye(4)
    ramp[:3, :3] = Rotation.from_euler("x", 25, degrees=True).as_matrix()
    ramp[:3, 3] = [0.5, 0.1, 0.02]
    world.add_box([0.05, 0.05, 0.002], ramp)
    T_world_ball = np.eye(4)
    T_world_ball[:3, 3] = ramp[:3, 3] + 0.024 * ramp[:3, 2]
    ball = world.add_mesh(mesh_from_trimesh(trimesh.creation.icosphere(3, 0.02)), T_world_ball)
    phases: list[Phase] = []
    report = run(world, urdf, mia, plan, ball, mia.template("tridigital").closed, phases.append)
    assert report.outcome is Outcome.ROLLED_AWAY, report.message
    assert "before the hand came near" in report.message
    assert phases == [Phase.START, Phase.PREGRASP]


def test_an_arm_that_hits_something_unforeseen_is_stopped(world: World, urdf: Path, mia: Hand, plan: PickPlan) -> None:
    T_world_block = np.eye(4)
    T_world_block[:3, 3] = [0.5, 0.1, 0.14]
    world.add_box([0.2, 0.2, 0.05], T_world_block)
    report = run(world, urdf, mia, plan, add_box(world), mia.template("tridigital").closed)
    assert report.outcome is Outcome.ARM_STOPPED
    assert "degrees behind" in report.message


def test_the_arm_follows_a_trajectory_closely(world: World, urdf: Path, mia: Hand) -> None:
    body = add_robot(world, urdf, mia, mia.template("tridigital").opened)
    lags = []
    arm = SimulatedUR5(Simulation(world, lambda: lags.append(arm.joint_positions())), body)
    end = HOME + np.array([0.5, -0.3, 0.4, 0.3, -0.2, 0.6])
    trajectory = time_path(np.array([HOME, end]), UR5_LIMITS)
    arm.follow(trajectory)
    expected = np.array([trajectory.sample((k + 1) * world.time_step)[0] for k in range(len(lags))])
    assert abs(np.array(lags) - expected).max() < 0.01
    np.testing.assert_allclose(arm.joint_positions(), end, atol=1e-3)


def test_a_motor_the_hand_does_not_have_is_refused(world: World, urdf: Path, mia: Hand) -> None:
    body = add_robot(world, urdf, mia, mia.template("tridigital").opened)
    hand = SimulatedHand(Simulation(world), body, {"j_mrl_fle": 1.75}, {"j_mrl_fle": 3.14})
    with pytest.raises(ValueError, match="no motor 'j_index_fle'"):
        hand.move_to({"j_index_fle": 1.0})


class ScriptedRobot:
    """Arm, hand and object in one, the object's height following a script by phase."""

    def __init__(self, heights: list[float], pushed: float = 0.0, stops: bool = False):
        self._heights = heights
        self._pushed = pushed
        self._stops = stops
        self._closed = False
        self._moves = 0

    def joint_positions(self) -> np.ndarray:
        return HOME

    def motor_positions(self) -> dict[str, float]:
        return {}

    def follow(self, trajectory: Trajectory, until: Callable[[], bool] | None = None) -> bool:
        self._moves += 1
        if self._stops and self._moves == 2:
            raise MotionStoppedError("elbow_joint was 20 degrees behind")
        return True

    def wait(self, seconds: float) -> None:
        self._moves += 1

    def move_to(self, targets: Mapping[str, float]) -> None:
        self._closed = bool(targets)

    def position(self) -> np.ndarray:
        return np.array([self._pushed if self._moves >= 2 else 0.0, 0.0, self._heights[max(self._moves - 2, 0)]])


@pytest.mark.parametrize(
    ("robot", "outcome"),
    [
        (ScriptedRobot([0.0, 0.1, 0.1]), Outcome.HELD),
        (ScriptedRobot([0.0, 0.1, 0.01]), Outcome.SLIPPED),
        (ScriptedRobot([0.0, 0.08, 0.05]), Outcome.SLIPPED),
        (ScriptedRobot([0.0, 0.01, 0.0]), Outcome.NEVER_LIFTED),
        (ScriptedRobot([0.0, 0.1, 0.1], pushed=0.08), Outcome.PUSHED_AWAY),
        (ScriptedRobot([0.0, 0.1, 0.1], stops=True), Outcome.ARM_STOPPED),
    ],
)
def test_every_way_to_end_gets_its_own_verdict(robot: ScriptedRobot, outcome: Outcome) -> None:
    rest = time_path(np.array([HOME, HOME]), UR5_LIMITS)
    report = execute_pick(PickPlan(rest, rest, rest, LIFT), {}, {"thumb": 1.0}, robot, robot, robot)
    assert report.outcome is outcome
    assert outcome.value in report.message


class StandingHand(ScriptedRobot):
    """A hand whose motors stand where they are put."""

    def __init__(self) -> None:
        super().__init__([0.0])
        self.motors = {"thumb": 0.4, "index": 0.8}

    def motor_positions(self) -> dict[str, float]:
        return dict(self.motors)


def test_fingers_that_go_on_closing_slip_though_the_thumb_stands_at_its_target() -> None:
    robot = StandingHand()
    grip = Grip(robot, robot, robot, {"thumb": 0.4, "index": 1.3}, ExecutionSettings())
    assert grip.slipped() is None
    robot.motors["index"] = 1.0
    assert grip.slipped() is None
    robot.motors["index"] = 1.1
    assert "went on closing" in (grip.slipped() or "")
