"""Hand-eye calibration: where a camera is, from pictures of a board that arm or camera moves about.

Both set-ups are one problem. With the camera on the flange, X is `T_flange_camera`, Y is `T_base_board`, and G of a picture is
`T_flange_base`; with the camera beside the arm and the board on the flange, X is `T_base_camera`, Y is `T_flange_board`, and G is
`T_base_flange`. The board is then seen at `T_camera_board = X^-1 G Y`. The start is Shah's closed form (Shah 2013, "Solving the
robot-world/hand-eye calibration problem using the Kronecker product"), which OpenCV 4 has as `CALIB_ROBOT_WORLD_HAND_EYE_SHAH` and the
Python module of OpenCV 5 has not; the result minimises what the corners are off in the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from invgraphics.errors import InputError

LEAST_PICTURES = 5
"""Two more than the equations need, so that a wrong one shows."""
LEAST_CORNERS = 6
"""Of a picture, so that a wrong one shows: four fix the board's pose."""
_LEAST_TURN = np.radians(8.0)
"""Least spread of the rotations about the second of their axes, radians: about that of a turn by 15 degrees."""
_HUBER_PIXELS = 1.0
"""Error of a corner beyond which it counts linearly."""
_MOST_STEPS = 60
"""Evaluations of the refinement at most."""
_OUTLIER_FACTOR, _OUTLIER_PIXELS = 4.0, 1.0
"""A picture is left out whose error is above so many times the median and above so many pixels."""


@dataclass(frozen=True)
class View:
    """A board as one picture shows it."""

    name: str
    G: Float[np.ndarray, "4 4"]
    """`T_flange_base` (camera on the flange) or `T_base_flange` (camera beside the arm), metres."""
    points: Float[np.ndarray, "n 3"]
    """Corners in the board's frame, metres."""
    pixels: Float[np.ndarray, "n 2"]
    """Where they are in the undistorted image."""


@dataclass(frozen=True)
class HandEyeSolution:
    """The result, and how well the pictures agree with it."""

    X: Float[np.ndarray, "4 4"]
    """`T_flange_camera` or `T_base_camera`, metres."""
    Y: Float[np.ndarray, "4 4"]
    """`T_base_board` or `T_flange_board`, metres."""
    pixel_errors: dict[str, float]
    """Root mean square distance of the corners from where they should be, pixels, by picture, outliers included."""
    outliers: tuple[str, ...]
    """Pictures that disagree with the others and were left out."""
    translation_spread_mm: float
    """Standard error of X's position by the jackknife: each picture left out in turn, millimetres."""
    rotation_spread_deg: float
    """The same of its orientation, degrees."""
    seen_spread_mm: float
    """The same of a point that the camera sees straight ahead at `distance`, millimetres: the two errors above cancel there in part."""
    distance: float
    """Mean distance of the boards, metres."""
    left_out_pixels: float
    """Root mean square error of each picture under the calibration by all others, pixels."""
    board_mm: float
    """Root mean square distance between where the board is and where single pictures put it, millimetres."""
    board_deg: float
    """The same of its orientation, degrees."""

    @property
    def pixels(self) -> float:
        """Root mean square reprojection error of the pictures used."""
        used = [error for name, error in self.pixel_errors.items() if name not in self.outliers]
        return float(np.sqrt(np.mean(np.square(used))))


@dataclass(frozen=True)
class HandEyeFit:
    """A calibration that is not judged yet."""

    X: Float[np.ndarray, "4 4"]
    """As in `HandEyeSolution`."""
    Y: Float[np.ndarray, "4 4"]
    kept: tuple[int, ...]
    """Places of the pictures that agree."""
    errors: Float[np.ndarray, " n"]
    """Root mean square error of every picture, pixels."""

    @property
    def pixels(self) -> float:
        """Root mean square reprojection error of the pictures used."""
        return float(np.sqrt(np.mean(np.square(self.errors[list(self.kept)]))))


def solve_hand_eye(views: Sequence[View], K: Float[np.ndarray, "3 3"]) -> HandEyeSolution:
    """Calibrates from pictures with the pinhole camera `K`, and judges the result.

    Raises:
        InputError: there are too few pictures or corners, or the arm turned too little or about one axis only.
    """
    return judge(views, K, fit_hand_eye(views, K))


def fit_hand_eye(views: Sequence[View], K: Float[np.ndarray, "3 3"]) -> HandEyeFit:
    """The closed form, refined, without pictures that disagree with most."""
    _require_enough(views)
    _require_turns(views)
    poses = np.stack([locate_board(view, K) for view in views])
    kept = list(range(len(views)))
    while True:
        X, Y = solve_closed_form(np.stack([views[k].G for k in kept]), poses[kept])
        X, Y = _refine([views[k] for k in kept], K, X, Y)
        errors = np.array([_pixel_error(view, K, X, Y) for view in views])
        limit = max(_OUTLIER_FACTOR * float(np.median(errors[kept])), _OUTLIER_PIXELS)
        agreeing = [k for k in kept if errors[k] <= limit]
        if agreeing == kept or len(agreeing) < LEAST_PICTURES:
            return HandEyeFit(X, Y, tuple(kept), errors)
        kept = agreeing
        _require_turns([views[k] for k in kept])


def judge(views: Sequence[View], K: Float[np.ndarray, "3 3"], fit: HandEyeFit) -> HandEyeSolution:
    """How well the pictures agree with a fit, each left out in turn."""
    X, Y, kept = fit.X, fit.Y, fit.kept
    others, left_out = [], []
    for k in kept:
        X_k, Y_k = _refine([views[j] for j in kept if j != k], K, X, Y)
        others.append(X_k)
        left_out.append(_pixel_error(views[k], K, X_k, Y_k))
    positions = np.stack([other[:3, 3] for other in others])
    turns = Rotation.from_matrix(np.stack([other[:3, :3] @ X[:3, :3].T for other in others])).as_rotvec()
    boards = np.stack([locate_board(views[k], K) for k in kept])
    distance = float(np.mean([(board[2, :3] @ views[k].points.mean(0)) + board[2, 3] for k, board in zip(kept, boards, strict=True)]))
    ahead = np.stack([other[:3, 2] * distance + other[:3, 3] for other in others])
    T_Y_seen = np.stack([np.linalg.inv(Y) @ np.linalg.inv(views[k].G) @ X @ board for k, board in zip(kept, boards, strict=True)])
    seen_turns = Rotation.from_matrix(T_Y_seen[:, :3, :3]).as_rotvec()
    return HandEyeSolution(
        X,
        Y,
        {view.name: float(error) for view, error in zip(views, fit.errors, strict=True)},
        tuple(view.name for k, view in enumerate(views) if k not in kept),
        translation_spread_mm=1e3 * _jackknife(positions),
        rotation_spread_deg=float(np.degrees(_jackknife(turns))),
        seen_spread_mm=1e3 * _jackknife(ahead),
        distance=distance,
        left_out_pixels=float(np.sqrt(np.mean(np.square(left_out)))),
        board_mm=1e3 * float(np.sqrt((T_Y_seen[:, :3, 3] ** 2).sum(1).mean())),
        board_deg=float(np.degrees(np.sqrt((seen_turns**2).sum(1).mean()))),
    )


def solve_closed_form(
    G: Float[np.ndarray, "n 4 4"], T_camera_board: Float[np.ndarray, "n 4 4"]
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "4 4"]]:
    """X and Y with `G Y = X T_camera_board`, rotations first: vec(R_G R_Y R_B^T) = (R_B kron R_G) vec(R_Y) = vec(R_X).

    The sum of those 9x9 matrices maps the one rotation to n times the other, which are so its first pair of singular vectors.
    """
    R_G, R_B = G[:, :3, :3], T_camera_board[:, :3, :3]
    left, _, right = np.linalg.svd(sum(np.kron(b, g) for g, b in zip(R_G, R_B, strict=True)))
    R_X, R_Y = _nearest_rotation(left[:, 0]), _nearest_rotation(right[0])
    rows = np.concatenate([-np.broadcast_to(np.eye(3), R_G.shape), R_G], axis=2).reshape(-1, 6)
    sides = (T_camera_board[:, :3, 3] @ R_X.T - G[:, :3, 3]).reshape(-1)
    translations, *_ = np.linalg.lstsq(rows, sides, rcond=None)
    return _rigid(R_X, translations[:3]), _rigid(R_Y, translations[3:])


def locate_board(view: View, K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4 4"]:
    """`T_camera_board` by one picture alone."""
    found, turn, shift = cv2.solvePnP(view.points, view.pixels, K, None, flags=cv2.SOLVEPNP_IPPE)
    if not found:
        raise InputError(f"the board cannot be located in {view.name}: its corners lie on a line")
    turn, shift = cv2.solvePnPRefineLM(view.points, view.pixels, K, None, turn, shift)
    return _rigid(cv2.Rodrigues(turn)[0], shift.reshape(3))


def rotation_spread(rotations: Float[np.ndarray, "n 3 3"]) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """How far rotations spread about three axes (root mean square of their turns from one another, radians, largest first), and the axes.

    The axes are columns, in the frame that the rotations start from.
    """
    first, second = np.triu_indices(len(rotations), 1)
    turns = Rotation.from_matrix(np.swapaxes(rotations[first], 1, 2) @ rotations[second]).as_rotvec()
    values, axes = np.linalg.eigh(turns.T @ turns / len(turns))
    return np.sqrt(np.maximum(values[::-1], 0.0)), axes[:, ::-1]


def _require_enough(views: Sequence[View]) -> None:
    if len(views) < LEAST_PICTURES:
        raise InputError(f"{len(views)} pictures show the board; at least {LEAST_PICTURES} are needed, and 15 are better")
    for view in views:
        if len(view.points) < LEAST_CORNERS:
            raise InputError(f"{view.name} shows {len(view.points)} corners of the board; a picture needs at least {LEAST_CORNERS}")


def _require_turns(views: Sequence[View]) -> None:
    spread, axes = rotation_spread(np.stack([view.G[:3, :3] for view in views]))
    if spread[0] < _LEAST_TURN:
        degrees = np.degrees(spread[0])
        raise InputError(f"the arm hardly turned between the pictures ({degrees:.1f} degrees); tilt the hand by 20 to 40 degrees, each way")
    if spread[1] < _LEAST_TURN:
        axis = ", ".join(f"{value:.2f}" for value in axes[:, 0] * np.sign(axes[np.argmax(abs(axes[:, 0])), 0]))
        raise InputError(
            f"the arm turned about one axis only, ({axis}) where the board is fixed, so that the camera's place along it is unknown; "
            "add pictures with the hand tilted by 20 degrees or more about two other axes"
        )


def _refine(views: Sequence[View], K: np.ndarray, X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X and Y with the least sum of squared pixel errors, large ones counted less (Huber)."""
    G = np.concatenate([np.broadcast_to(view.G, (len(view.points), 4, 4)) for view in views])
    points = np.concatenate([view.points for view in views])
    pixels = np.concatenate([view.pixels for view in views])

    def residuals(step: np.ndarray) -> np.ndarray:
        return (_project(points, G, K, _moved(X, step[:6]), _moved(Y, step[6:])) - pixels).ravel()

    scale = np.tile([0.1, 0.1, 0.1, 1.0, 1.0, 1.0], 2)
    start = np.zeros(12)
    result = least_squares(residuals, start, loss="huber", f_scale=_HUBER_PIXELS, x_scale=scale, max_nfev=_MOST_STEPS)
    return _moved(X, result.x[:6]), _moved(Y, result.x[6:])


def _jackknife(values: Float[np.ndarray, "n 3"]) -> float:
    """Standard error of a vector, from its values with each observation left out (Efron 1982), as a length."""
    count = len(values)
    return float(np.sqrt((count - 1) / count * ((values - values.mean(0)) ** 2).sum()))


def _pixel_error(view: View, K: np.ndarray, X: np.ndarray, Y: np.ndarray) -> float:
    return float(np.sqrt(((_project(view.points, view.G, K, X, Y) - view.pixels) ** 2).sum(1).mean()))


def _project(points: np.ndarray, G: np.ndarray, K: np.ndarray, X: np.ndarray, Y: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Pixels of points of the board; `G` is one pose, or one for every point."""
    T_camera_board = np.linalg.inv(X) @ G @ Y
    seen = (T_camera_board[..., :3, :3] @ points[:, :, None])[..., 0] + T_camera_board[..., :3, 3]
    return seen[:, :2] / seen[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]


def _moved(T: np.ndarray, step: np.ndarray) -> np.ndarray:
    """A pose shifted by the step's first three numbers (metres), its rotation turned by the other three (radians, about its own axes)."""
    return _rigid(T[:3, :3] @ Rotation.from_rotvec(step[3:]).as_matrix(), T[:3, 3] + step[:3])


def _nearest_rotation(columns: Float[np.ndarray, "9"]) -> Float[np.ndarray, "3 3"]:
    """The rotation nearest to a multiple of a matrix that is given column by column."""
    matrix = columns.reshape(3, 3, order="F")
    left, _, right = np.linalg.svd(matrix * np.sign(np.linalg.det(matrix)))
    return left @ right


def _rigid(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, translation
    return T
