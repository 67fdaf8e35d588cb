"""`invgraphics calibrate ...`: where the camera is on the arm or beside it, from pictures of a board."""

import argparse
import json
from itertools import count
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from invgraphics.commands.camera_arguments import add_arm_arguments, add_camera_arguments, read_flange_pose, take_picture
from invgraphics.datasets.files import read_json, write_image
from invgraphics.errors import InputError
from robot.calibration import Calibration, CalibrationMode, calibrate_folder, load_board, load_calibration, read_poses
from robot.calibration_board import Board, detect_board, draw_board
from robot.hand_eye import LEAST_CORNERS
from robot.realsense import CapturedFrame
from robot.standins.board import write_rehearsal

_MODES = {mode.value: mode for mode in CalibrationMode}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own commands."""
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    board = steps.add_parser("board", help="draw the board to print")
    board.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .pdf or .png of an A4 page")
    board.add_argument("--columns", type=int, default=7, help="squares along the long side (default 7)")
    board.add_argument("--rows", type=int, default=5, help="squares along the short side, an odd number (default 5)")
    board.add_argument("--square-mm", type=float, default=36.0, help="side of a square (default 36); markers have three quarters of it")
    add = steps.add_parser("add", help="take a picture of the board and note where the arm stands; nothing moves")
    add.add_argument("folder", type=Path, metavar="FOLDER", help="of the pictures; made if it is not there")
    add_camera_arguments(add)
    add_arm_arguments(add)
    add.add_argument("--square-mm", type=float, help="side of a square as measured on the print (default: the folder's board, else 36)")
    solve = steps.add_parser("solve", help="calibrate from a folder of pictures")
    solve.add_argument("folder", type=Path, metavar="FOLDER", help="with camera.json, poses.json and the images")
    solve.add_argument("--mode", choices=sorted(_MODES), required=True, help="camera on the flange, or beside the arm")
    solve.add_argument("--out", type=Path, required=True, metavar="FILE", help="the calibration, JSON")
    show = steps.add_parser("show", help="check a calibration file and print it")
    show.add_argument("file", type=Path, metavar="FILE")
    rehearse = steps.add_parser("rehearse", help="write simulated pictures to practise on, with the truth")
    rehearse.add_argument("folder", type=Path, metavar="FOLDER")
    rehearse.add_argument("--mode", choices=sorted(_MODES), default="eye-in-hand")
    rehearse.add_argument("--seed", type=int, default=0, help="other pictures (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the step. 0 when it was done; 1 where a camera sends nothing."""
    steps = {"board": _draw, "add": _add, "solve": _solve, "show": _show, "rehearse": _rehearse}
    return steps[arguments.step](arguments)


def _draw(arguments: argparse.Namespace) -> int:
    board = _make_board(arguments.columns, arguments.rows, arguments.square_mm)
    draw_board(board, arguments.out)
    width, height = (1000 * side for side in board.size_m)
    print(f"wrote {arguments.out}: {board.columns}x{board.rows} squares of {arguments.square_mm:g} mm, {width:g} x {height:g} mm in all")
    print("print it at 100 %, measure the rule (100 mm) and the board, glue it on something stiff and flat")
    return 0


def _make_board(columns: int, rows: int, square_mm: float) -> Board:
    return Board(columns, rows, square_mm / 1000, 0.75 * square_mm / 1000)


def _add(arguments: argparse.Namespace) -> int:
    T_base_flange = read_flange_pose(arguments)
    if T_base_flange is None:
        raise InputError("say where the arm stands, with --robot HOST or --joints-deg")
    board = load_board(arguments.folder)
    if arguments.square_mm is not None:
        board = _make_board(board.columns, board.rows, arguments.square_mm)
    frame = take_picture(arguments)
    if frame is None:
        return 1
    corners = len(detect_board(frame.rgb, board).ids)
    if corners < LEAST_CORNERS:
        raise InputError(f"the picture shows {corners} corners of the board, {LEAST_CORNERS} are needed; nothing was added")
    name = _write_picture(arguments.folder, frame, board, T_base_flange)
    print(f"added {arguments.folder / name}: {corners} of {len(board.corners)} corners seen")
    return 0


def _write_picture(folder: Path, frame: CapturedFrame, board: Board, T_base_flange: np.ndarray) -> str:
    """Adds a picture under a name that no other has, and its pose; `InputError` where the folder is of another camera."""
    height, width = frame.counts.shape
    camera = {"K": frame.K.tolist(), "width": width, "height": height, "serial": frame.serial}
    path = folder / "camera.json"
    if path.is_file() and read_json(path) != camera:
        raise InputError(f"{folder} holds pictures of another camera, or of another size; start a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_poses(folder) if (folder / "poses.json").is_file() else []
    name = next(name for k in count(len(rows)) if not (folder / (name := f"{k:02d}.png")).exists())
    write_image(folder / name, frame.rgb)
    path.write_text(json.dumps(camera, indent=1) + "\n")
    content = {"columns": board.columns, "rows": board.rows, "square_m": board.square_m, "marker_m": board.marker_m}
    (folder / "board.json").write_text(json.dumps(content) + "\n")
    (folder / "poses.json").write_text(json.dumps([*rows, {"image": name, "T_base_flange": T_base_flange.tolist()}], indent=1) + "\n")
    return name


def _solve(arguments: argparse.Namespace) -> int:
    calibration = calibrate_folder(arguments.folder, _MODES[arguments.mode])
    calibration.save(arguments.out)
    _print(calibration)
    print(f"wrote {arguments.out}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    calibration = load_calibration(arguments.file)
    _print(calibration)
    print(f"made {calibration.age_days():.1f} days ago, camera {calibration.camera.serial}")
    return 0


def _rehearse(arguments: argparse.Namespace) -> int:
    if (arguments.folder / "poses.json").exists():
        raise InputError(f"{arguments.folder} holds pictures already; name another folder")
    T_camera = write_rehearsal(arguments.folder, _MODES[arguments.mode], seed=arguments.seed)
    print(f"wrote {arguments.folder}; the truth is")
    print(_format_pose(T_camera))
    return 0


def _print(calibration: Calibration) -> None:
    console = Console(highlight=False, width=100)
    table = Table(title="pictures", title_justify="left")
    table.add_column("picture")
    table.add_column("error, pixels", justify="right")
    table.add_column("")
    for name in sorted({*calibration.pictures, *calibration.left_out}):
        error = calibration.pictures.get(name)
        reason = calibration.left_out.get(name)
        table.add_row(name, "" if error is None else f"{error:.2f}", f"left out: {reason}" if reason else "")
    console.print(table)
    errors = calibration.errors
    parent = "flange" if calibration.mode is CalibrationMode.EYE_IN_HAND else "base"
    print(f"T_{parent}_camera ({calibration.mode.value}):")
    print(_format_pose(calibration.T_camera))
    print(f"reprojection {errors.pixels:.2f} pixels, {errors.left_out_pixels:.2f} for pictures left out in turn")
    print(f"standard error of the camera's pose: {errors.translation_mm:.2f} mm, {errors.rotation_deg:.3f} degrees")
    print(f"standard error of a point seen at {errors.distance_m:.2f} m: {errors.seen_mm:.2f} mm")
    print(f"single pictures put the board within {errors.board_mm:.2f} mm and {errors.board_deg:.2f} degrees (root mean square)")


def _format_pose(T: np.ndarray) -> str:
    return "\n".join("  " + "  ".join(f"{value:9.5f}" for value in row) for row in T)
