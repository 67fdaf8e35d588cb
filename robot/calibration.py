"""The calibration of a camera to an arm: the folder of pictures that it is solved from, and the file that keeps it.

A folder holds `camera.json` (`K`, `width`, `height`, and `serial` where known), `poses.json` (a list of `image`, a file in the folder,
and either `T_base_flange`, 4x4 and metres, or `joints`, six radians of a UR5), `board.json` (unless the board is the usual one) and the
images, which must be undistorted.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from invgraphics.datasets.checks import parse_intrinsics, parse_pose
from invgraphics.datasets.files import read_colour, read_json, require_file, require_keys
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import srgb_from_linear
from robot.calibration_board import Board, detect_board
from robot.hand_eye import LEAST_CORNERS, View, fit_hand_eye, judge
from robot.kinematics import forward_kinematics

_KIND = "invgraphics hand-eye calibration"
_KEYS = ("kind", "mode", "date", "T_camera", "T_board", "camera", "board", "errors", "pictures", "left_out")
_CAMERA_KEYS = ("K", "width", "height")
_WORST_PIXELS = 3.0
"""Reprojection error beyond which a calibration is of no use: some 2 mm at 0.3 m."""


class CalibrationMode(Enum):
    """Where the camera is."""

    EYE_IN_HAND = "eye-in-hand"
    """On the flange; the board lies still."""
    EYE_TO_HAND = "eye-to-hand"
    """Beside the arm; the board is on the flange."""


@dataclass(frozen=True)
class CalibrationCamera:
    """The camera that was calibrated."""

    K: Float[np.ndarray, "3 3"]
    """Pixels."""
    width: int
    height: int
    serial: str = "unknown"


@dataclass(frozen=True)
class CalibrationErrors:
    """How far a calibration can be trusted."""

    pixels: float
    """Root mean square reprojection error."""
    left_out_pixels: float
    """The same of each picture under the calibration by all the others."""
    translation_mm: float
    """Standard error of the camera's position (jackknife over the pictures)."""
    rotation_deg: float
    """Standard error of its orientation."""
    board_mm: float
    """Root mean square distance between where the board is and where single pictures put it."""
    board_deg: float
    seen_mm: float = float("nan")
    """Standard error of where a point is that the camera sees at `distance_m`: position and orientation err together and cancel in part.
    Not a number where that was not worked out."""
    distance_m: float = float("nan")
    """Mean distance of the boards."""


@dataclass(frozen=True)
class Calibration:
    """Where the camera is, when that was found, and how well."""

    mode: CalibrationMode
    T_camera: Float[np.ndarray, "4 4"]
    """`T_flange_camera` (eye-in-hand) or `T_base_camera` (eye-to-hand), metres; the camera frame is OpenCV's."""
    T_board: Float[np.ndarray, "4 4"]
    """`T_base_board` or `T_flange_board`, metres."""
    camera: CalibrationCamera
    board: Board
    errors: CalibrationErrors
    pictures: dict[str, float]
    """Reprojection error of every picture, pixels."""
    left_out: dict[str, str]
    """Pictures that were not used, and why."""
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """ISO 8601, UTC."""

    def T_base_camera(self, T_base_flange: Float[np.ndarray, "4 4"] | None = None) -> Float[np.ndarray, "4 4"]:
        """The camera's pose in the arm's base frame; with the camera on the flange it takes the flange's pose then."""
        if self.mode is CalibrationMode.EYE_TO_HAND:
            return self.T_camera
        if T_base_flange is None:
            raise ValueError("the camera is on the flange: where it is depends on T_base_flange")
        return T_base_flange @ self.T_camera

    def require_camera(self, serial: str) -> None:
        """`InputError` unless the calibration is that of the camera with this serial number."""
        if self.camera.serial not in ("unknown", serial):
            raise InputError(f"the calibration of {self.date} is of camera {self.camera.serial}, not of {serial}; calibrate that one")

    def age_days(self) -> float:
        """Days since it was made."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.date)).total_seconds() / 86400

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        camera = {**asdict(self.camera), "K": self.camera.K.tolist()}
        content = {
            "kind": _KIND,
            "mode": self.mode.value,
            "date": self.date,
            "T_camera": self.T_camera.tolist(),
            "T_board": self.T_board.tolist(),
            "camera": camera,
            "board": asdict(self.board),
            "errors": asdict(self.errors),
            "pictures": self.pictures,
            "left_out": self.left_out,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")


def load_calibration(path: Path) -> Calibration:
    """Reads and checks what `Calibration.save` wrote.

    Raises:
        InputError: it is no calibration, or not a valid one.
    """
    content = read_json(require_file(path))
    require_keys(content, _KEYS, str(path))
    if content["kind"] != _KIND:
        raise InputError(f"{path} is not a calibration: its kind is {content['kind']!r}; `invgraphics calibrate solve` writes one")
    modes = {mode.value: mode for mode in CalibrationMode}
    if content["mode"] not in modes:
        raise InputError(f"the mode of {path} is {content['mode']!r}; it must be {' or '.join(modes)}")
    try:
        date = datetime.fromisoformat(content["date"])
        errors, board = CalibrationErrors(**content["errors"]), Board(**content["board"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; calibrate again") from error
    if date.tzinfo is None:
        raise InputError(f"the date of {path}, {content['date']}, has no time zone; it must be like 2026-11-21T12:00:00+00:00")
    return Calibration(
        modes[content["mode"]],
        parse_pose(content["T_camera"], f"T_camera in {path}").double().numpy(),
        parse_pose(content["T_board"], f"T_board in {path}").double().numpy(),
        _parse_camera(content["camera"], f"camera in {path}"),
        board,
        errors,
        content["pictures"],
        content["left_out"],
        content["date"],
    )


def calibrate_folder(folder: Path, mode: CalibrationMode) -> Calibration:
    """Calibrates from a folder of pictures and poses.

    Raises:
        InputError: a file is missing or wrong, too few pictures show the board, or the arm moved too little.
    """
    camera = _parse_camera(read_json(require_file(folder / "camera.json")), str(folder / "camera.json"))
    board = load_board(folder)
    views, left_out = _read_views(folder, camera, board, mode)
    fit = fit_hand_eye(views, camera.K)
    if fit.pixels > _WORST_PIXELS:
        raise InputError(_explain_disagreement(folder, views, camera.K, board, mode, fit.pixels))
    solution = judge(views, camera.K, fit)
    left_out |= {name: f"it disagrees with the others by {solution.pixel_errors[name]:.1f} pixels" for name in solution.outliers}
    errors = CalibrationErrors(
        pixels=solution.pixels,
        left_out_pixels=solution.left_out_pixels,
        translation_mm=solution.translation_spread_mm,
        rotation_deg=solution.rotation_spread_deg,
        seen_mm=solution.seen_spread_mm,
        distance_m=solution.distance,
        board_mm=solution.board_mm,
        board_deg=solution.board_deg,
    )
    return Calibration(mode, solution.X, solution.Y, camera, board, errors, solution.pixel_errors, left_out)


def load_board(folder: Path) -> Board:
    """The board of a folder: that of `board.json`, else the usual one."""
    path = folder / "board.json"
    if not path.is_file():
        return Board()
    try:
        return Board(**read_json(path))
    except TypeError as error:
        raise InputError(f"{path} is no board: {error}; it has columns, rows, square_m and marker_m") from error


def read_poses(folder: Path) -> list[dict[str, Any]]:
    """The rows of `poses.json`."""
    path = require_file(folder / "poses.json")
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path} is not a list; it must be a list of objects with image and T_base_flange or joints")
    return rows


def _read_views(folder: Path, camera: CalibrationCamera, board: Board, mode: CalibrationMode) -> tuple[list[View], dict[str, str]]:
    """The pictures that show the board, and why the others do not count."""
    views, left_out = [], {}
    for index, row in enumerate(read_poses(folder)):
        where = f"entry {index} of {folder / 'poses.json'}"
        require_keys(row, ("image",), where)
        T_base_flange = _parse_flange(row, where)
        sighting = detect_board(_read_image(folder / row["image"], camera), board)
        if len(sighting.ids) < LEAST_CORNERS:
            left_out[row["image"]] = f"it shows {len(sighting.ids)} corners of the board, {LEAST_CORNERS} are needed"
            continue
        G = np.linalg.inv(T_base_flange) if mode is CalibrationMode.EYE_IN_HAND else T_base_flange
        views.append(View(row["image"], G, board.corners[sighting.ids], sighting.pixels))
    return views, left_out


def _explain_disagreement(
    folder: Path, views: list[View], K: Float[np.ndarray, "3 3"], board: Board, mode: CalibrationMode, pixels: float
) -> str:
    other = next(candidate for candidate in CalibrationMode if candidate is not mode)
    turned_round = [replace(view, G=np.linalg.inv(view.G)) for view in views]
    fits_other = fit_hand_eye(turned_round, K).pixels < min(_WORST_PIXELS, pixels / 3)
    likely = (
        f"they fit {other.value}: is that where the camera is?"
        if fits_other
        else f"are the poses those of the flange when the pictures were taken, and are the squares {1000 * board.square_m:g} mm?"
    )
    return f"the pictures in {folder} and the poses disagree by {pixels:.1f} pixels (at most {_WORST_PIXELS:g} will do); {likely}"


def _read_image(path: Path, camera: CalibrationCamera) -> np.ndarray:
    colour = read_colour(require_file(path))
    height, width = colour.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise InputError(f"{path} is {width}x{height}, but the camera {camera.width}x{camera.height}")
    return np.round(255 * srgb_from_linear(colour).numpy()).astype(np.uint8)


def _parse_flange(row: dict[str, Any], where: str) -> Float[np.ndarray, "4 4"]:
    if "T_base_flange" in row:
        return parse_pose(row["T_base_flange"], f"T_base_flange of {where}").double().numpy()
    require_keys(row, ("joints",), f"{where}, which has no T_base_flange,")
    joints = row["joints"]
    if not isinstance(joints, list) or len(joints) != 6 or not all(isinstance(joint, int | float) for joint in joints):
        raise InputError(f"the joints of {where} are {joints!r}; they must be six numbers, radians")
    if max(abs(joint) for joint in joints) > 2 * np.pi:
        raise InputError(f"the joints of {where} reach {max(map(abs, joints)):g}; they must be radians, not degrees")
    return forward_kinematics(np.array(joints, dtype=np.float64))


def _parse_camera(content: Any, where: str) -> CalibrationCamera:
    require_keys(content, _CAMERA_KEYS, where)
    width, height = content["width"], content["height"]
    if not all(isinstance(side, int) and side > 0 for side in (width, height)):
        raise InputError(f"the size in {where} is {width!r}x{height!r}; it must be two positive whole numbers")
    K = parse_intrinsics(content["K"], height, width, f"K of {where}").double().numpy()
    return CalibrationCamera(K, width, height, str(content.get("serial", "unknown")))
