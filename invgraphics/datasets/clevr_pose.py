"""CLEVR-POSE, the rendered scenes of Differentiable Neuro-Graphics: `scenes/SCENE/{image.png, depth.npy, masks.png, label.pkl}`.

One camera for all (640x480, f = 616.94434, centre (320, 240)), depth in metres, object k at the value 20 k of `masks.png`. What
`label.pkl` says is not documented by its authors: it can be read (`load_clevr_pose_label`), and no pose is taken from it.
"""

from pathlib import Path
from typing import Any

import kornia
import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import check_same_size, parse_depth
from invgraphics.datasets.files import read_colour, read_depth, read_ids
from invgraphics.datasets.names import choose_number, choose_scene
from invgraphics.datasets.pickles import load_plain_pickle
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.observation import Observation

_HEIGHT, _WIDTH, _FOCAL = 480, 640, 616.94434
_STEP = 20
"""Between the values of two objects in masks.png; what lies between was blended at their edges."""


def is_clevr_pose(folder: Path) -> bool:
    """Whether a folder is CLEVR-POSE, or its folder of scenes."""
    return bool(_list_scenes(folder))


def list_clevr_pose_images(folder: Path) -> list[tuple[str, str]]:
    """(scene, "0") of every scene, in order: each has one image."""
    scenes = _list_scenes(folder)
    if not scenes:
        raise InputError(f"{folder} is not CLEVR-POSE: it must hold scenes/SCENE/ with image.png, depth.npy and masks.png")
    return [(path.name, "0") for path in scenes]


def load_clevr_pose_image(folder: Path, scene: str, image: str) -> FrameInput:
    """Reads a scene's image with its masks, in the order of their values. Depth that is not finite counts as no reading."""
    place = _locate(folder, scene, image)
    colour, raw, ids = read_colour(place / "image.png"), read_depth(place / "depth.npy"), read_ids(place / "masks.png")
    expected = {"CLEVR-POSE's camera": (_HEIGHT, _WIDTH)}
    check_same_size(expected | {"image.png": tuple(colour.shape[:2]), "depth.npy": raw.shape, "masks.png": tuple(ids.shape)})
    metres = np.where(np.isfinite(raw), raw, 0).astype(np.float64)
    depth, valid = parse_depth(metres, 1.0, str(place / "depth.npy"), "the scale of CLEVR-POSE")
    K = torch.tensor([[_FOCAL, 0.0, _WIDTH / 2], [0.0, _FOCAL, _HEIGHT / 2], [0.0, 0.0, 1.0]])
    masks = _separate_masks(ids)
    if len(masks) == 0:
        raise InputError(f"{place / 'masks.png'} marks no object; object k has the value {_STEP} k")
    observation = Observation(colour, depth, valid, masks[:0], Camera(K, _HEIGHT, _WIDTH, torch.eye(4)), place.name)
    return FrameInput(observation.with_masks(masks), torch.zeros(0, 4))


def load_clevr_pose_poses(folder: Path, scene: str, image: str) -> list[PoseTruth]:
    """None: see the module. The scene must be there all the same."""
    _locate(folder, scene, image)
    return []


def load_clevr_pose_label(folder: Path, scene: str) -> Any:
    """What `label.pkl` of a scene holds, read without running anything in it (`pickles.load_plain_pickle`)."""
    return load_plain_pickle(_locate(folder, scene, "0") / "label.pkl")


def _list_scenes(folder: Path) -> list[Path]:
    root = folder / "scenes" if (folder / "scenes").is_dir() else folder
    return sorted(path.parent for path in root.glob("*/masks.png"))


def _locate(folder: Path, scene: str, image: str) -> Path:
    scenes = {path.name: path for path in _list_scenes(folder)}
    place = scenes[choose_scene(list(scenes), scene, str(folder))]
    choose_number([0], image, str(place))
    return place


def _separate_masks(ids: Int[Tensor, "h w"]) -> Bool[Tensor, "n h w"]:
    """A mask for each multiple of the step, in order, with holes and lines of a pixel's width mended; without what comes to nothing."""
    values = ids.unique()
    masks = ids == values[(values > 0) & (values % _STEP == 0)][:, None, None]
    if len(masks) == 0:
        return masks
    kernel = torch.ones(3, 3)
    mended = kornia.morphology.opening(kornia.morphology.closing(masks[:, None].float(), kernel), kernel)[:, 0] > 0.5
    return mended[mended.any(-1).any(-1)]
