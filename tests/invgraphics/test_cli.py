"""The command line: what it prints, writes and returns, and that it loads no more than it needs."""

import argparse
import errno
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import trimesh

import invgraphics
from invgraphics.cli import COMMANDS, main
from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.output import claim_output_folder, load_scene
from tests.invgraphics.tabletop import Tabletop, write_frame


def test_help_lists_the_commands_and_loads_none(tmp_path: Path) -> None:
    code = "import sys; from invgraphics.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_every_command_describes_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as exit_:
            main([name, "--help"])
        assert exit_.value.code == 0
        assert f"invgraphics {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"invgraphics {invgraphics.__version__}\n"


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command that raises."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--x", type=int)

    def run(arguments: argparse.Namespace) -> int:
        assert arguments.x == 3
        raise error

    command = ModuleType("command")
    command.add_arguments, command.run = add_arguments, run
    monkeypatch.setitem(sys.modules, "invgraphics.commands.reconstruct", command)
    return main(["reconstruct", "--x", "3"])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("two\nlines  of it"), 2, "two lines of it"),
        (MissingDependencyError("two\nlines  of it"), 1, "two lines of it"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/mask.png"), 1, "/out/mask.png: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "a file: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(error, monkeypatch) == code
    assert capsys.readouterr().err == f"invgraphics reconstruct: {line}\n"


@pytest.mark.parametrize("error", [OSError("no number"), ConnectionResetError(errno.ECONNRESET, "reset"), ValueError("ours")])
def test_other_errors_are_ours_and_keep_their_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        fail_with(error, monkeypatch)


SCENE = Tabletop(balls=((0.0, 0.08, 0.03), (-0.02, -0.02, 0.05)))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A frame whose first mask has no depth, and what became of it in a folder that held older results."""
    root = tmp_path_factory.mktemp("cli")
    frame = write_frame(root / "frame", SCENE)
    ids = cv2.imread(str(frame / "mask.png"), cv2.IMREAD_UNCHANGED)
    depth = cv2.imread(str(frame / "depth.png"), cv2.IMREAD_UNCHANGED)
    depth[ids == 1] = 0
    cv2.imwrite(str(frame / "depth.png"), depth)
    claim_output_folder(root / "out", overwrite=False)
    (root / "out" / "meshes").mkdir()
    (root / "out" / "meshes" / "object_07.ply").write_text("stale")
    assert main(["reconstruct", str(frame), "--out", str(root / "out")]) == 2
    assert main(["reconstruct", str(frame / "nowhere"), "--out", str(root / "out"), "--overwrite"]) == 2
    assert (root / "out" / "meshes" / "object_07.ply").read_text() == "stale"
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["reconstruct", str(frame), "--out", str(root / "out"), "--overwrite"]) == 0
    (root / "printed.txt").write_text(printed.getvalue())
    return frame, root / "out"


def test_printed_sizes_are_those_of_the_meshes(outputs: tuple[Path, Path]) -> None:
    _, out = outputs
    vertices = load_scene(out).objects[0].mesh.vertices
    sides = sorted((1e3 * (vertices.max(0).values - vertices.min(0).values)).tolist(), reverse=True)
    assert " x ".join(f"{side:.0f}" for side in sides) in (out.parent / "printed.txt").read_text()


def test_reconstruct_writes_what_the_contract_says(outputs: tuple[Path, Path]) -> None:
    _, out = outputs
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")} == {
        "frame/camera.json",
        "frame/depth.png",
        "frame/mask.png",
        "frame/rgb.png",
        "meshes/cages/object_01.ply",
        "meshes/object_01.mtl",
        "meshes/object_01.obj",
        "meshes/object_01.ply",
        "meshes/object_01.png",
        "metrics.json",
        "report.html",
        "scene.glb",
        "scene.json",
    }
    metrics, scene = (json.loads((out / name).read_text()) for name in ("metrics.json", "scene.json"))
    assert "0 of its" in metrics["left_out"]["0"]
    assert metrics["peak_memory_bytes"] > 1e7
    assert metrics["seconds"]
    assert [row["mask_index"] for row in scene["objects"]] == [1]


def test_reconstructed_ball_is_where_the_ball_is(outputs: tuple[Path, Path]) -> None:
    _, out = outputs
    content = json.loads((out / "scene.json").read_text())
    cosine = np.dot(content["plane"]["normal_camera"], SCENE.normal)
    assert np.degrees(np.arccos(min(cosine, 1))) < 0.3
    assert content["plane"]["offset_camera_m"] == pytest.approx(SCENE.offset, abs=1e-3)
    _, centre, radius = list(SCENE._place_balls())[1]
    (shape,) = content["objects"]
    np.testing.assert_allclose(shape["ellipsoid"]["radii_m"], radius, rtol=0.1)
    np.testing.assert_allclose(np.array(shape["T_camera_object"])[:3, 3], centre, atol=0.1 * radius)
    mesh = trimesh.load(out / "meshes/object_01.ply", process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0
    seen = mesh.vertices[(mesh.vertices - centre) @ centre < 0]
    assert np.median(np.abs(np.linalg.norm(seen - centre, axis=1) - radius)) < 0.005


def test_second_frame_of_the_scene_is_registered_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [str(write_frame(tmp_path / name, SCENE)) for name in ("one", "two")]
    assert main(["reconstruct", *frames, "--out", str(tmp_path / "out")]) == 0
    assert "registration of two: registered" in capsys.readouterr().err
    stages = json.loads((tmp_path / "out" / "metrics.json").read_text())["stages"]
    assert any("depth in view 1" in stage["loss"] for stage in stages)


def test_boxes_on_the_command_line_are_of_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = str(write_frame(tmp_path / "frame", SCENE))
    assert main(["reconstruct", frame, frame, "--box", "1", "1", "9", "9", "--out", str(tmp_path / "out")]) == 2
    assert "one image" in capsys.readouterr().err
