"""The robot at the table: a UR5 that carries a Mia hand, what it can reach, and a grasp carried out on the true scene."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from grasp_sim.hands import Hand, load_hand
from grasp_sim.solids import PlacedSolid
from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.demo.film import Film, scale_camera
from invgraphics.demo.recorder import MotionRecorder
from invgraphics.demo.table import LIGHTING
from invgraphics.grasp import Grasp
from invgraphics.scene import Scene
from robot.assembly import MOUNTS, UR5_URDF, HandMount, build_arm_with_hand, load_mount
from robot.bin import Bin
from robot.execute import ExecutionReport, Phase, execute_pick
from robot.kinematics import JOINT_NAMES
from robot.motion import MotionSettings, PickPlan, PickTask, PlacePlan, Unreachable, plan_pick
from robot.place import PlaceTask, plan_place
from robot.simulated import SimulatedHand, SimulatedUR5, SimulatedWatch, Simulation, WorldCollisionChecker

HAND = "mia_right"
PARKED = np.array([np.pi, -1.9, 1.9, -np.pi / 2, -np.pi / 2, 0.0])
"""Where the arm waits: folded, the hand above the table (radians)."""
FILM_WIDTH, FILM_SECONDS = 320, 0.4
"""Of the film: pixels, and seconds of simulated time between two pictures."""
_BIN_FRICTION = 0.5
"""Of its floor and walls; the pair's is its product with the object's."""
_BIN_MARGIN = 0.008
"""Metres to keep off its walls on top of the clearance, for they are where a person has measured them to be."""
_CLEARANCE = 0.002
"""Metres between arm or hand and anything but the target and the table."""
_OVER_TABLE = 2e-4
"""Metres between hand and table: grasps of what is thin bring the fingertips down to it (`CandidateSettings.plane_clearance`)."""


@dataclass(frozen=True)
class RobotCell:
    """Arm, hand, and how the one carries the other."""

    hand: Hand
    mount: HandMount
    urdf: Path
    """Arm and hand as one body."""
    q_home: Float[np.ndarray, "6"]
    """Where the arm waits, radians."""
    bin: Bin | None = None
    """What objects are put into; None where they are put on the table."""

    def add_bin_to(self, world: World, T_world_base: Float[np.ndarray, "4 4"], margin: float = 0.0) -> int | None:
        """Puts the bin into a world, if there is one, its walls thicker by `margin` (metres) to both sides; its body."""
        if self.bin is None:
            return None
        path = self.urdf.parent / "bin.urdf"
        path.write_text(self.bin.urdf(margin))
        return world.add_urdf(path, T_world_base @ self.bin.T_base_bin, fixed=True, friction=_BIN_FRICTION)

    def add_to(self, world: World, T_world_base: Float[np.ndarray, "4 4"]) -> int:
        """Puts the robot into a world, parked, the hand open."""
        body = world.add_urdf(self.urdf, T_world_base, fixed=True, self_collision=True)
        world.couple_joints(body, self.hand.couplings)
        links = self.hand.link_poses(self.hand.templates[0].opened)
        world.set_friction(body, self.hand.friction, spinning=self.hand.torsional_friction, links=links)
        world.set_joint_positions(body, dict(zip(JOINT_NAMES, self.q_home.tolist(), strict=True)) | self.hand.templates[0].opened)
        world.ignore_own_overlaps(body)
        return body

    def flange_pose(self, T_base_hand: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """`T_base_flange` that brings the hand frame to a pose."""
        return T_base_hand @ np.linalg.inv(self.mount.T_flange_hand @ self.hand.T_root_hand)


@dataclass(frozen=True)
class Selection:
    """The best grasp that the arm can do, and the better ones that it cannot."""

    grasp: Grasp | None
    """None where it can do none."""
    plan: PickPlan | None
    """The arm's motions for it."""
    skipped: tuple[tuple[Grasp, Unreachable], ...]
    """Better grasps, best first, each with the reason."""
    place: PlacePlan | None = None
    """The motions that put it down, where it was asked for."""


@dataclass(frozen=True)
class Twins:
    """The simulated arm and hand in a world."""

    arm: SimulatedUR5
    hand: SimulatedHand


def build_cell(folder: Path, q_home: Float[np.ndarray, "6"] = PARKED, hand_name: str = HAND, bin_: Bin | None = None) -> RobotCell:
    """The UR5 with a Mia hand (a key of `robot.assembly.MOUNTS`), waiting at `q_home` (radians); its URDF is written to `folder`."""
    hand, mount = load_hand(hand_name), load_mount(MOUNTS[hand_name])
    urdf = folder / f"ur5_{hand.name}.urdf"
    urdf.write_text(build_arm_with_hand(UR5_URDF, hand.urdf, mount))
    return RobotCell(hand, mount, urdf, q_home, bin_)


def select_grasp(
    objects: Sequence[PlacedSolid],
    grasps: Sequence[Grasp],
    cell: RobotCell,
    T_world_base: Float[np.ndarray, "4 4"],
    generator: np.random.Generator,
    progress: Callable[[float], None],
    settings: MotionSettings | None = None,
    spots: Sequence[Float[np.ndarray, "2"]] = (),
) -> Selection:
    """Plans the grasps, best first, around the reconstructed objects and the plane z = 0, until one can be done.

    With `spots` (x, y in the base frame, metres), or a bin in the cell, a grasp can be done only if the object can also be put down at
    one of them, or in the bin.
    """
    settings = settings or MotionSettings()
    T_base_world = np.linalg.inv(T_world_base)
    skipped: list[tuple[Grasp, Unreachable]] = []
    with open_planning_world(objects, cell, T_world_base) as planning:
        for k, grasp in enumerate(grasps):
            progress(k / len(grasps))
            planning.pose_hand(grasp.preshape)
            T_base_hand = T_base_world @ grasp.T_world_hand
            target = planning.bodies[grasp.object_index]
            task = PickTask(cell.flange_pose(T_base_hand), T_base_hand[:3, 2], cell.q_home, frozenset({target}))
            plan = plan_pick(task, planning.checker, generator, settings)
            if isinstance(plan, PickPlan) and not len(spots) and cell.bin is None:
                return Selection(grasp, plan, tuple(skipped))
            if isinstance(plan, PickPlan):
                item = objects[grasp.object_index]
                point = (T_base_world @ item.T_world_body @ item.solid.T_body_inertial)[:3, 3]
                where = PlaceTask(spots, point, cell.q_home, target, cell.bin)
                place = plan_place(task, plan, where, planning.checker, generator, settings)
                if isinstance(place, PlacePlan):
                    return Selection(grasp, plan, tuple(skipped), place)
                plan = place
            skipped.append((grasp, plan))
    return Selection(None, None, tuple(skipped))


@dataclass(frozen=True)
class PlanningWorld:
    """A world that stands still, to look for collisions in."""

    world: World
    robot: int
    bodies: tuple[int, ...]
    """Of the objects, in their order."""
    checker: WorldCollisionChecker

    def pose_hand(self, motors: Mapping[str, float]) -> None:
        """Puts the hand's motors somewhere (radians by name)."""
        self.world.set_joint_positions(self.robot, motors)


@contextmanager
def open_planning_world(objects: Sequence[PlacedSolid], cell: RobotCell, T_world_base: Float[np.ndarray, "4 4"]) -> Iterator[PlanningWorld]:
    """Objects, the plane z = 0, the cell's bin, and the robot at its base, parked."""
    with World() as world:
        table = world.add_plane()
        obstacles = {table: "the table"}
        bodies = tuple(world.add_mesh(item.solid, item.T_world_body) for item in objects)
        obstacles |= {body: item.name for body, item in zip(bodies, objects, strict=True)}
        bin_body = cell.add_bin_to(world, T_world_base, _BIN_MARGIN)
        if bin_body is not None:
            obstacles[bin_body] = "the bin"
        robot = cell.add_to(world, T_world_base)
        yield PlanningWorld(
            world, robot, bodies, WorldCollisionChecker(world, robot, obstacles, margin=_CLEARANCE, margins={table: _OVER_TABLE})
        )


def carry_out(
    world: World,
    target: int,
    grasp: Grasp,
    plan: PickPlan,
    cell: RobotCell,
    camera: Camera,
    progress: Callable[[float], None],
    record: Callable[[int], MotionRecorder] | None = None,
) -> tuple[ExecutionReport, list[tuple[UInt8[np.ndarray, "h w 3"], str]], Film]:
    """Executes a planned grasp in the true world (base frame); returns what happened, a picture of each phase, and the film of it all.

    `record` makes, given the robot's body, a recorder that is told of every step and phase.
    """
    pictures: list[tuple[np.ndarray, str]] = []
    robot = cell.add_to(world, np.eye(4))
    recorder = None if record is None else record(robot)
    film = Film(world, scale_camera(camera, FILM_WIDTH / camera.width), seconds=FILM_SECONDS)

    def observe(phase: Phase) -> None:
        pictures.append((world.render(camera, lighting=LIGHTING).colour, phase.value))
        progress(len(pictures) / len(Phase))
        if recorder is not None:
            recorder.mark(phase.value)

    def on_step() -> None:
        film.step()
        if recorder is not None:
            recorder.step()

    twins = make_twins(Simulation(world, on_step), robot, cell, grasp)
    watch = SimulatedWatch(world, target)
    report = execute_pick(plan, grasp.preshape, grasp.closed, twins.arm, twins.hand, watch, observer=observe)
    return report, pictures, film


def make_twins(simulation: Simulation, robot: int, cell: RobotCell, grasp: Grasp, strength: float = 1.0) -> Twins:
    """Arm and hand of a robot that `cell` added to the world, the hand as strong as the grasp wants it.

    `strength` is the share of its motors' speed and force that the hand is given, in (0, 1].
    """
    motors = cell.hand.motors
    efforts = {name: motor.effort for name, motor in motors.items()} | grasp.efforts
    hand = SimulatedHand(
        simulation,
        robot,
        {name: strength * effort for name, effort in efforts.items()},
        {name: strength * motor.velocity for name, motor in motors.items()},
    )
    return Twins(SimulatedUR5(simulation, robot), hand)


def base_in_scene(scene: Scene, T_base_camera: torch.Tensor) -> Float[np.ndarray, "4 4"]:
    """`T_world_base` of a reconstructed scene from where the calibrated camera stands in the arm's base frame."""
    T_world_camera = scene.camera.T_world_camera.detach().cpu().double().numpy()
    return T_world_camera @ np.linalg.inv(T_base_camera.cpu().double().numpy())
