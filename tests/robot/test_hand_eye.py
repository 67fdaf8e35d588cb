"""Hand-eye calibration: on exact corners, on rendered pictures of the board, with a wrong picture, and where it cannot be solved."""

import json
import re
import struct
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from invgraphics.cli import main
from invgraphics.errors import InputError
from robot.calibration import CalibrationMode, calibrate_folder, load_calibration
from robot.calibration_board import Board, detect_board, draw_board, list_rectangles
from robot.hand_eye import View, locate_board, rotation_spread, solve_closed_form, solve_hand_eye
from robot.kinematics import forward_kinematics
from robot.realsense import CapturedFrame
from robot.standins.board import render_board, write_rehearsal

K = np.array([[447.0, 0.0, 424.6], [0.0, 446.0, 239.1], [0.0, 0.0, 1.0]])
BOARD = Board()
IN_HAND, TO_HAND = CalibrationMode.EYE_IN_HAND, CalibrationMode.EYE_TO_HAND


def _pose(rotation_vector, translation):
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    T[:3, 3] = translation
    return T


def _project(points, T_camera_board):
    seen = points @ T_camera_board[:3, :3].T + T_camera_board[:3, 3]
    return seen[:, :2] / seen[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]


def _difference(T, truth):
    """Millimetres and degrees."""
    away = np.linalg.inv(truth) @ T
    return 1e3 * np.linalg.norm(away[:3, 3]), np.degrees(Rotation.from_matrix(away[:3, :3]).magnitude())


def _views(X, Y, generator, count=10, noise=0.0, tilt=0.5):
    """Exact corners of boards seen at poses X^-1 G Y, with noise in pixels."""
    middle = np.array([*BOARD.size_m, 0.0]) / 2
    views = []
    for k in range(count):
        turn = Rotation.from_rotvec(tilt * generator.uniform(-1, 1, 3))
        T_camera_board = _pose(turn.as_rotvec(), np.array([*generator.uniform(-0.03, 0.03, 2), 0.35]) - turn.apply(middle))
        pixels = _project(BOARD.corners, T_camera_board) + noise * generator.standard_normal((len(BOARD.corners), 2))
        views.append(View(f"{k:02d}", X @ T_camera_board @ np.linalg.inv(Y), BOARD.corners, pixels))
    return views


poses = st.tuples(st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3), st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3)).map(
    lambda parts: _pose(*parts)
)


@settings(max_examples=25, deadline=None)
@given(poses, poses, st.integers(0, 1000))
def test_the_closed_form_is_exact_on_exact_poses(X, Y, seed):
    generator = np.random.default_rng(seed)
    seen = np.stack([_pose(generator.uniform(-0.6, 0.6, 3), generator.uniform(-0.3, 0.3, 3)) for _ in range(6)])
    found_X, found_Y = solve_closed_form(X @ seen @ np.linalg.inv(Y), seen)
    np.testing.assert_allclose(found_X, X, atol=1e-7)
    np.testing.assert_allclose(found_Y, Y, atol=1e-7)


@settings(max_examples=5, deadline=None)
@given(poses, poses, st.integers(0, 1000))
def test_exact_corners_give_the_exact_pose(X, Y, seed):
    solution = solve_hand_eye(_views(X, Y, np.random.default_rng(seed), count=6), K)
    assert _difference(solution.X, X) == pytest.approx((0, 0), abs=1e-3)
    assert _difference(solution.Y, Y) == pytest.approx((0, 0), abs=1e-3)
    assert solution.pixels < 1e-4


def test_a_single_picture_puts_the_board_where_it_is():
    (view,) = _views(np.eye(4), np.eye(4), np.random.default_rng(3), count=1)
    np.testing.assert_allclose(locate_board(view, K), view.G, atol=1e-6)


def test_the_stated_error_is_that_of_the_result():
    """Over twenty calibrations with noisy corners: what the jackknife states, against what is true."""
    X, Y = _pose((0.1, -0.3, 1.5), (0.01, -0.08, 0.04)), _pose((3.0, 0.1, 0.5), (-0.5, 0.1, 0.0))
    solutions = [solve_hand_eye(_views(X, Y, np.random.default_rng(seed), count=8, noise=0.3), K) for seed in range(8)]
    true_mm, true_deg = np.sqrt(np.mean(np.square([_difference(solution.X, X) for solution in solutions]), axis=0))
    assert true_mm / 2 < np.mean([solution.translation_spread_mm for solution in solutions]) < 2 * true_mm
    assert true_deg / 2 < np.mean([solution.rotation_spread_deg for solution in solutions]) < 2 * true_deg
    ahead = np.array([0.0, 0.0, solutions[0].distance, 1.0])
    true_seen = 1e3 * np.sqrt(np.mean([((np.linalg.inv(X) @ solution.X @ ahead - ahead) ** 2).sum() for solution in solutions]))
    assert true_seen / 2 < np.mean([solution.seen_spread_mm for solution in solutions]) < 2 * true_seen < 2 * true_mm
    assert solutions[0].distance == pytest.approx(0.35, abs=0.01)
    assert np.mean([solution.pixels for solution in solutions]) == pytest.approx(0.3 * np.sqrt(2), rel=0.1)
    assert all(solution.left_out_pixels > solution.pixels for solution in solutions)


def test_a_wrong_picture_is_named_and_left_out():
    X, Y = _pose((0.1, -0.3, 1.5), (0.01, -0.08, 0.04)), _pose((3.0, 0.1, 0.5), (-0.5, 0.1, 0.0))
    views = _views(X, Y, np.random.default_rng(0), noise=0.1)
    views[4] = replace(views[4], G=_pose((0.0, 0.02, 0.0), (0.004, 0.0, 0.0)) @ views[4].G)
    solution = solve_hand_eye(views, K)
    assert solution.outliers == ("04",)
    assert solution.pixel_errors["04"] > 5 * solution.pixels
    mm, degrees = _difference(solution.X, X)
    assert mm < 0.3
    assert degrees < 0.03


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([(0.0, 0.0, 0.0)], "hardly turned"),
        ([(0.0, 0.0, 0.1 * k) for k in range(8)], r"about one axis only, \(0\.00, 0\.00, 1\.00\)"),
    ],
)
def test_motions_that_tell_too_little_are_refused(turns, words):
    X, Y = _pose((0.2, 0.1, 0.0), (0.0, 0.05, 0.1)), np.eye(4)
    rotations = [turns[k % len(turns)] for k in range(8)]
    G = [_pose(turn, (0.05 * k, 0.02 * k, 0.4)) for k, turn in enumerate(rotations)]
    pixels = [_project(BOARD.corners, np.linalg.inv(X) @ g @ Y) for g in G]
    views = [View(str(k), g, BOARD.corners, uv) for k, (g, uv) in enumerate(zip(G, pixels, strict=True))]
    with pytest.raises(InputError, match=words):
        solve_hand_eye(views, K)


def test_too_few_pictures_or_corners_are_refused():
    views = _views(np.eye(4), np.eye(4), np.random.default_rng(0), count=6)
    with pytest.raises(InputError, match="4 pictures show the board; at least 5"):
        solve_hand_eye(views[:4], K)
    few = replace(views[0], points=views[0].points[:5], pixels=views[0].pixels[:5])
    with pytest.raises(InputError, match="00 shows 5 corners"):
        solve_hand_eye([few, *views[1:]], K)


def test_the_spread_of_rotations_is_that_of_their_angles():
    turns = [Rotation.from_rotvec([0, 0, angle]).as_matrix() for angle in (0.0, 0.2, 0.4)]
    spread, axes = rotation_spread(np.stack(turns))
    assert spread[0] == pytest.approx(np.sqrt((0.2**2 + 0.4**2 + 0.2**2) / 3))
    np.testing.assert_allclose(spread[1:], 0, atol=1e-7)
    assert abs(axes[2, 0]) == pytest.approx(1)


@cache
def _rehearsal(folder, mode):
    return write_rehearsal(folder, mode, pictures=9, seed=2)


@pytest.mark.parametrize("mode", list(CalibrationMode))
def test_rendered_pictures_give_the_camera_back(tmp_path_factory, mode):
    """Noise of 2 counts in the pictures: within 0.25 mm and 0.03 degrees."""
    folder = tmp_path_factory.getbasetemp() / f"rehearsal_{mode.value}"
    truth = _rehearsal(folder, mode)
    calibration = calibrate_folder(folder, mode)
    mm, degrees = _difference(calibration.T_camera, truth)
    assert mm < 0.25
    assert degrees < 0.03
    assert calibration.errors.pixels < 0.15
    assert calibration.left_out == {}
    path = folder / "calibration.json"
    calibration.save(path)
    again = load_calibration(path)
    np.testing.assert_allclose(again.T_camera, calibration.T_camera, atol=1e-6)
    assert (again.mode, again.errors, again.pictures, again.date) == (mode, calibration.errors, calibration.pictures, calibration.date)
    assert again.age_days() < 0.01
    flange = forward_kinematics(np.array([0.1, -1.2, 1.4, -1.7, -1.5, 0.3]))
    expected = flange @ again.T_camera if mode is IN_HAND else again.T_camera
    np.testing.assert_allclose(again.T_base_camera(flange), expected)


@pytest.fixture
def rehearsal(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / f"rehearsal_{IN_HAND.value}"
    _rehearsal(folder, IN_HAND)
    return folder


def test_the_wrong_mode_is_recognised(rehearsal):
    with pytest.raises(InputError, match=r"disagree by \d+\.\d pixels .* they fit eye-in-hand: is that where the camera is"):
        calibrate_folder(rehearsal, TO_HAND)


def _spoilt(rehearsal, tmp_path, poses=None, **files):
    for file in rehearsal.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    if poses is not None:
        rows = json.loads((tmp_path / "poses.json").read_text())
        (tmp_path / "poses.json").write_text(json.dumps(poses(rows)))
    return tmp_path


def _degrees(rows):
    return [{"image": row["image"], "joints": [10.0, -90.0, 90.0, 0.0, 0.0, 0.0]} for row in rows]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"poses": _degrees}, "they must be radians, not degrees"),
        ({"poses": lambda rows: [{"image": "00.png"}]}, "lacks joints"),
        ({"poses": lambda rows: {"image": "00.png"}}, "is not a list"),
        ({"poses": lambda rows: [{**rows[0], "image": "none.png"}]}, "no such file: .*none.png"),
        ({"poses": lambda rows: [{**rows[0], "T_base_flange": [[1, 0], [0, 1]]}]}, "is not a pose"),
        ({"poses": lambda rows: rows[:3]}, "3 pictures show the board"),
        (
            {"poses": lambda rows: [{**row, "image": rows[0]["image"]} for row in rows]},
            "disagree by .* flange when the pictures were taken",
        ),
        ({"camera": {"K": K.tolist(), "width": 640, "height": 480}}, "is 848x480, but the camera 640x480"),
        ({"board": {"columns": 7, "rows": 5, "square_mm": 36}}, "is no board"),
    ],
)
def test_folders_with_a_mistake_are_refused(rehearsal, tmp_path, spoil, words):
    with pytest.raises(InputError, match=words):
        calibrate_folder(_spoilt(rehearsal, tmp_path, **spoil), IN_HAND)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "recipe"}, "its kind is 'recipe'"),
        ({"mode": "eye-in-foot"}, "must be eye-in-hand or eye-to-hand"),
        ({"T_camera": np.diag([1, 1, -1, 1]).tolist()}, "does not hold a rotation"),
        ({"date": "yesterday"}, "is damaged"),
        ({"date": "2026-11-21T12:00:00"}, "has no time zone"),
        ({"errors": {"pixels": 1}}, "is damaged"),
    ],
)
def test_damaged_calibrations_are_refused(rehearsal, tmp_path, change, words):
    calibration = calibrate_folder(rehearsal, IN_HAND)
    path = tmp_path / "calibration.json"
    calibration.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        load_calibration(path)


def test_a_calibration_belongs_to_its_camera(rehearsal):
    calibration = calibrate_folder(rehearsal, IN_HAND)
    calibration.require_camera("rehearsal")
    with pytest.raises(InputError, match="is of camera rehearsal, not of 000000000001"):
        calibration.require_camera("000000000001")
    with pytest.raises(ValueError, match="depends on T_base_flange"):
        calibration.T_base_camera()


def test_the_drawing_is_opencvs_board(tmp_path):
    drawn = np.full((180 * 12, 252 * 12), 255, np.uint8)
    for x, y, w, h in np.round(list_rectangles(BOARD) * 12).astype(int):
        drawn[y : y + h, x : x + w] = 0
    np.testing.assert_array_equal(drawn, BOARD.opencv.generateImage((252 * 12, 180 * 12), marginSize=0))


def test_the_png_is_an_a4_page_of_exact_size(tmp_path):
    draw_board(BOARD, tmp_path / "board.png")
    content = (tmp_path / "board.png").read_bytes()
    place = content.index(b"pHYs")
    across, down, unit = struct.unpack(">IIB", content[place + 4 : place + 13])
    assert struct.unpack(">I", content[place + 13 : place + 17])[0] == zlib.crc32(content[place : place + 13])
    page = cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE)
    assert unit == 1
    assert (page.shape[1] / across, page.shape[0] / down) == pytest.approx((0.297, 0.210))
    seen = detect_board(page, BOARD)
    assert len(seen.ids) == 24
    steps = np.diff(seen.pixels[np.argsort(seen.ids)].reshape(4, 6, 2)[:, :, 0], axis=1) / across
    np.testing.assert_allclose(steps, 0.036, atol=1e-6)


def test_the_pdf_is_an_a4_page_of_exact_size(tmp_path):
    draw_board(BOARD, tmp_path / "board.pdf")
    content = (tmp_path / "board.pdf").read_bytes()
    box = [float(side) for side in re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content).groups()]
    np.testing.assert_allclose(np.array(box) / 72 * 25.4, [297, 210], atol=1e-3)
    rectangles = np.array([[float(x) for x in line.split()[:4]] for line in content.splitlines() if line.endswith(b" re")]) / 72 * 25.4
    squares = rectangles[abs(rectangles[:, 2] - 36) < 1e-3]
    assert len(squares) == 18
    left, bottom = squares[:, :2].min(0)
    assert (squares[:, 0].max() + 36 - left, squares[:, 1].max() + 36 - bottom) == pytest.approx((252, 180), abs=1e-3)
    assert rectangles[:, 2].max() == pytest.approx(100, abs=1e-3)
    start = int(content.split(b"startxref\n")[1].split()[0])
    assert content[start : start + 4] == b"xref"
    offsets = [int(line.split()[0]) for line in content[start:].splitlines() if line.endswith(b" n ")]
    assert [content[offset : offset + 5] for offset in offsets] == [b"%d 0 o" % number for number in range(1, 6)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Board(rows=6), "an odd number of rows"),
        (lambda: Board(marker_m=0.036), "do not fit into squares"),
        (lambda: draw_board(Board(square_m=0.05, marker_m=0.03), Path("/nowhere/board.pdf")), "does not fit on an A4 page"),
        (lambda: draw_board(BOARD, Path("/nowhere/board.svg")), "must end in .pdf or .png"),
    ],
)
def test_boards_that_cannot_be_drawn_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_the_corners_of_a_rendered_board_are_found_below_a_tenth_of_a_pixel():
    T_camera_board = _pose((0.3, -0.2, 0.1), (-0.11, -0.08, 0.33))
    image, depth = render_board(BOARD, K, (848, 480), T_camera_board)
    sighting = detect_board(image, BOARD)
    assert len(sighting.ids) == 24
    assert np.linalg.norm(sighting.pixels - _project(BOARD.corners[sighting.ids], T_camera_board), axis=1).max() < 0.15
    u, v = np.round(sighting.pixels[0]).astype(int)
    point = np.linalg.inv(T_camera_board) @ np.array([*(depth[v, u] * np.linalg.inv(K) @ [u, v, 1]), 1])
    assert abs(point[2]) < 1e-6
    assert len(detect_board(np.full((480, 848, 3), 90, np.uint8), BOARD).ids) == 0


def test_a_picture_that_is_added_replaces_none(tmp_path, monkeypatch):
    """A person has taken a bad picture's row out of poses.json: the next picture is not written over that of another row."""
    folder = tmp_path / "pictures"
    image, depth = render_board(BOARD, K, (848, 480), _pose((0.3, -0.2, 0.1), (-0.11, -0.08, 0.33)))
    frame = CapturedFrame(np.repeat(image[..., None], 3, axis=2), depth / 1e-4, 1e-4, K, 0.0, "77", "D405")
    monkeypatch.setattr("invgraphics.commands.camera_arguments._open_camera", lambda _: _Camera(frame))
    words = ["calibrate", "add", str(folder), "--joints-deg", "0", "0", "0", "0", "0", "0"]
    for _ in range(3):
        assert main(words) == 0
    rows = json.loads((folder / "poses.json").read_text())
    (folder / "poses.json").write_text(json.dumps([rows[0], rows[2]]))
    (folder / "01.png").unlink()
    (folder / "02.png").write_bytes(b"the picture of row 2")
    assert main(words) == 0
    assert (folder / "02.png").read_bytes() == b"the picture of row 2"
    names = [row["image"] for row in json.loads((folder / "poses.json").read_text())]
    assert len(set(names)) == 3


def test_the_command_adds_solves_and_shows(tmp_path, monkeypatch, capsys):
    """Pictures that a camera would take, added one by one by the joints of the arm, solved, and shown."""
    X, Y = _pose((0.02, -0.3, 1.55), (0.012, -0.081, 0.043)), _pose((3.1, 0.04, 0.7), (-0.45, -0.12, 0.01))
    generator = np.random.default_rng(5)
    for view in _views(X, Y, generator, count=5):
        T_camera_board = np.linalg.inv(X) @ view.G @ Y
        image, depth = render_board(BOARD, K, (848, 480), T_camera_board)
        frame = CapturedFrame(np.repeat(image[..., None], 3, axis=2), depth / 1e-4, 1e-4, K, 0.0, "77", "D405")
        monkeypatch.setattr("invgraphics.commands.camera_arguments._open_camera", lambda _, frame=frame: _Camera(frame))
        monkeypatch.setattr("invgraphics.commands.calibrate.read_flange_pose", lambda _, G=view.G: np.linalg.inv(G))
        assert main(["calibrate", "add", str(tmp_path / "pictures"), "--joints-deg", "0", "0", "0", "0", "0", "0"]) == 0
    assert "04.png: 24 of 24 corners seen" in capsys.readouterr().out
    solve = ["calibrate", "solve", str(tmp_path / "pictures"), "--mode", "eye-in-hand", "--out", str(tmp_path / "c.json")]
    assert main(solve) == 0
    assert _difference(load_calibration(tmp_path / "c.json").T_camera, X)[0] < 0.3
    assert main(["calibrate", "show", str(tmp_path / "c.json")]) == 0
    out = capsys.readouterr().out
    assert "made 0.0 days ago, camera 77" in out
    assert "T_flange_camera (eye-in-hand)" in out


class _Camera:
    """Gives one picture."""

    def __init__(self, frame):
        self._frame = frame

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def capture(self):
        return self._frame
