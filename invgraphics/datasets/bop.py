"""Datasets in the BOP layout (bop.felk.cvut.cz, "BOP format"): `DATASET/SPLIT/SCENE/{rgb,depth,mask_visib}/`, `DATASET/models*/`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import check_same_size, make_disjoint, parse_depth, parse_intrinsics, parse_pose
from invgraphics.datasets.files import find_image, read_colour, read_depth, read_ids, read_json, require_keys
from invgraphics.datasets.sample import FrameInput, GroundTruth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, load_mesh
from invgraphics.observation import Observation
from invgraphics.transforms import invert, rigid

_MILLIMETRE = 1e-3
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
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
    description = read_json(scene / "scene_camera.json")[key]
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
    observation = Observation(colour, depth, valid, masks, camera, name=_name_image(scene, key))
    labels = tuple(names.get(row["obj_id"], f"obj_{row['obj_id']:06d}") for row in objects)
    return FrameInput(observation.with_masks(masks, labels), torch.zeros(0, 4), _parse_camera_pose(description, where))


def _parse_camera_pose(description: dict[str, Any], where: str) -> Float[Tensor, "4 4"] | None:
    """The camera in the scene's world frame, from `cam_R_w2c` and `cam_t_w2c` (mm), which BOP has for some datasets."""
    if "cam_R_w2c" not in description or "cam_t_w2c" not in description:
        return None
    rotation, translation = _square(description["cam_R_w2c"]), np.array(description["cam_t_w2c"], dtype=np.float64) * _MILLIMETRE
    if np.shape(rotation) != (3, 3) or translation.shape != (3,):
        raise InputError(f"cam_R_w2c and cam_t_w2c of {where} are not a pose; they must be nine numbers in row order and three, in mm")
    T_camera_world = np.vstack([np.column_stack([rotation, translation]), [0, 0, 0, 1]])
    return invert(parse_pose(T_camera_world, f"cam_R_w2c and cam_t_w2c of {where}"))


def load_bop_truth(dataset: Path, scene_id: str, image_id: str) -> list[GroundTruth]:
    """The true meshes of an image's objects in the camera frame, in the order of `scene_gt.json`; empty where it is not published."""
    scene = _find_scene(dataset, scene_id)
    key = _find_image_key(scene, image_id)
    root = _find_dataset_root(scene)
    names = _read_object_names(root)
    truths = []
    for index, row in enumerate(_read_objects(scene, key)):
        translation = torch.tensor(row["cam_t_m2c"], dtype=torch.float32) * _MILLIMETRE
        pose = rigid(torch.tensor(_square(row["cam_R_m2c"]), dtype=torch.float32), translation)
        mesh = _load_model(root, row["obj_id"])
        truths.append(GroundTruth(index, names.get(row["obj_id"], f"obj_{row['obj_id']:06d}"), mesh.transformed(pose), pose))
    return truths


def list_bop_images(dataset: Path) -> list[tuple[str, str]]:
    """(scene folder, image number) of every image of the dataset's split, in order."""
    scenes = _list_scenes(find_bop_split(dataset))
    return [(scene.name, key) for scene in scenes for key in sorted(_read_scene_camera(scene), key=int)]


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
    scenes = _list_scenes(find_bop_split(dataset))
    for scene in scenes:
        if scene.name == scene_id or (scene.name.isdigit() and scene_id.isdigit() and int(scene.name) == int(scene_id)):
            return scene
    raise InputError(f"{dataset} has no scene {scene_id}; it has {_abbreviate([scene.name for scene in scenes])}")


def _find_image_key(scene: Path, image_id: str) -> str:
    keys = sorted(_read_scene_camera(scene), key=int)
    for key in keys:
        if image_id.isdigit() and int(key) == int(image_id):
            return key
    raise InputError(f"{scene} has no image {image_id}; it has {_abbreviate(keys)}")


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
    for index, row in enumerate(content[key]):
        require_keys(row, ("obj_id", "cam_R_m2c", "cam_t_m2c"), f"object {index} of image {key} in {path}")
    return content[key]


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
            return load_mesh(path, unit_m=_MILLIMETRE)
    raise InputError(f"no model of object {object_id}: {candidates[1]} (or in {', '.join(_MODEL_FOLDERS)}) does not exist")


def _name_image(scene: Path, key: str) -> str:
    """The scene's name; with the image's number where the scene has more images."""
    return scene.name if len(_read_scene_camera(scene)) == 1 else f"{scene.name}_{int(key):06d}"


def _square(values: Any) -> Any:
    """Nine numbers in row order as a 3x3 matrix; anything else as it is."""
    array = np.asarray(values)
    return array.reshape(3, 3) if array.shape == (9,) else values


def _abbreviate(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ... {names[-1]}"
