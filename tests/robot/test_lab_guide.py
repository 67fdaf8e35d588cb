"""The lab guide does what it says: its commands and its Python run against the stand-ins, its messages are those of the programs."""

import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from invgraphics.cli import main
from robot.calibration import CalibrationMode
from robot.calibration_board import Board
from robot.realsense import import_realsense
from robot.standins.board import render_board, write_rehearsal
from robot.standins.mia import MiaStandIn
from robot.standins.ur import URStandIn
from robot.standins.ur_arm import ArmModel
from robot.standins.ur_controller import Controller

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "lab.md").read_text()
BLOCKS = re.findall(r"^```(console|python)\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)
HEAVY = ("reconstruct", "grasp", "execute")
"""Commands that have tests of their own."""
RECORDING = "table.db3"
ARM, HAND = "192.168.0.10", "/dev/ttyUSB0"


def _commands():
    lines = [line.removeprefix("$ ") for language, block in BLOCKS if language == "console" for line in block.splitlines()]
    return [shlex.split(line) for line in lines]


def _record_board(path):
    from robot.standins.camera import CameraStandIn

    T_camera_board = np.eye(4)
    T_camera_board[:3, 3] = -0.126, -0.09, 0.32
    K = np.array([[447.0, 0.0, 424.6], [0.0, 447.0, 239.1], [0.0, 0.0, 1.0]])
    image, depth = render_board(Board(), K, (848, 480), T_camera_board)
    CameraStandIn(np.repeat(image[..., None], 3, axis=2), depth, K, serial="rehearsal").record(path, frames=12)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    """A folder with a recording, and what stands for arm and hand."""
    pytest.importorskip("pyrealsense2", exc_type=ImportError)
    import_realsense()
    folder = tmp_path_factory.mktemp("lab")
    _record_board(folder / RECORDING)
    controller = Controller(ArmModel(np.array([0.1, -1.2, 1.4, -1.7, -1.5, 0.3])))
    with URStandIn(controller) as arm, MiaStandIn() as hand:
        yield folder, {ARM: arm.address, HAND: hand.port}


def test_every_command_is_carried_out_in_turn(laboratory, monkeypatch, capsys):
    folder, names = laboratory
    monkeypatch.chdir(folder)
    for words in _commands():
        if words[0] != "invgraphics" or words[1] in HEAVY:
            continue
        arguments = [names.get(word, word) for word in words[1:]]
        if "--camera" in arguments:
            arguments[arguments.index("--camera") :] = ["--recording", RECORDING]
        elif words[1] == "capture" or words[1:3] == ["calibrate", "add"]:
            arguments += ["--recording", RECORDING]
        if words[1:4] == ["calibrate", "solve", "pictures"]:
            assert (folder / "pictures" / "00.png").is_file()
            shutil.rmtree("pictures")
            write_rehearsal(Path("pictures"), CalibrationMode.EYE_IN_HAND, pictures=6)
        assert main(arguments) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
    out = capsys.readouterr().out
    assert "ready to move" in out
    assert "acknowledges commands" in out
    assert (folder / "board.pdf").is_file()
    assert (folder / "frame" / "camera.json").is_file()


def test_the_arguments_of_the_heavy_commands_are_taken(monkeypatch):
    """Those commands have tests of their own; here only what the guide gives them."""
    for words in _commands():
        if words[0] == "invgraphics" and words[1] in HEAVY:
            command, taken = import_module(f"invgraphics.commands.{words[1]}"), []
            monkeypatch.setattr(command, "run", lambda arguments, taken=taken: taken.append(arguments) or 0)
            assert main(words[1:]) == 0
            if words[1] == "execute":
                command._check(taken[0])


def test_the_answer_that_is_shown_is_the_answer(laboratory, monkeypatch, capsys):
    folder, names = laboratory
    monkeypatch.chdir(folder)
    assert main(["devices", "--robot", names[ARM], "--hand", names[HAND], "--recording", RECORDING]) == 0
    (shown,) = re.findall(r"^```text\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)
    told = capsys.readouterr().out.splitlines()
    assert told[:1] == shown.splitlines()[:1]
    for line, example in zip(told, shown.splitlines(), strict=True):
        assert re.sub(r"-?\d+(\.\d+)?|rehearsal", "#", line) == re.sub(r"-?\d+(\.\d+)?|rehearsal", "#", example)


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"])
def test_python_runs(laboratory, monkeypatch, code):
    folder, names = laboratory
    monkeypatch.chdir(folder)
    busy = f'UR5Settings("{names[ARM]}", stale_after=1.0, watchdog_frequency=1.0'
    code = code.replace(HAND, names[HAND]).replace(f'UR5Settings("{ARM}"', busy)
    exec(compile(code, "docs/lab.md", "exec"), {})


def test_messages_are_those_of_the_programs():
    sources = "".join(path.read_text() for folder in ("robot", "invgraphics") for path in (ROOT / folder).rglob("*.py"))
    plain = re.sub(r'"\s*\n\s*f?"', "", sources)
    table = GUIDE.split("## 10.")[1].split("## 11.")[0]
    for row in table.splitlines():
        if not row.startswith("| ") or row.startswith("| where"):
            continue
        for message in re.findall(r"`([^`]+)`", row.split(" | ")[1]):
            pattern = re.escape(message).replace("eye\\-in\\-hand", r"\{other\.value\}")
            assert re.search(pattern, plain), message
