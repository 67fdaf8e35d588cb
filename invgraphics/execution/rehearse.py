"""The whole plan in simulation, on the scene as it was reconstructed: does the object come to its place? With pictures of every phase."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.datasets.files import write_image
from invgraphics.demo.cell import make_twins
from invgraphics.demo.film import Film, save_film, scale_camera
from invgraphics.demo.recorder import MotionRecorder
from invgraphics.demo.table import LIGHTING, TABLE_COLOUR, place_camera
from invgraphics.execution.plan import ExecutionPlan
from invgraphics.execution.setup import Setup
from invgraphics.recorded_motion import RecordedMotion, save_motion
from robot.execute import ExecutionReport, Outcome, Phase, execute_pick, execute_place
from robot.log import RobotLog
from robot.simulated import SimulatedWatch, Simulation

FILM_SECONDS = 0.5
"""Of simulated time between two pictures of the film."""
_SHOWN_SECONDS = 0.12
"""For which the film shows each."""
_SCALE = 0.5
_EYE = np.array([0.85, -0.85, 0.75])
"""Of the camera, from midway between the object and its place, metres."""
_TARGET = np.array([0.0, 0.0, 0.1])
"""What it looks at, from there."""
_COLUMNS = 4
_STATE_SECONDS = 0.1
"""Between two states in the log."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass
class Rehearsal:
    """How it went."""

    report: ExecutionReport
    phases: list[tuple[Picture, str]] = field(default_factory=list)
    """A picture of every phase that was done, sRGB."""
    film: list[Picture] = field(default_factory=list)
    motion: RecordedMotion | None = None
    """Of the arm, the hand and the objects, for the viewer."""

    @property
    def succeeded(self) -> bool:
        """Whether the object came to its place."""
        return self.report.outcome is Outcome.PLACED


def rehearse(setup: Setup, plan: ExecutionPlan, log: RobotLog, progress: Callable[[float], None]) -> Rehearsal:
    """Carries the plan out in simulation, the hand as strong as it is to be, object masses as of uniform density."""
    with World() as world:
        bodies = add_scene(world, setup)
        target = bodies[plan.grasp.object_index]
        camera = look_at(plan)
        film = Film(world, scale_camera(camera, _SCALE), seconds=FILM_SECONDS)
        robot = setup.cell.add_to(world, np.eye(4))
        recorder = _StateRecorder(world, robot, log)
        recorded = MotionRecorder(world, robot, dict(enumerate(bodies)))

        def on_step() -> None:
            film.step()
            recorder.step()
            recorded.step()

        twins = make_twins(Simulation(world, on_step), robot, setup.cell, plan.grasp, setup.hand_percent / 100)
        phases: list[tuple[Picture, str]] = []

        def observe(phase: Phase) -> None:
            phases.append((world.render(scale_camera(camera, _SCALE), lighting=LIGHTING).colour, phase.value))
            log.write("phase", device="simulation", phase=phase)
            recorded.mark(phase.value)
            progress(len(phases) / len(Phase))

        watch = SimulatedWatch(world, target)
        grasp = plan.grasp
        report = execute_pick(plan.pick, grasp.preshape, grasp.closed, twins.arm, twins.hand, watch, observer=observe)
        if report.outcome is Outcome.HELD:
            options = {"observer": observe, "limits": plan.limits}
            report = execute_place(plan.place, grasp.preshape, grasp.closed, twins.arm, twins.hand, watch, **options)
        log.write("outcome", device="simulation", outcome=report.outcome, message=report.message)
        places = {k: item.T_world_object.detach().cpu().double().numpy() for k, item in enumerate(setup.scene.objects)}
        T_world_base = places[0] @ np.linalg.inv(setup.objects[0].T_world_body)
        motion = recorded.motion(setup.cell.urdf, T_world_base, places, report.message)
        return Rehearsal(report, phases, film.frames, motion)


def add_scene(world: World, setup: Setup) -> tuple[int, ...]:
    """Table, bin and objects in the arm's base frame; the objects' bodies."""
    world.add_plane(height=setup.table_height, colour=TABLE_COLOUR)
    setup.cell.add_bin_to(world, np.eye(4))
    return tuple(world.add_mesh(item.solid, item.T_world_body) for item in setup.objects)


def look_at(plan: ExecutionPlan) -> Camera:
    """A camera that sees the object and its place."""
    start = (plan.target.T_world_body @ plan.target.solid.T_body_inertial)[:3, 3]
    middle = 0.5 * (start + plan.place.goal)
    return place_camera(tuple(middle + _EYE), tuple(middle + _TARGET))


def save_rehearsal(rehearsal: Rehearsal, folder: Path) -> None:
    """Writes `filmstrip.png`, a picture of every phase, `rehearsal.webp`, the film, and `trajectory.json`, which the viewer plays."""
    write_image(folder / "filmstrip.png", build_filmstrip(rehearsal.phases))
    save_film(rehearsal.film, _SHOWN_SECONDS, folder / "rehearsal.webp")
    if rehearsal.motion is not None:
        save_motion(rehearsal.motion, folder)


def build_filmstrip(pictures: list[tuple[Picture, str]]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Pictures in rows, each under its name."""
    height, width = pictures[0][0].shape[:2]
    tiles = []
    for k, (picture, name) in enumerate(pictures):
        tile = np.full((height + 24, width, 3), 255, dtype=np.uint8)
        tile[24:] = picture
        cv2.putText(tile, f"{k + 1} {name}", (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[k : k + _COLUMNS], axis=1) for k in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows, axis=0)


class _StateRecorder:
    """Writes where the joints are to the log, at even times."""

    def __init__(self, world: World, robot: int, log: RobotLog):
        self._world, self._robot, self._log = world, robot, log
        self._next = 0.0

    def step(self) -> None:
        """After a time step."""
        if self._world.time >= self._next - 1e-9:
            self._next = self._world.time + _STATE_SECONDS
            joints = {name: round(state.position, 5) for name, state in self._world.joint_states(self._robot).items()}
            self._log.write("state", clock=self._world.time, device="simulation", joints=joints)
