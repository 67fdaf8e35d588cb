"""Bad input through the real command line: exit code 2, one line that says what is wrong, where, and what would be right."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from invgraphics.cli import main
from tests.invgraphics.tabletop import HEIGHT, WIDTH, Tabletop, write_frame

Damage = Callable[[Path], None]


def edit_camera(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "camera.json").read_text())
        content = {key: value for key, value in {**content, **changes}.items() if value is not None}
        (folder / "camera.json").write_text(json.dumps(content))

    return damage


def edit_K(row: int, column: int, value: float) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "camera.json").read_text())
        content["K"][row][column] = value
        (folder / "camera.json").write_text(json.dumps(content))

    return damage


def write_depth(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(folder: Path) -> None:
        depth = cv2.imread(str(folder / "depth.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / "depth.png"), change(depth))

    return damage


def write_float_depth(change: Callable[[np.ndarray], np.ndarray], scale: float = 1.0) -> Damage:
    def damage(folder: Path) -> None:
        depth = cv2.imread(str(folder / "depth.png"), cv2.IMREAD_UNCHANGED) * np.float32(1e-4)
        (folder / "depth.png").unlink()
        np.save(folder / "depth.npy", change(depth))
        edit_camera(depth_scale_m=scale)(folder)

    return damage


def write_mask(mask: np.ndarray) -> Damage:
    return write_image("mask.png", mask)


def write_boxes(text: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "mask.png").unlink()
        (folder / "boxes.json").write_text(text)

    return damage


def truncate(name: str, length: int = 2000) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length]) and None


def write_image(name: str, image: np.ndarray) -> Damage:
    return lambda folder: cv2.imwrite(str(folder / name), image) and None


def replace_depth_by_text(folder: Path) -> None:
    (folder / "depth.png").unlink()
    (folder / "depth.npy").write_text("1 2 3")


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def write_text(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text) and None


def put_nan(depth: np.ndarray) -> np.ndarray:
    return np.where(np.arange(depth.size).reshape(depth.shape) < 7, np.float32("nan"), depth)


def halve_lower_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


SMALL = np.ones((HEIGHT // 2, WIDTH // 2), np.uint8)
CASES: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no colour": (remove("rgb.png"), ("no such file", "rgb.png", ".jpg")),
    "no depth": (remove("depth.png"), ("no such file", "depth.png")),
    "no camera": (remove("camera.json"), ("no such file", "camera.json")),
    "colour of another size": (write_image("rgb.png", np.zeros((60, 80, 3), np.uint8)), ("sizes differ", "80x60", "160x120")),
    "depth of another size": (write_depth(lambda d: d[:60].copy()), ("sizes differ", "depth.png is 160x60")),
    "camera of another size": (edit_camera(width=640), ("sizes differ", "camera.json is 640x120")),
    "mask of another size": (write_mask(SMALL), ("sizes differ", "mask.png is 80x60")),
    "width in words": (edit_camera(width="wide"), ("width", "'wide'", "whole number")),
    "depth all zero": (write_depth(np.zeros_like), ("depth.png is zero everywhere",)),
    "a scale ten thousand times too large": (edit_camera(depth_scale_m=10.0), ("another unit", "0.001 (millimetres) or 0.0001")),
    "tenths of millimetres read as metres": (edit_camera(depth_scale_m=1.0), ("another unit", "depth would be 5", "0.0001 (tenths")),
    "millimetres read as metres": (write_float_depth(lambda d: 1000 * d), ("another unit", "did you mean 0.001 (millimetres)?")),
    "metres read as millimetres": (write_float_depth(lambda d: d, scale=0.001), ("another unit", "did you mean 1 (metres)?")),
    "scale of zero": (edit_camera(depth_scale_m=0), ("depth_scale_m", "positive number")),
    "scale in words": (edit_camera(depth_scale_m="mm"), ("depth_scale_m", "'mm'", "positive number")),
    "negative depth": (write_float_depth(lambda d: d - 0.6), ("depth.npy holds", "negative")),
    "not a number in depth": (write_float_depth(put_nan), ("depth.npy holds 7 values that are not finite", "write 0")),
    "8-bit depth": (write_depth(lambda d: (d >> 8).astype(np.uint8)), ("depth.png is uint8", "16-bit")),
    "depth in colour": (write_depth(lambda d: np.dstack([d, d, d])), ("depth.png", "one channel")),
    "depth that is no array": (replace_depth_by_text, ("depth.npy", "NumPy")),
    "16-bit colour": (write_image("rgb.png", np.zeros((HEIGHT, WIDTH, 3), np.uint16)), ("rgb.png is uint16", "8-bit")),
    "truncated colour": (truncate("rgb.png"), ("rgb.png", "truncated")),
    "truncated depth": (truncate("depth.png"), ("depth.png", "truncated")),
    "damaged depth": (lambda f: halve_lower_byte(f / "depth.png"), ("depth.png", "damaged")),
    "empty colour": (truncate("rgb.png", 0), ("rgb.png is empty",)),
    "colour that is no image": (write_text("rgb.png", "hello"), ("rgb.png", "not an image")),
    "camera that is no JSON": (write_text("camera.json", "{K: 3"), ("camera.json is not JSON",)),
    "camera that is no object": (write_text("camera.json", "[1, 2]"), ("camera.json is a JSON list", "K, width, height, depth_scale_m")),
    "camera without a scale": (edit_camera(depth_scale_m=None), ("camera.json lacks depth_scale_m", "K, width, height, depth_scale_m")),
    "camera without K": (edit_camera(K=None), ("camera.json lacks K",)),
    "K as nine numbers": (edit_camera(K=[150, 0, 79.5, 0, 150, 59.5, 0, 0, 1]), ("not a camera matrix", "shape is (9,)")),
    "K in words": (edit_camera(K="pinhole"), ("K in", "not a matrix of numbers")),
    "K ragged": (edit_camera(K=[[1, 2], [3]]), ("K in", "not a matrix of numbers")),
    "negative focal length": (edit_K(0, 0, -150.0), ("not a camera matrix", "-150")),
    "zero focal length": (edit_K(1, 1, 0.0), ("not a camera matrix", "focal lengths")),
    "K transposed": (edit_camera(K=[[150, 0, 0], [0, 150, 0], [79.5, 59.5, 1]]), ("last row", "transposed")),
    "K with skew": (edit_K(0, 1, 3.0), ("skew",)),
    "K of another unit": (edit_camera(K=[[0.94, 0, 0.5], [0, 1.25, 0.5], [0, 0, 1]]), ("do not suit an image of 160x120",)),
    "principal point far outside": (edit_K(0, 2, 5000.0), ("principal point", "far outside")),
    "not a number in K": (edit_camera(K=[[float("nan"), 0, 80], [0, 150, 60], [0, 0, 1]]), ("not finite",)),
    "empty mask": (write_mask(np.zeros((HEIGHT, WIDTH), np.uint8)), ("mask.png is empty", "id of 1 or more")),
    "mask in colour": (write_mask(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), ("mask.png", "single-channel")),
    "mask without depth": (write_mask(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * (np.arange(WIDTH) < 40).astype(np.uint8)), ("at least 50",)),
    "box outside": (write_boxes("[[10, 10, 50, 50], [150, 10, 300, 60]]"), ("box 1", "outside the image of 160x120")),
    "box inverted": (write_boxes("[[50, 10, 10, 50]]"), ("box 0", "inverted", "x0 < x1")),
    "box without area": (write_boxes("[[10, 10, 10, 50]]"), ("box 0", "no area")),
    "box of three": (write_boxes("[[10, 10, 50]]"), ("box 0", "not four numbers")),
    "box not finite": (write_boxes("[[10, 10, NaN, 50]]"), ("box 0", "not four numbers")),
    "boxes that are none": (write_boxes("[]"), ("boxes.json holds no boxes",)),
    "boxes that are no JSON": (write_boxes("10 10 50 50"), ("boxes.json is not JSON",)),
}  # fmt: skip


def run(*words: str | Path) -> int:
    """What the process would exit with."""
    try:
        return main([str(word) for word in words])
    except SystemExit as exit_:
        return exit_.code


def expect_one_line(capsys: pytest.CaptureFixture[str], parts: tuple[str, ...]) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("invgraphics reconstruct: ")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("case", CASES)
def test_damaged_frame(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, parts = CASES[case]
    folder = write_frame(tmp_path / "frame")
    damage(folder)
    assert run("reconstruct", folder, "--out", tmp_path / "out") == 2
    expect_one_line(capsys, parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("nowhere",), ("no such frame folder: nowhere",)),
        (("nowhere:000001/0",), ("no such dataset folder: nowhere",)),
        (("{frame}/rgb.png",), ("no such frame folder", "rgb.png")),
        (("{frame}:000001/0",), ("is not a BOP dataset", "scene_camera.json")),
        (("frames:{frame}",), ("holds no frame folders", "each must have")),
        (("{frame}", "--box", "10", "10", "400", "50"), ("box 0 of --box", "outside the image")),
        (("{frame}", "--box", "50", "10", "10", "50"), ("box 0 of --box", "inverted")),
        (("{frame}", "--box", "50", "10", "10"), ("--box", "expected 4 arguments")),
        (("{frame}", "--box", "a", "b", "c", "d"), ("--box", "invalid float value")),
        (("{frame}", "--seed", "x"), ("--seed", "invalid int value")),
        (("{frame}", "--wat"), ("--wat",)),
    ],
)
def test_bad_words(words: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = write_frame(tmp_path / "frame")
    filled = [word.format(frame=frame) for word in words]
    assert run("reconstruct", *filled, "--out", tmp_path / "out") == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert all(part in line for part in parts), line


def test_output_folder_with_other_things_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = write_frame(tmp_path / "frame")
    assert run("reconstruct", frame, "--out", frame, "--overwrite") == 2
    expect_one_line(capsys, ("did not write", "name another one"))
    assert (frame / "rgb.png").is_file()
    assert run("reconstruct", frame, "--out", frame / "rgb.png") == 2
    expect_one_line(capsys, ("is a file",))
    assert run("reconstruct", frame, "--out", frame / "rgb.png" / "out") == 2
    expect_one_line(capsys, ("cannot be written",))


def test_nothing_on_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = write_frame(tmp_path / "frame", Tabletop(balls=()), masks=False)
    assert run("reconstruct", frame, "--out", tmp_path / "out") == 2
    expect_one_line(capsys, ("no objects found", "--box"))


@pytest.mark.parametrize("words", [("reconstruct", "nowhere", "--out", "out"), ("reconstruct",), ("frobnicate",), ()])
def test_the_installed_program_says_it_in_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "invgraphics", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("invgraphics")
