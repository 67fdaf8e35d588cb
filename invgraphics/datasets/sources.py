"""How images and sets of images are named, whatever their dataset.

An image is a frame folder, `FOLDER`, or a BOP image, `PATH:SCENE/IMAGE` (`tabletop_dev:000001/0`). A set is a BOP dataset, `PATH`, or a
set of frame folders, `frames:DIR`.
"""

import re
from pathlib import Path

from invgraphics.datasets.bop import is_bop_dataset, list_bop_images, load_bop_image, load_bop_truth
from invgraphics.datasets.frames import list_frame_folders, load_frame_folder, load_frame_truth
from invgraphics.datasets.sample import FrameInput, GroundTruth
from invgraphics.errors import InputError
from invgraphics.observation import Observation

_BOP_IMAGE = re.compile(r"(?P<dataset>.+):(?P<scene>[^:/\\]+)/(?P<image>\d+)")
_FRAMES_PREFIX = "frames:"


def load_frame(image: str | Path) -> FrameInput:
    """Reads an image by its name, with the masks or boxes that come with it.

    Raises:
        InputError: there is no such image, or it cannot be used.
    """
    match = None if Path(image).is_dir() else _BOP_IMAGE.fullmatch(str(image))
    if match:
        return load_bop_image(Path(match["dataset"]), match["scene"], match["image"])
    _require_not_a_set(image)
    return load_frame_folder(Path(image))


def load_observation(image: str | Path) -> Observation:
    """Reads an image by its name, with the masks that come with it (possibly none)."""
    return load_frame(image).observation


def load_ground_truth(image: str | Path) -> list[GroundTruth]:
    """The true objects of an image, as far as they are known."""
    match = None if Path(image).is_dir() else _BOP_IMAGE.fullmatch(str(image))
    if match:
        return load_bop_truth(Path(match["dataset"]), match["scene"], match["image"])
    return load_frame_truth(Path(image))


def list_images(dataset: str | Path) -> list[str]:
    """Names of all images of a set, each as `load_frame` and `load_ground_truth` take it.

    Raises:
        InputError: there is no such set, or it has no images.
    """
    name = str(dataset)
    if name.startswith(_FRAMES_PREFIX):
        return [str(folder) for folder in list_frame_folders(Path(name.removeprefix(_FRAMES_PREFIX)))]
    if Path(dataset).is_dir() and not is_bop_dataset(Path(dataset)) and any(Path(dataset).glob("*/camera.json")):
        raise InputError(f"{dataset} is a folder of frame folders, not a BOP dataset; name it {_FRAMES_PREFIX}{dataset}")
    return [f"{name}:{scene}/{image}" for scene, image in list_bop_images(Path(dataset))]


def _require_not_a_set(image: str | Path) -> None:
    if str(image).startswith(_FRAMES_PREFIX):
        raise InputError(f"{image} is a set of frames; name one image: a frame folder, or PATH:SCENE/IMAGE of a BOP dataset")
    if Path(image).is_dir() and not (Path(image) / "camera.json").is_file() and is_bop_dataset(Path(image)):
        raise InputError(f"{image} is a BOP dataset; name one image as {image}:SCENE/IMAGE, e.g. {list_images(image)[0]}")
