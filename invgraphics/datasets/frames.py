"""The frame folder: `rgb.png`, `depth.png`, `camera.json`, and optionally `mask.png`, `boxes.json`, `poses.json`."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import check_same_size, parse_boxes, parse_depth, parse_intrinsics, parse_pose, parse_rotation_translation
from invgraphics.datasets.files import find_image, read_colour, read_depth, read_ids, read_json, read_mesh, require_keys
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.observation import Observation

CAMERA_KEYS = ("K", "width", "height", "depth_scale_m")
POSE_KEYS = ("instance", "name", "mesh", "R", "t_m")


def load_frame_folder(folder: Path) -> FrameInput:
    """Reads a frame folder.

    `depth` may also be a `.tiff` or `.npy` (then possibly floating point), `rgb` a `.jpg`. Objects are numbered in ascending order of
    the ids in `mask.png`, else in the order of `boxes.json`. Where several images show one scene, `camera.json` may say where its camera
    stood: `T_world_camera`, 4x4, camera to a frame that the images share, metres.

    Raises:
        InputError: a file is missing, cannot be read, or contradicts another.
    """
    if not folder.is_dir():
        raise InputError(f"no such frame folder: {folder}; it must be a folder with rgb.png, depth.png and camera.json")
    colour_path = find_image(folder, "rgb", (".png", ".jpg", ".jpeg"))
    depth_path = find_image(folder, "depth", (".png", ".tiff", ".tif", ".npy"))
    colour, raw_depth, description = read_colour(colour_path), read_depth(depth_path), read_camera_description(folder / "camera.json")
    camera = parse_camera(description, folder / "camera.json", {str(colour_path): colour.shape[:2], str(depth_path): raw_depth.shape})
    depth, valid = parse_depth(raw_depth, description["depth_scale_m"], str(depth_path), "depth_scale_m")
    masks = _read_masks(folder / "mask.png", camera)
    observation = Observation(colour, depth, valid, masks, camera, name=folder.resolve().name)
    boxes = _read_boxes(folder / "boxes.json", camera) if len(masks) == 0 else torch.zeros(0, 4)
    pose = description.get("T_world_camera")
    T_world_camera = None if pose is None else parse_pose(pose, f"T_world_camera in {folder / 'camera.json'}")
    return FrameInput(observation.with_masks(masks), boxes, T_world_camera)


def load_frame_poses(folder: Path) -> list[PoseTruth]:
    """The accepted poses of `poses.json` with their models, in the order of the masks; empty where the frame has none.

    Mesh paths are relative to the folder that holds the folder of frames.
    """
    path = folder / "poses.json"
    if not path.is_file():
        return []
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path} is not a list; it must be a list of objects with the keys {', '.join(POSE_KEYS)}")
    for index, row in enumerate(rows):
        require_keys(row, POSE_KEYS, f"entry {index} of {path}")
    ids = [int(value) for value in _present_ids(folder / "mask.png")]
    truths = [
        _build_truth(row, ids, folder, f"entry {index} of {path}")
        for index, row in enumerate(rows)
        if row.get("accepted", True) and row["instance"] in ids
    ]
    return sorted(truths, key=lambda truth: truth.mask_index)


def list_frame_folders(folder: Path) -> list[Path]:
    """The frame folders in a folder, by name."""
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; it must hold frame folders")
    frames = sorted(path.parent for path in folder.glob("*/camera.json"))
    if not frames:
        raise InputError(f"{folder} holds no frame folders; each must have rgb.png, depth.png and camera.json")
    return frames


def read_camera_description(path: Path) -> dict[str, Any]:
    """A `camera.json` with the keys that it must have; what they hold is checked by `parse_camera` and `parse_depth`."""
    description = read_json(path)
    require_keys(description, CAMERA_KEYS, str(path))
    return description


def parse_camera(description: dict[str, Any], path: Path, image_sizes: dict[str, tuple[int, int]]) -> Camera:
    """The camera of a `camera.json`, where the images of the given (height, width), by name, have its size. Its pose is the identity."""
    for key in ("width", "height"):
        if not isinstance(description[key], int) or description[key] <= 0:
            raise InputError(f"{key} in {path} is {description[key]!r}; it must be a positive whole number of pixels")
    height, width = description["height"], description["width"]
    check_same_size({name: tuple(size) for name, size in image_sizes.items()} | {f"the camera of {path}": (height, width)})
    return Camera(parse_intrinsics(description["K"], height, width, f"K in {path}"), height, width, torch.eye(4))


def _read_masks(path: Path, camera: Camera) -> Bool[Tensor, "n h w"]:
    if not path.is_file():
        return torch.zeros(0, camera.height, camera.width, dtype=torch.bool)
    ids = read_ids(path)
    check_same_size({"the colour image": (camera.height, camera.width), str(path): tuple(ids.shape)})
    present = ids.unique()
    present = present[present > 0]
    if len(present) == 0:
        raise InputError(f"{path} is empty: it marks no object; give each object's pixels an id of 1 or more, or remove the file")
    return ids == present[:, None, None]


def _present_ids(path: Path) -> Tensor:
    ids = read_ids(path).unique()
    return ids[ids > 0]


def _read_boxes(path: Path, camera: Camera) -> Float[Tensor, "b 4"]:
    if not path.is_file():
        return torch.zeros(0, 4)
    return parse_boxes(read_json(path), camera.height, camera.width, str(path))


def _build_truth(row: dict[str, Any], ids: list[int], folder: Path, where: str) -> PoseTruth:
    root = folder.resolve().parents[1]
    path = root / str(row["mesh"])
    if not path.is_file():
        raise InputError(f"no such mesh: {path}, which {where} names; its paths are relative to {root}")
    pose = parse_rotation_translation(row["R"], row["t_m"], 1.0, where, ("R", "t_m"))
    return PoseTruth(ids.index(row["instance"]), str(row["name"]), str(row["mesh"]), pose, read_mesh(path))
