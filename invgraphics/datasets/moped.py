"""MOPED (Park et al. 2020, "LatentFusion"): objects scanned by an RGB-D camera that was led around them.

`OBJECT/{reference,evaluation}/SEQUENCE/` holds `color/000000.jpg`, `depth/000000.png` (16-bit, millimetres), `mask/000000.png` (the images
that have one are the dataset's), `intrinsics.json` (`intrinsic_matrix`: nine numbers, column after column), `scene/trajectory.log` (Open3D:
a line of numbers and a 4x4 matrix, camera to the sequence's world, for every image of the sequence) and
`registration/{manual,registration}.json` (`transform`: 4x4, the sequence's world to the object's own frame). `OBJECT/reference/` holds the
object's surface, `integrated_registered_processed.obj` or `integrated_raw.obj`, and the points of its papers' ADD, `pointcloud_eval.ply`.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import check_same_size, parse_depth, parse_intrinsics, parse_pose
from invgraphics.datasets.files import (
    find_image,
    read_colour,
    read_depth,
    read_ids,
    read_json,
    read_mesh,
    read_points,
    require_file,
    require_keys,
)
from invgraphics.datasets.names import choose_number, choose_scene, name_image
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.transforms import invert

_PARTS = ("reference", "evaluation")
_MILLIMETRE = 1e-3
_SURFACES = ("integrated_registered_processed.obj", "integrated_raw.obj")
_POINTS = "pointcloud_eval.ply"


def is_moped(folder: Path) -> bool:
    """Whether a folder is MOPED, or one object of it."""
    return bool(_list_sequences(folder))


def list_moped_images(folder: Path) -> list[tuple[str, str]]:
    """(sequence, image number) of every image with a mask, evaluation sequences only where there are any; in order."""
    sequences = _list_sequences(folder)
    if not sequences:
        raise InputError(f"{folder} is not MOPED: it must hold OBJECT/evaluation/SEQUENCE/ with color/, depth/, mask/, intrinsics.json")
    evaluated = [name for name in sequences if "/evaluation/" in f"/{name}"] or sequences
    return [(name, str(number)) for name in evaluated for number in _list_numbers(folder / name)]


def load_moped_image(folder: Path, scene: str, image: str) -> FrameInput:
    """Reads one image with its mask; all sequences of an object share the object's own frame."""
    place, number, name = _locate(folder, scene, image)
    stem = f"{number:06d}"
    colour_path, depth_path = find_image(place / "color", stem, (".jpg", ".png")), find_image(place / "depth", stem, (".png",))
    mask_path = find_image(place / "mask", stem, (".png",))
    colour, raw, mask = read_colour(colour_path), read_depth(depth_path), read_ids(mask_path) > 0
    check_same_size({str(colour_path): tuple(colour.shape[:2]), str(depth_path): raw.shape, str(mask_path): tuple(mask.shape)})
    if not mask.any():
        raise InputError(f"{mask_path} is empty; it must mark the object")
    height, width = raw.shape
    depth, valid = parse_depth(raw, _MILLIMETRE, str(depth_path), "the scale of MOPED")
    camera = Camera(_read_intrinsics(place / "intrinsics.json", height, width), height, width, torch.eye(4))
    observation = Observation(colour, depth, valid, torch.zeros(0, height, width) > 0, camera, name)
    observation = observation.with_masks(mask[None], (_find_object(place).name,))
    T_camera_object = _read_pose(place, number)
    return FrameInput(observation, torch.zeros(0, 4), None if T_camera_object is None else invert(T_camera_object))


def load_moped_poses(folder: Path, scene: str, image: str) -> list[PoseTruth]:
    """The pose of the object with its surface and the points of its papers' ADD, as far as they are there."""
    place, number, _ = _locate(folder, scene, image)
    T_camera_object = _read_pose(place, number)
    if T_camera_object is None:
        return []
    reference = _find_object(place) / "reference"
    name = _find_object(place).name
    return [PoseTruth(0, name, name, T_camera_object, _read_surface(reference), _read_points(reference / _POINTS))]


def _list_sequences(folder: Path) -> list[str]:
    found = [path.parent for part in _PARTS for level in ("", "*/") for path in folder.glob(f"{level}{part}/*/intrinsics.json")]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _list_numbers(place: Path) -> list[int]:
    return sorted(int(path.stem) for path in (place / "mask").glob("*.png") if path.stem.isdigit())


def _locate(folder: Path, scene: str, image: str) -> tuple[Path, int, str]:
    """Folder of the sequence, number of the image, and what outputs call it."""
    place = folder / choose_scene(_list_sequences(folder), scene, str(folder))
    numbers = _list_numbers(place)
    number = choose_number(numbers, image, str(place))
    return place, number, name_image(scene, number, alone=len(numbers) == 1)


def _find_object(place: Path) -> Path:
    return place.resolve().parents[1]


def _read_intrinsics(path: Path, height: int, width: int) -> Float[Tensor, "3 3"]:
    content = read_json(path)
    require_keys(content, ("intrinsic_matrix",), str(path))
    values = content["intrinsic_matrix"]
    columns = np.reshape(values, (3, 3)).T if isinstance(values, list) and len(values) == 9 else values
    return parse_intrinsics(columns, height, width, f"intrinsic_matrix of {path}")


def _read_pose(place: Path, number: int) -> Float[Tensor, "4 4"] | None:
    """Object to camera; None where the sequence has no trajectory."""
    path = place / "scene" / "trajectory.log"
    if not path.is_file():
        return None
    T_camera_sequence = invert(_read_trajectory(path, number))
    return T_camera_sequence @ invert(_read_registration(place / "registration"))


def _read_trajectory(path: Path, number: int) -> Float[Tensor, "4 4"]:
    """Camera to the sequence's world, of one image, from an Open3D trajectory: each image has five lines, of which the first is a head."""
    lines = require_file(path).read_text(errors="replace").split("\n")
    rows = lines[5 * number + 1 : 5 * number + 5]
    where = f"the camera of image {number} in {path}"
    try:
        values = np.array([[float(value) for value in row.split()] for row in rows]).reshape(4, 4)
    except ValueError as error:
        raise InputError(f"{where} is not there, or not four lines of four numbers after a line of heads") from error
    return parse_pose(values, where)


def _read_registration(folder: Path) -> Float[Tensor, "4 4"]:
    """The sequence's world to the object's own frame; the same where nothing is said."""
    for path in (folder / "manual.json", folder / "registration.json"):
        if path.is_file():
            content = read_json(path)
            require_keys(content, ("transform",), str(path))
            return parse_pose(content["transform"], f"transform of {path}")
    return torch.eye(4)


def _read_surface(reference: Path) -> Mesh | None:
    for name in _SURFACES:
        if (reference / name).is_file():
            return read_mesh(reference / name)
    return None


def _read_points(path: Path) -> Float[Tensor, "p 3"] | None:
    return read_points(path) if path.is_file() else None
