"""Datasets in the BOP layout (bop.felk.cvut.cz, "BOP format"): `DATASET/SPLIT/SCENE/{rgb,depth,mask_visib}/`, `DATASET/models*/`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import (
    check_same_size,
    make_disjoint,
    parse_depth,
    parse_intrinsics,
    parse_pose,
    parse_rotation_translation,
)
from invgraphics.datasets.files import find_image, read_colour, read_depth, read_ids, read_json, read_mesh, require_keys
from invgraphics.datasets.names import choose_number, choose_scene, name_image
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.symmetries import RotationalSymmetry, build_symmetries
from invgraphics.transforms import invert

_MILLIMETRE = 1e-3
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_LEAST_VISIBLE = 0.1
"""Share of an object's silhouette that must be visible for BOP to count it."""
_MODEL_FOLDERS = ("models_eval", "models", "models_cad")


def load_bop_image(dataset: Path, scene_id: str, image_id: str) -> FrameInput:
    """Reads one image; masks are `mask_visib` in the order of `scene_gt.json` (none where the dataset keeps its truth to itself).

    Args:
        dataset: folder of the dataset (its split is found), or of one of its splits.
        scene_id: name of the scene folder, leading zeros or not.
        image_id: number of the image, leading zeros or not.
    """
    scene = _find_scene(dataset, scene_id)
    key = _find_image_key(scene, image_id)
    stem = f"{int(key):06d}"
    description = _read_scene_camera(scene)[key]
    where = f"image {key} in {scene / 'scene_camera.json'}"
    require_keys(description, ("cam_K", "depth_scale"), where)
    colour_path = find_image(scene / ("rgb" if (scene / "rgb").is_dir() else "gray"), stem, _IMAGE_SUFFIXES)
    depth_path = find_image(scene / "depth", stem, _IMAGE_SUFFIXES)
    colour, raw = read_colour(colour_path), read_depth(depth_path)
    check_same_size({str(colour_path): tuple(colour.shape[:2]), str(depth_path): raw.shape})
    height, width = raw.shape
    depth, valid = parse_depth(raw, description["depth_scale"], str(depth_path), "depth_scale", _MILLIMETRE)
    camera = Camera(parse_intrinsics(_square(description["cam_K"]), height, width, f"cam_K of {where}"), height, width, torch.eye(4))
    objects = _read_objects(scene, key)
    masks = _read_masks(scene, stem, len(objects), height, width)
    names = _read_object_names(_find_dataset_root(scene))
    name = name_image(scene.name, int(key), alone=len(_read_scene_camera(scene)) == 1)
    observation = Observation(colour, depth, valid, masks, camera, name)
    labels = tuple(names.get(row["obj_id"], f"obj_{row['obj_id']:06d}") for row in objects)
    return FrameInput(observation.with_masks(masks, labels), torch.zeros(0, 4), _parse_camera_pose(description, where))


def _parse_camera_pose(description: dict[str, Any], where: str) -> Float[Tensor, "4 4"] | None:
    """The camera in the scene's world frame, from `cam_R_w2c` and `cam_t_w2c` (mm), which BOP has for some datasets."""
    names = ("cam_R_w2c", "cam_t_w2c")
    if any(name not in description for name in names):
        return None
    return invert(parse_rotation_translation(*(description[name] for name in names), _MILLIMETRE, where, names))


def load_bop_poses(dataset: Path, scene_id: str, image_id: str) -> list[PoseTruth]:
    """The true poses of an image's objects with their models, in the order of `scene_gt.json`; empty where they are not published.

    Counted are those that `test_targets_bop19.json` names, of equal objects the most visible ones; without that file, those of which a
    tenth is visible. Where `models_info.json` does not describe an object, its symmetries are not known.
    """
    scene = _find_scene(dataset, scene_id)
    key = _find_image_key(scene, image_id)
    root = _find_dataset_root(scene)
    names, information, rows = _read_object_names(root), _read_model_information(root), _read_objects(scene, key)
    counted = _find_counted(root, scene, key, rows)
    truths = []
    for index, row in enumerate(rows):
        number = row["obj_id"]
        where = f"object {index} of image {key} in {scene / 'scene_gt.json'}"
        pose = parse_rotation_translation(row["cam_R_m2c"], row["cam_t_m2c"], _MILLIMETRE, where, ("cam_R_m2c", "cam_t_m2c"))
        identity, (diameter_m, symmetries) = f"obj_{number:06d}", information.get(number, (None, None))
        model = _load_model(root, number)
        truths.append(
            PoseTruth(index, names.get(number, identity), identity, pose, model, None, diameter_m, symmetries, counted=index in counted)
        )
    return truths


def _find_counted(root: Path, scene: Path, key: str, rows: list[dict[str, Any]]) -> set[int]:
    """Indices of the objects of an image that BOP's evaluation counts."""
    visible = _read_visible_shares(scene, key, len(rows))
    enough = [index for index in range(len(rows)) if visible[index] >= _LEAST_VISIBLE]
    targets = _read_targets(root)
    if targets is None or not scene.parent.name.startswith("test"):
        return set(enough)
    wanted = {row["obj_id"]: row["inst_count"] for row in targets if int(scene.name) == row["scene_id"] and int(key) == row["im_id"]}
    ranked = sorted(enough, key=lambda index: -visible[index])
    return {index for number, count in wanted.items() for index in [k for k in ranked if rows[k]["obj_id"] == number][:count]}


def _read_visible_shares(scene: Path, key: str, count: int) -> list[float]:
    """`visib_fract` of each object; 1 where the dataset does not say."""
    path = scene / "scene_gt_info.json"
    if not path.is_file():
        return [1.0] * count
    content = read_json(path)
    require_keys(content, (key,), str(path))
    rows = content[key]
    right = f"image {key} of {path} must have a visib_fract, a number, for each of the {count} objects of scene_gt.json"
    if not isinstance(rows, list) or len(rows) != count:
        raise InputError(right)
    shares = [row.get("visib_fract") if isinstance(row, dict) else None for row in rows]
    if not all(isinstance(share, int | float) for share in shares):
        raise InputError(right)
    return shares


def _read_targets(root: Path) -> list[dict[str, int]] | None:
    """Rows of `test_targets_bop19.json`; None where the dataset has none."""
    path = root / "test_targets_bop19.json"
    if not path.is_file():
        return None
    rows = read_json(path)
    keys = ("scene_id", "im_id", "obj_id", "inst_count")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and all(isinstance(row.get(key), int) for key in keys) for row in rows):
        raise InputError(f"{path} must be a list of objects with the whole numbers {', '.join(keys)}")
    return rows


def _read_model_information(root: Path) -> dict[int, tuple[float, Float[Tensor, "s 4 4"]]]:
    """Diameter in metres and symmetries of each object that `models_info.json` describes, by number."""
    paths = [root / folder / "models_info.json" for folder in _MODEL_FOLDERS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(key.isdigit() for key in content):
        raise InputError(f"{path} must be an object whose keys are the numbers of the models")
    return {int(key): _parse_model_information(row, f"object {key} of {path}") for key, row in content.items()}


def _parse_model_information(row: Any, where: str) -> tuple[float, Float[Tensor, "s 4 4"]]:
    require_keys(row, ("diameter",), where)
    diameter = row["diameter"]
    if isinstance(diameter, bool) or not isinstance(diameter, int | float) or not 0 < diameter < float("inf"):
        raise InputError(f"diameter of {where} is {diameter!r}; it must be a positive number of millimetres")
    try:
        discrete = np.array(row.get("symmetries_discrete", []), dtype=np.float64).reshape(-1, 4, 4)
        turning = [
            (np.array(symmetry["axis"], float), np.array(symmetry["offset"], float)) for symmetry in row.get("symmetries_continuous", [])
        ]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"symmetries of {where} must be lists of 16 numbers (discrete) or of axis and offset (continuous)") from error
    if any(axis.shape != (3,) or offset.shape != (3,) or not np.linalg.norm(axis) > 0 for axis, offset in turning):
        raise InputError(f"symmetries_continuous of {where} must have an axis and an offset of three numbers each, the axis not 0")
    discrete[:, :3, 3] *= _MILLIMETRE
    motions = [parse_pose(motion, f"symmetries_discrete of {where}") for motion in discrete]
    continuous = [RotationalSymmetry(torch.tensor(axis), torch.tensor(offset * _MILLIMETRE)) for axis, offset in turning]
    return diameter * _MILLIMETRE, build_symmetries(torch.stack(motions) if motions else torch.zeros(0, 4, 4), continuous)


def list_bop_images(dataset: Path) -> list[tuple[str, str]]:
    """(scene folder, image number) of every image of the dataset's split, in order; of a test split, those that have targets.

    `test_targets_bop19.json` lists the targets; where it is absent, every image is taken.
    """
    split = find_bop_split(dataset)
    images = [(scene.name, key) for scene in _list_scenes(split) for key in sorted(_read_scene_camera(scene), key=int)]
    targets = _read_targets(split.resolve().parent) if split.resolve().name.startswith("test") else None
    if targets is None:
        return images
    wanted = {(row["scene_id"], row["im_id"]) for row in targets}
    return [(scene, key) for scene, key in images if scene.isdigit() and (int(scene), int(key)) in wanted]


def is_bop_dataset(folder: Path) -> bool:
    """Whether a folder is a BOP dataset, or a split of one."""
    return any(folder.glob("*/scene_camera.json")) or any(folder.glob("*/*/scene_camera.json"))


def find_bop_split(dataset: Path) -> Path:
    """The split folder of a dataset: the folder itself if it holds scenes, else `test`, else the only one."""
    if not dataset.is_dir():
        raise InputError(f"no such dataset folder: {dataset}")
    if _list_scenes(dataset):
        return dataset
    splits = sorted({path.parents[1] for path in dataset.glob("*/*/scene_camera.json")})
    if not splits:
        raise InputError(f"{dataset} is not a BOP dataset: it must hold SPLIT/SCENE/scene_camera.json")
    chosen = [split for split in splits if split.name == "test"] or splits
    if len(chosen) > 1:
        raise InputError(f"{dataset} has several splits: name one of {', '.join(str(split) for split in splits)}")
    return chosen[0]


def _list_scenes(split: Path) -> list[Path]:
    return sorted(path.parent for path in split.glob("*/scene_camera.json"))


def _find_scene(dataset: Path, scene_id: str) -> Path:
    split = find_bop_split(dataset)
    return split / choose_scene([scene.name for scene in _list_scenes(split)], scene_id, str(dataset))


def _find_image_key(scene: Path, image_id: str) -> str:
    keys = {int(key): key for key in _read_scene_camera(scene)}
    return keys[choose_number(sorted(keys), image_id, str(scene))]


def _read_scene_camera(scene: Path) -> dict[str, Any]:
    content = read_json(scene / "scene_camera.json")
    if not isinstance(content, dict) or not content or not all(key.isdigit() for key in content):
        raise InputError(f"{scene / 'scene_camera.json'} must be an object whose keys are the numbers of the images")
    return content


def _read_objects(scene: Path, key: str) -> list[dict[str, Any]]:
    path = scene / "scene_gt.json"
    if not path.is_file():
        return []
    content = read_json(path)
    require_keys(content, (key,), str(path))
    rows = content[key]
    if not isinstance(rows, list):
        raise InputError(f"image {key} in {path} is not a list; it must be a list of objects")
    for index, row in enumerate(rows):
        where = f"object {index} of image {key} in {path}"
        require_keys(row, ("obj_id", "cam_R_m2c", "cam_t_m2c"), where)
        if isinstance(row["obj_id"], bool) or not isinstance(row["obj_id"], int):
            raise InputError(f"obj_id of {where} is {row['obj_id']!r}; it must be a whole number")
    return rows


def _read_masks(scene: Path, stem: str, count: int, height: int, width: int) -> Bool[Tensor, "n h w"]:
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for index in range(count):
        path = find_image(scene / "mask_visib", f"{stem}_{index:06d}", _IMAGE_SUFFIXES)
        mask = read_ids(path) > 0
        check_same_size({"the colour image": (height, width), str(path): tuple(mask.shape)})
        masks[index] = mask
    return make_disjoint(masks)


def _find_dataset_root(scene: Path) -> Path:
    return scene.resolve().parents[1]


def _read_object_names(root: Path) -> dict[int, str]:
    path = root / "objects.json"
    return {int(key): str(name) for key, name in read_json(path).items()} if path.is_file() else {}


def _load_model(root: Path, object_id: int) -> Mesh:
    candidates = [root / folder / f"obj_{object_id:06d}.ply" for folder in _MODEL_FOLDERS]
    for path in candidates:
        if path.is_file():
            return read_mesh(path, unit_m=_MILLIMETRE)
    raise InputError(f"no model of object {object_id}: {candidates[1]} (or in {', '.join(_MODEL_FOLDERS)}) does not exist")


def _square(values: Any) -> Any:
    """Nine numbers in row order as a 3x3 matrix; anything else as it is."""
    array = np.asarray(values, dtype=object)
    return array.reshape(3, 3).tolist() if array.shape == (9,) else values
