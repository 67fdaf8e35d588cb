"""FewSOL (Jishnu Jaykumar et al. 2023): `real_objects` and `synthetic_objects`, each folder one object seen nine times.

`OBJECT/000000-color.jpg`, `000000-depth.png` (16-bit, millimetres), `000000-label-binary.png` (the object's mask), `000000-meta.mat`
(MATLAB 5: `intrinsic_matrix` and a pose) and `name.txt`. Real objects stand in the middle of a board of 18 AR markers, whose poses
(`ar_marker_KK`: x, y, z in metres, quaternion w, x, y, z, marker to camera) tell where the middle is: that is the object's pose, as the
dataset's own tools define it. No surface is published with the images.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import check_same_size, parse_depth, parse_intrinsics, parse_pose
from invgraphics.datasets.files import read_colour, read_depth, read_ids, require_file
from invgraphics.datasets.names import choose_number, choose_scene, name_image
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.transforms import invert, matrix_from_quaternion, rigid

_SPLITS = ("real_objects", "synthetic_objects")
_MILLIMETRE, _CENTIMETRE = 1e-3, 1e-2
_BOARD_CENTRE_CM = (35.2, 25.2)
_MARKERS_CM = (
    *((2.95, 2.95), (15.85, 2.95), (28.75, 2.95), (41.55, 2.95), (54.45, 2.95), (67.45, 2.95)),
    *((67.45, 13.75), (67.45, 25.00), (67.45, 36.20)),
    *((67.45, 47.45), (54.45, 47.45), (41.55, 47.45), (28.70, 47.45), (15.80, 47.45), (2.95, 47.45)),
    *((2.95, 36.75), (2.95, 25.55), (2.95, 14.25)),
)
"""Where the centre of each marker lies on the board: to the right of and below its upper left corner, centimetres (fewsol-toolkit)."""
_MATLAB_ERRORS = (
    *(ValueError, TypeError, LookupError, AttributeError, NotImplementedError, EOFError, OSError, MemoryError, OverflowError),
    *(struct.error, zlib.error, scipy.io.matlab.MatReadError),
)
"""What SciPy raises of files that are damaged."""


def is_fewsol(folder: Path) -> bool:
    """Whether a folder is FewSOL, or one of its parts."""
    return bool(_list_objects(folder))


def list_fewsol_images(folder: Path) -> list[tuple[str, str]]:
    """(object, image number) of every image, in order."""
    objects = _list_objects(folder)
    if not objects:
        raise InputError(f"{folder} is not FewSOL: it must hold {' or '.join(_SPLITS)}, or folders of objects with 000000-color.jpg, ...")
    return [(scene, str(number)) for scene in objects for number in _list_numbers(folder / scene)]


def load_fewsol_image(folder: Path, scene: str, image: str) -> FrameInput:
    """Reads one image with its mask; images of one object share the frame of the marker board (of the world, where it is synthetic)."""
    place, number, name = _locate(folder, scene, image)
    stem = f"{number:06d}"
    colour, raw = read_colour(place / f"{stem}-color.jpg"), read_depth(place / f"{stem}-depth.png")
    ids = read_ids(place / f"{stem}-label-binary.png")
    check_same_size({f"{stem}-color.jpg": tuple(colour.shape[:2]), f"{stem}-depth.png": raw.shape, f"{stem}-label-binary.png": ids.shape})
    if not (ids > 0).any():
        raise InputError(f"{place / stem}-label-binary.png is empty; it must mark the object")
    height, width = raw.shape
    meta = _read_meta(place / f"{stem}-meta.mat")
    K = parse_intrinsics(meta.get("intrinsic_matrix"), height, width, f"intrinsic_matrix of {place / stem}-meta.mat")
    depth, valid = parse_depth(raw, _MILLIMETRE, f"{place / stem}-depth.png", "the scale of FewSOL")
    observation = Observation(colour, depth, valid, torch.zeros(0, height, width) > 0, Camera(K, height, width, torch.eye(4)), name)
    observation = observation.with_masks((ids > 0)[None], (_read_name(place),))
    return FrameInput(observation, torch.zeros(0, 4), _find_camera(meta, place / f"{stem}-meta.mat"))


def load_fewsol_poses(folder: Path, scene: str, image: str) -> list[PoseTruth]:
    """The pose of the object, where its image tells one."""
    place, number, _ = _locate(folder, scene, image)
    path = place / f"{number:06d}-meta.mat"
    T_camera_object = _find_object(_read_meta(path), path)
    return [] if T_camera_object is None else [PoseTruth(0, _read_name(place), place.name, T_camera_object)]


def _list_objects(folder: Path) -> list[str]:
    parts = [part for part in _SPLITS if (folder / part).is_dir()]
    roots = {f"{part}/": folder / part for part in parts} or {"": folder}
    return [f"{prefix}{path.name}" for prefix, root in roots.items() for path in sorted(root.glob("*/")) if any(path.glob("*-meta.mat"))]


def _list_numbers(place: Path) -> list[int]:
    names = (path.name.removesuffix("-meta.mat") for path in place.glob("*-meta.mat"))
    return sorted(int(name) for name in names if name.isdigit())


def _locate(folder: Path, scene: str, image: str) -> tuple[Path, int, str]:
    """Folder of the object, number of the image, and what outputs call it."""
    place = folder / choose_scene(_list_objects(folder), scene, str(folder))
    numbers = _list_numbers(place)
    number = choose_number(numbers, image, str(place))
    return place, number, name_image(scene, number, alone=len(numbers) == 1)


def _read_name(place: Path) -> str:
    path = place / "name.txt"
    text = require_file(path).read_text(errors="replace").strip() if path.is_file() else ""
    return text.splitlines()[0].replace(" ", "_") if text else place.name


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        return scipy.io.loadmat(str(require_file(path)))
    except _MATLAB_ERRORS as error:
        raise InputError(f"{path} is not a MATLAB 5 file that can be read: {type(error).__name__}: {error}") from error


def _find_object(meta: dict[str, Any], path: Path) -> Float[Tensor, "4 4"] | None:
    """Object to camera: stated (synthetic objects), or the middle of the marker board."""
    if "objects_in_camera" in meta:
        poses = np.asarray(meta["objects_in_camera"])
        return parse_pose(poses[..., 0] if poses.ndim == 3 else poses, f"objects_in_camera of {path}")
    return _find_board(meta, path)


def _find_camera(meta: dict[str, Any], path: Path) -> Float[Tensor, "4 4"] | None:
    """Camera to the frame that the images of an object share: the world's (synthetic), or the marker board's."""
    if "objects_in_camera" in meta:
        return invert(parse_pose(meta["camera_pose"], f"camera_pose of {path}")) if "camera_pose" in meta else None
    T_camera_board = _find_board(meta, path)
    return None if T_camera_board is None else invert(T_camera_board)


def _find_board(meta: dict[str, Any], path: Path) -> Float[Tensor, "4 4"] | None:
    """The middle of the marker board to the camera, by the marker that agrees best with all others; None where no marker was seen.

    A marker proposes a middle; a proposal is as bad as the sum of the distances at which it puts the markers from where they were seen.
    """
    seen = {index: pose for key, pose in meta.items() if (index := _parse_marker(key)) is not None}
    if not seen:
        return parse_pose(meta["camera_pose"], f"camera_pose of {path}") if "camera_pose" in meta else None
    T_camera_marker = {index: _parse_marker_pose(pose, f"ar_marker_{index:02d} of {path}") for index, pose in seen.items()}
    T_marker_board = {index: _place_centre(index) for index in seen}
    proposals = [T_camera_marker[index] @ T_marker_board[index] for index in seen]
    errors = [sum(_distance(proposal @ invert(T_marker_board[index]), T_camera_marker[index]) for index in seen) for proposal in proposals]
    return proposals[int(np.argmin(errors))].float()


def _parse_marker(key: str) -> int | None:
    """The number of a marker of the board; None for any other entry."""
    digits = key.removeprefix("ar_marker_")
    return int(digits) if digits != key and digits.isdigit() and int(digits) < len(_MARKERS_CM) else None


def _parse_marker_pose(values: Any, where: str) -> Float[Tensor, "4 4"]:
    pose = np.asarray(values).reshape(-1)
    if pose.shape != (7,) or pose.dtype.kind not in "fiu" or not np.isfinite(pose).all() or not np.linalg.norm(pose[3:]) > 0.5:
        raise InputError(f"{where} is not a pose; it must be x, y, z in metres and a unit quaternion w, x, y, z")
    position, quaternion = torch.tensor(pose[:3].astype(float)), torch.tensor(pose[3:].astype(float))
    return rigid(matrix_from_quaternion(quaternion), position)


def _place_centre(index: int) -> Float[Tensor, "4 4"]:
    """The board's middle in a marker's frame (x right along the board, y up along it), metres."""
    (x, y), (centre_x, centre_y) = _MARKERS_CM[index], _BOARD_CENTRE_CM
    offset = torch.tensor([centre_x - x, -(centre_y - y), 0.0], dtype=torch.float64) * _CENTIMETRE
    return rigid(torch.eye(3, dtype=torch.float64), offset)


def _distance(a: Float[Tensor, "4 4"], b: Float[Tensor, "4 4"]) -> float:
    return float((a[:3, 3] - b[:3, 3]).norm())
