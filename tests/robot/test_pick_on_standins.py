"""From a picture of the camera to the object in the bin, through the real clients of arm, hand and camera; the machines are stand-ins."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grasp_sim.hands import load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchSettings, search_grasps
from grasp_sim.solids import place_scene
from invgraphics.execution.real import TOUCH_FORCE
from invgraphics.grasp import save_search
from invgraphics.output import save_reconstruction
from invgraphics.plane import find_support_plane
from invgraphics.segment.proposals import propose_masks
from optim.reconstruct import reconstruct
from robot.calibration import Calibration, CalibrationCamera, CalibrationErrors, CalibrationMode
from robot.calibration_board import Board
from robot.execute import Phase
from robot.log import Record, read_log
from robot.realsense import RealSenseCamera, RealSenseSettings
from robot.standins.camera import CameraStandIn
from tests.robot.lab import BIN, POST

pytestmark = [pytest.mark.realtime, pytest.mark.skipif(sys.platform != "linux", reason="ur-rtde and loopback addresses besides 127.0.0.1")]
QUICK = SearchSettings(batch=6, batches=2, finalists=2, final_trials=4)
"""Few trials, of the one way of grasping that suits a post."""
HARDEST = 60.0
"""Newtons with which what is lowered may meet the bin's floor; a setpoint that stays ahead of the arm makes 80 of it."""
HIGH = 0.06
"""Of the hand's frame above the table, metres: grasps that keep the fingertips off it come first, where there are any."""


@dataclass
class Lab:
    """The process of `tests.robot.lab`."""

    process: subprocess.Popen
    folder: Path
    address: str
    port: str

    def ask(self) -> dict:
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def open_lab(folder: Path) -> Iterator[Lab]:
    folder.mkdir()
    arguments = [sys.executable, "-m", "tests.robot.lab", str(folder)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    facts = json.loads(process.stdout.readline())
    try:
        yield Lab(process, folder, facts["address"], facts["port"])
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def take_picture(view: dict[str, np.ndarray]):
    """As the camera's own library delivers it."""
    height, width = view["depth"].shape
    settings = RealSenseSettings(width, height, frames=1, settling_frames=0)
    with CameraStandIn(view["rgb"], view["depth"], view["K"]) as standin, RealSenseCamera(standin.device, settings) as camera:
        return camera.capture()


def write_calibration(view: dict[str, np.ndarray], path: Path) -> None:
    height, width = view["depth"].shape
    camera = CalibrationCamera(view["K"], width, height)
    errors = CalibrationErrors(0.2, 0.2, 0.5, 0.05, 0.5, 0.05)
    Calibration(CalibrationMode.EYE_TO_HAND, view["T_base_camera"], np.eye(4), camera, Board(), errors, {}, {}).save(path)


def reconstruct_and_search(view: dict[str, np.ndarray], out: Path) -> None:
    observation = take_picture(view).observation("lab")
    plane = find_support_plane(observation, torch.Generator().manual_seed(0))
    scene = reconstruct(observation.with_masks(propose_masks(observation, plane)))
    save_reconstruction(scene, out)
    mia = load_hand("mia_right")
    few = replace(mia, templates=(mia.template("tridigital"),))
    with TrialPool(1) as pool:
        found = search_grasps(place_scene(scene.scene), few, seed=0, settings=QUICK, pool=pool)
    high = [grasp for grasp in found.grasps if grasp.T_world_hand[2, 3] > HIGH]
    save_search(high or found.grasps, found.failures, out)


def execute(lab: Lab, out: Path, *more: str) -> subprocess.CompletedProcess:
    """The command as a person gives it, in a process of its own."""
    where = ",".join(f"{value:g}" for value in (BIN.x, BIN.y, BIN.length, BIN.width, BIN.height, BIN.turn))
    plan = ["--robot", "ur5", "--calibration", str(lab.folder / "calibration.json"), "--bin", where, "--speed", "100"]
    machine = ["--tool-speed", "800", "--host", lab.address, "--hand-port", lab.port, "--hand-percent", "90", "--countdown", "0"]
    words = ["execute", str(out), *plan, *machine, "--stale-after", "2", "--hand-patience", "5", *more]
    return subprocess.run([sys.executable, "-m", "invgraphics", *words], capture_output=True, text=True)


def test_post_is_seen_picked_and_put_into_the_bin(tmp_path: Path) -> None:
    for package in ("rtde_control", "serial", "pyrealsense2"):
        pytest.importorskip(package)
    with open_lab(tmp_path / "lab") as lab:
        pick(lab)


def pick(lab: Lab) -> None:
    """From the picture to the bin: what the command says, where the post is then, and what the log tells."""
    view = dict(np.load(lab.folder / "view.npz"))
    out = lab.folder / "out"
    reconstruct_and_search(view, out)
    write_calibration(view, lab.folder / "calibration.json")
    start = lab.ask()
    done = execute(lab, out, "--yes-move-the-robot")
    end = lab.ask()
    assert start["motions"] == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it lies in the bin" in done.stdout.partition("THE ARM WILL MOVE")[2]
    assert end["highest"] - start["highest"] > 0.07
    assert start["touches"] == ["table"]
    assert end["touches"] == ["bin"], end
    T_base_post = np.array(end["post"])
    assert BIN.contains(POST.load_surface().vertices @ T_base_post[:3, :3].T + T_base_post[:3, 3], tolerance=0.002)
    (log,) = (out / "execution").glob("*/log.jsonl")
    records = list(read_log(log))
    assert find_phases(records) == [phase.name for phase in Phase]
    assert any(record.kind == "line" and record.entries["way"] == "sent" for record in records)
    assert sum(record.kind == "state" and record.entries.get("setpoint") is not None for record in records) > 500
    pushes = [record.entries["force"][2] for record in records if record.kind == "state" and "force" in record.entries]
    assert TOUCH_FORCE < max(pushes) < HARDEST


def find_phases(records: list[Record]) -> list[str]:
    """Of the machine, not of the rehearsal."""
    return [record.entries["phase"] for record in records if record.kind == "phase" and record.entries["device"] == "cell"]
