"""`invgraphics execute`: a dry run from a scene to a rehearsed plan, the replay of its log, and what is refused in one line."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from grasp_sim.hands import load_hand
from invgraphics.camera import Camera
from invgraphics.cli import main
from invgraphics.commands.execute import add_arguments
from invgraphics.demo.cell import PARKED, build_cell
from invgraphics.errors import InputError
from invgraphics.execution.replay import find_joint_motion, load_log
from invgraphics.execution.setup import compute_payload
from invgraphics.grasp import Grasp, save_grasps
from invgraphics.observation import Observation
from invgraphics.output import load_scene, save_reconstruction
from invgraphics.reconstruction import Reconstruction
from invgraphics.recorded_motion import load_motion
from invgraphics.scene import Material, Plane, Scene, SceneObject
from robot.calibration import Calibration, CalibrationCamera, CalibrationErrors, CalibrationMode
from robot.calibration_board import Board
from robot.kinematics import JOINT_NAMES
from robot.log import RobotLog
from tests.grasp_sim.shapes import make_box

GREY = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))
BOX = (0.045, 0.12, 0.045)
QUICK = ("--speed", "100", "--tool-speed", "800", "--hand-percent", "90")
T_WORLD_BASE = np.array([[1.0, 0.0, 0.0, -0.5], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""Where a simulated arm stands to this scene when nothing says so."""


def T_world_camera() -> np.ndarray:
    """Half a metre over the table, looking down and forwards along the world's x."""
    down = np.array([0.6, 0.0, -0.8])
    right = np.array([0.0, -1.0, 0.0])
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(down, right), down], axis=1)
    T[:3, 3] = [-0.3, 0.0, 0.5]
    return T


def write_scene(out: Path, plane: Plane | None) -> None:
    """A box at the world's origin, across the camera's view."""
    pose = torch.eye(4)
    pose[2, 3] = BOX[2] / 2
    item = SceneObject("box", pose, torch.tensor(BOX) / 2, GREY, make_box(*BOX))
    K = torch.tensor([[50.0, 0.0, 3.0], [0.0, 50.0, 2.0], [0.0, 0.0, 1.0]])
    camera = Camera(K, 4, 6, torch.tensor(T_world_camera(), dtype=torch.float32))
    blank = torch.zeros(4, 6)
    observation = Observation(torch.zeros(4, 6, 3), blank, blank > 0, torch.zeros(1, 4, 6, dtype=torch.bool), camera, "image")
    save_reconstruction(Reconstruction(Scene((item,), (), plane, camera), observation, (0,)), out)


def grasp_from_above(hand_name: str = "mia_right") -> Grasp:
    """Straight from above, two fingers and thumb on the long sides."""
    hand = load_hand("mia_right")
    template = hand.template("tridigital")
    share, centre, _ = hand.closure(template).at_width(0.06)
    T_world_hand = np.eye(4)
    T_world_hand[:3, :3] = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    T_world_hand[:3, 3] = np.array([0.0, 0.0, BOX[2] / 2 + 0.0075]) - T_world_hand[:3, :3] @ centre
    return Grasp(hand_name, 0, T_world_hand, template.motors_at(share / 2), template.closed, 0.06, 1.0, 4)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("execute") / "out"
    write_scene(folder, Plane(GREY))
    save_grasps([grasp_from_above()], folder / "grasps.json")
    return folder


@pytest.fixture(scope="module")
def calibration(out: Path) -> Path:
    """Of a camera beside the arm, where the scene's own was."""
    path = out.parent / "camera.json"
    camera = CalibrationCamera(np.array([[50.0, 0.0, 3.0], [0.0, 50.0, 2.0], [0.0, 0.0, 1.0]]), 6, 4)
    errors = CalibrationErrors(0.2, 0.2, 0.5, 0.05, 0.5, 0.05)
    T_base_camera = np.linalg.inv(T_WORLD_BASE) @ T_world_camera()
    Calibration(CalibrationMode.EYE_TO_HAND, T_base_camera, np.eye(4), camera, Board(), errors, {}, {}).save(path)
    return path


@pytest.fixture(scope="module")
def dry_run(out: Path, calibration: Path) -> tuple[int, Path]:
    """Exit code and folder of a dry run for the UR5."""
    words = ["execute", str(out), "--robot", "ur5", "--calibration", str(calibration), "--place", "0.2,0.45", *QUICK]
    code = main(words)
    (folder,) = (out / "execution").iterdir()
    return code, folder


def test_dry_run_plans_checks_rehearses_and_draws(dry_run: tuple[int, Path]) -> None:
    code, folder = dry_run
    plan = json.loads((folder / "plan.json").read_text())
    assert code == 0, plan
    assert plan["object"] == "box"
    assert plan["rehearsal"] == "placed"
    assert all(check["passed"] for check in plan["checks"])
    assert {check["name"].split(",")[0] for check in plan["checks"]} == {"limits and speed", "workspace", "singularity", "collision"}
    np.testing.assert_allclose(plan["goal_m"][:2], [0.2, 0.45])
    T_base_hand = np.linalg.inv(T_WORLD_BASE) @ grasp_from_above().T_world_hand
    np.testing.assert_allclose(plan["T_base_hand"], T_base_hand, atol=1e-5)
    picture = cv2.imread(str(folder / "filmstrip.png"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20
    assert len(cv2.imreadanimation(str(folder / "rehearsal.webp"))[1].frames) > 20


def test_the_rehearsed_motion_is_kept_for_the_viewer(dry_run: tuple[int, Path]) -> None:
    """In the scene's world frame: the base where the calibration has it, the object from its place to the goal."""
    _, folder = dry_run
    motion = load_motion(folder)
    np.testing.assert_allclose(motion.T_world_base, T_WORLD_BASE, atol=1e-4)
    assert [name for _, name in motion.phases][:2] == ["start", "pre-grasp"]
    assert set(JOINT_NAMES) < set(motion.joint_names)
    path = motion.T_world_objects[0]
    np.testing.assert_allclose(path[0], load_scene(folder.parents[1]).objects[0].T_world_object, atol=1e-5)
    end = np.linalg.inv(T_WORLD_BASE) @ path[-1]
    np.testing.assert_allclose(end[:2, 3], [0.2, 0.45], atol=0.06)


def test_the_log_is_told_and_filmed_again(dry_run: tuple[int, Path], capsys: pytest.CaptureFixture) -> None:
    _, folder = dry_run
    assert main(["execute", str(folder.parents[1]), "--replay", str(folder / "log.jsonl")]) == 0
    told = capsys.readouterr().out
    assert "phase      phase LIFTED" in told
    assert "outcome PLACED" in told
    frames = cv2.imreadanimation(str(folder / "replay.webp"))[1].frames
    assert np.abs(frames[0].astype(float) - frames[len(frames) // 2]).mean() > 1.0
    times, joints = find_joint_motion(load_log(folder / "log.jsonl"))
    assert (np.diff(times) > 0).all()
    assert joints[0]["shoulder_pan_joint"] == pytest.approx(PARKED[0], abs=0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--robot", "ur5", "--place", "0.2,0.4"], "needs --calibration"),
        (["--robot", "ur5", "--calibration", "CALIBRATION"], "needs --place"),
        (["--place", "0.2,0.4", "--bin", "0.2,0.4,0.3,0.2,0.06,0"], "two places for one object"),
        (["--bin", "0.5,0,0.3,0.2,0.06,0"], "would stand where box is"),
        (["--bin", "0.2,0.4,0.3,0,0.06,0"], "must lie above 0"),
        (["--hand", "mia_left"], "holds grasps of mia_right, but the arm carries mia_left"),
        (["--hand-percent", "5"], "must lie between 10 and 99"),
        (["--hand-patience", "0.01"], "between 0.1 and 5 seconds"),
        (["--stale-after", "0"], "between 0.02 and 2 seconds"),
        (["--yes-move-the-robot"], "is for --robot ur5"),
        (["--robot", "ur5", "--calibration", "CALIBRATION", "--place", "0.2,0.4", "--yes-move-the-robot"], "needs --host"),
        (["--speed", "0"], "--speed is 0"),
        (["--speed", "150"], "--speed is 150"),
        (["--workspace", "0.9,-0.9,-1,1,0,1"], "lower bounds below"),
        (["--object", "3"], "none of object 3"),
        (["--calibration", "nowhere.json"], "nowhere.json"),
        (["--replay", "nowhere.jsonl"], "no such log"),
    ],
)
def test_bad_input_is_one_line(out: Path, calibration: Path, words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["execute", str(out), *[str(calibration) if word == "CALIBRATION" else word for word in words]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_values_may_start_with_a_minus() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["out", "--place", "-0.3,0.4", "--home", "-90,-90,-90,-90,90,0", "--workspace", "-.9,.9,-0.9,0.9,0,1"]
    arguments = parser.parse_args(words)
    assert arguments.place == [(-0.3, 0.4)]
    assert arguments.home == (-90, -90, -90, -90, 90, 0)
    assert arguments.workspace == (-0.9, 0.9, -0.9, 0.9, 0, 1)


@pytest.mark.parametrize("words", [["--place", "0.2"], ["--place", "-0.2,inf"], ["--home", "1,2,3"], ["--workspace", "a,b,c,d,e,f"]])
def test_numbers_are_counted(out: Path, words: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["execute", str(out), *words])
    assert exit_.value.code == 2
    assert "numbers separated by commas" in capsys.readouterr().err


def test_grasps_of_another_hand_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_scene(tmp_path / "out", Plane(GREY))
    save_grasps([grasp_from_above("parallel_jaw")], tmp_path / "out" / "grasps.json")
    assert main(["execute", str(tmp_path / "out")]) == 2
    assert "holds grasps of parallel_jaw, but the arm carries mia_right" in capsys.readouterr().err


def test_nothing_moves_without_a_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_scene(tmp_path / "out", None)
    assert main(["execute", str(tmp_path / "out")]) == 2
    assert "no support plane" in capsys.readouterr().err


def test_what_is_out_of_reach_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_scene(tmp_path / "out", Plane(GREY))
    grasp = grasp_from_above()
    T = grasp.T_world_hand.copy()
    T[0, 3] += 2.0
    save_grasps([replace(grasp, T_world_hand=T)], tmp_path / "out" / "grasps.json")
    assert main(["execute", str(tmp_path / "out")]) == 2
    assert "1 x the arm does not reach it" in capsys.readouterr().err


def test_payload_is_hand_and_adapter(tmp_path: Path) -> None:
    mass, centre = compute_payload(build_cell(tmp_path))
    assert mass == pytest.approx(0.444 + 0.1, abs=0.01)
    assert 0.03 < centre[2] < 0.12, "on the way from the flange to the fingers"
    assert abs(np.array(centre[:2])).max() < 0.03


def test_a_log_that_was_cut_off_is_read_to_its_last_line(tmp_path: Path) -> None:
    with RobotLog(tmp_path / "log.jsonl") as log:
        log.write("phase", phase="start", q=np.zeros(6))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    assert [record.kind for record in load_log(tmp_path / "log.jsonl")] == ["log", "phase"]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff", b'{"clock": "late", "kind": "phase"}\n', b"[1, 2]\n"])
def test_what_is_no_log_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="line 1: not a record of a robot log"):
        load_log(path)
