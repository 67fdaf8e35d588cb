"""Pictures of a calibration board that is not there, and a folder of them taken by an arm that is not there, with the truth."""

import json
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from invgraphics.datasets.files import write_image
from robot.calibration import CalibrationMode
from robot.calibration_board import Board, list_rectangles

_PIXELS_PER_MM = 6
_MARGIN_MM = 12
_OVERSAMPLING = 4
_WHITE, _BLACK, _TABLE = 225, 25, 120


def render_board(
    board: Board, K: Float[np.ndarray, "3 3"], size: tuple[int, int], T_camera_board: Float[np.ndarray, "4 4"]
) -> tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Grey image and depth (metres along z) of a board on a large grey table in its plane; `size` is (width, height)."""
    width, height = size
    texture = np.full([round((1000 * side + 2 * _MARGIN_MM) * _PIXELS_PER_MM) for side in reversed(board.size_m)], _WHITE, np.uint8)
    for x, y, w, h in np.round((list_rectangles(board) + np.array([_MARGIN_MM, _MARGIN_MM, 0, 0])) * _PIXELS_PER_MM).astype(int):
        texture[y : y + h, x : x + w] = _BLACK
    metres_per_pixel = 1e-3 / _PIXELS_PER_MM
    shift = 0.5 * metres_per_pixel - 1e-3 * _MARGIN_MM
    texture_to_board = np.array([[metres_per_pixel, 0, shift], [0, metres_per_pixel, shift], [0, 0, 1]])
    board_to_image = K @ T_camera_board[:3, [0, 1, 3]]
    offset = (_OVERSAMPLING - 1) / 2
    finer = np.array([[_OVERSAMPLING, 0, offset], [0, _OVERSAMPLING, offset], [0, 0, 1.0]])
    fine = cv2.warpPerspective(
        texture, finer @ board_to_image @ texture_to_board, (width * _OVERSAMPLING, height * _OVERSAMPLING), borderValue=_TABLE
    )
    image = fine.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING).mean(axis=(1, 3))
    return np.round(image).astype(np.uint8), _plane_depth(K, size, T_camera_board)


def write_rehearsal(
    folder: Path,
    mode: CalibrationMode,
    *,
    board: Board | None = None,
    pictures: int = 15,
    noise: float = 2.0,
    arm_noise_mm: float = 0.0,
    seed: int = 0,
) -> Float[np.ndarray, "4 4"]:
    """Writes a folder as `calibrate_folder` takes it, and gives the true `T_flange_camera` or `T_base_camera`.

    `noise` is the images' in 8-bit counts, `arm_noise_mm` how far the arm's own positions are off.
    """
    board = board or Board()
    generator = np.random.default_rng(seed)
    K, size = np.array([[447.0, 0.0, 424.6], [0.0, 447.0, 239.1], [0.0, 0.0, 1.0]]), (848, 480)
    T_camera, T_board = _true_poses(mode)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(pictures):
        T_camera_board = _look(board, generator)
        image, _ = render_board(board, K, size, T_camera_board)
        noisy = np.clip(np.round(image + noise * generator.standard_normal(image.shape)), 0, 255).astype(np.uint8)
        write_image(folder / f"{number:02d}.png", noisy)
        T_base_flange = _flange_pose(mode, T_camera, T_board, T_camera_board)
        T_base_flange[:3, 3] += 1e-3 * arm_noise_mm * generator.standard_normal(3)
        rows.append({"image": f"{number:02d}.png", "T_base_flange": T_base_flange.tolist()})
    (folder / "poses.json").write_text(json.dumps(rows, indent=1))
    (folder / "camera.json").write_text(json.dumps({"K": K.tolist(), "width": size[0], "height": size[1], "serial": "rehearsal"}))
    return T_camera


def _true_poses(mode: CalibrationMode) -> tuple[np.ndarray, np.ndarray]:
    if mode is CalibrationMode.EYE_IN_HAND:
        return _pose((0.02, -0.3, 1.55), (0.012, -0.081, 0.043)), _pose((3.1, 0.04, 0.7), (-0.45, -0.12, 0.01))
    return _pose((-2.3, 0.02, 1.6), (-0.75, 0.35, 0.4)), _pose((0.05, 3.0, 0.2), (-0.12, 0.09, 0.05))


def _flange_pose(mode: CalibrationMode, T_camera: np.ndarray, T_board: np.ndarray, T_camera_board: np.ndarray) -> np.ndarray:
    """Where the flange must be for the camera to see the board so."""
    if mode is CalibrationMode.EYE_IN_HAND:
        return T_board @ np.linalg.inv(T_camera @ T_camera_board)
    return T_camera @ T_camera_board @ np.linalg.inv(T_board)


def _look(board: Board, generator: np.random.Generator) -> np.ndarray:
    """A pose of the board before the camera: 0.28 to 0.42 m away, tilted by up to 35 degrees, turned by up to 40."""
    tilt, turn = np.radians(35) * generator.uniform(-1, 1, 2), np.radians(40) * generator.uniform(-1, 1)
    rotation = Rotation.from_euler("xyz", [*tilt, turn]).as_matrix()
    middle = np.array([*generator.uniform(-0.04, 0.04, 2), generator.uniform(0.28, 0.42)])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = middle - rotation @ np.array([board.size_m[0] / 2, board.size_m[1] / 2, 0.0])
    return pose


def _plane_depth(K: np.ndarray, size: tuple[int, int], T_camera_board: np.ndarray) -> np.ndarray:
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    normal = T_camera_board[:3, 2]
    along = rays @ normal
    depth = np.divide(normal @ T_camera_board[:3, 3], along, out=np.zeros_like(along), where=abs(along) > 1e-6)
    return np.where(depth > 0, depth, 0.0)


def _pose(rotation_vector: tuple[float, float, float], translation: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    pose[:3, 3] = translation
    return pose
