"""How images and sets of images are named, whatever their dataset.

A set is `KIND:PATH`, for example `fewsol:DIR`, or, for a BOP dataset, its folder `PATH`; an image of it is the set's name with
`:SCENE/IMAGE` behind it (`tabletop_dev:000001/0`, `fewsol:DIR:real_objects/0320T173759/3`). A frame folder is an image by itself,
`FOLDER`, and a folder of them the set `frames:DIR`. `docs/datasets.md` says what each kind looks like on disk.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from invgraphics.datasets.bop import is_bop_dataset, list_bop_images, load_bop_image, load_bop_poses
from invgraphics.datasets.clevr_pose import is_clevr_pose, list_clevr_pose_images, load_clevr_pose_image, load_clevr_pose_poses
from invgraphics.datasets.fewsol import is_fewsol, list_fewsol_images, load_fewsol_image, load_fewsol_poses
from invgraphics.datasets.frames import list_frame_folders, load_frame_folder, load_frame_poses
from invgraphics.datasets.moped import is_moped, list_moped_images, load_moped_image, load_moped_poses
from invgraphics.datasets.sample import FrameInput, GroundTruth, PoseTruth
from invgraphics.datasets.tum import is_tum, list_tum_images, load_tum_image, load_tum_poses
from invgraphics.datasets.video import is_recording, list_recording_images, load_recording_image, load_recording_poses
from invgraphics.errors import InputError
from invgraphics.observation import Observation


@dataclass(frozen=True)
class DatasetKind:
    """How the datasets of one layout are read. `load_image` and `load_poses` take the folder, the scene and the image's number, digits."""

    recognizes: Callable[[Path], bool]
    """Whether a folder has the layout."""
    list_images: Callable[[Path], list[tuple[str, str]]]
    """(scene, number) of every image; `InputError` where the folder has not the layout."""
    load_image: Callable[[Path, str, str], FrameInput]
    load_poses: Callable[[Path, str, str], list[PoseTruth]]
    """The true poses of its objects, as far as they are known."""


KINDS: Mapping[str, DatasetKind] = MappingProxyType(
    {
        "bop": DatasetKind(is_bop_dataset, list_bop_images, load_bop_image, load_bop_poses),
        "fewsol": DatasetKind(is_fewsol, list_fewsol_images, load_fewsol_image, load_fewsol_poses),
        "moped": DatasetKind(is_moped, list_moped_images, load_moped_image, load_moped_poses),
        "clevr-pose": DatasetKind(is_clevr_pose, list_clevr_pose_images, load_clevr_pose_image, load_clevr_pose_poses),
        "tum": DatasetKind(is_tum, list_tum_images, load_tum_image, load_tum_poses),
        "video": DatasetKind(is_recording, list_recording_images, load_recording_image, load_recording_poses),
    }
)
"""By the word before the colon."""
_FRAMES = "frames"
_SET = re.compile(rf"(?:(?P<kind>{'|'.join(KINDS)}|{_FRAMES}):)?(?P<path>.+)")
_IMAGE = re.compile(rf"(?:(?P<kind>{'|'.join(KINDS)}):)?(?P<path>.+):(?P<scene>[^:\\]+)/(?P<number>\d+)")


def load_frame(image: str | Path) -> FrameInput:
    """Reads an image by its name, with the masks or boxes that come with it.

    Raises:
        InputError: there is no such image, or it cannot be used.
    """
    place = _parse_image(image)
    return load_frame_folder(place) if isinstance(place, Path) else place.kind.load_image(place.path, place.scene, place.number)


def load_observation(image: str | Path) -> Observation:
    """Reads an image by its name, with the masks that come with it (possibly none)."""
    return load_frame(image).observation


def load_pose_truth(image: str | Path) -> list[PoseTruth]:
    """The true poses of an image's objects, as far as they are known."""
    place = _parse_image(image)
    return load_frame_poses(place) if isinstance(place, Path) else place.kind.load_poses(place.path, place.scene, place.number)


def load_ground_truth(image: str | Path) -> list[GroundTruth]:
    """The true surfaces of an image's objects, as far as they are known."""
    return place_surfaces(load_pose_truth(image))


def place_surfaces(truths: Sequence[PoseTruth]) -> list[GroundTruth]:
    """The surfaces of those objects whose model is known, in the camera frame."""
    return [
        GroundTruth(truth.mask_index, truth.name, truth.model.transformed(truth.T_camera_object), truth.T_camera_object)
        for truth in truths
        if truth.model is not None
    ]


def list_images(dataset: str | Path) -> list[str]:
    """Names of all images of a set, each as `load_frame` and `load_ground_truth` take it.

    Raises:
        InputError: there is no such set, or it has no images.
    """
    name = str(dataset)
    match = _SET.fullmatch(name)
    if match is None:
        raise InputError("the name of the dataset is empty; name a folder, or KIND:FOLDER")
    kind, path = match["kind"], Path(match["path"])
    if kind == _FRAMES:
        return [str(folder) for folder in list_frame_folders(path)]
    if kind is None:
        _require_bop(path)
    return [f"{name}:{scene}/{number}" for scene, number in KINDS[kind or "bop"].list_images(path)]


def is_set(name: str | Path) -> bool:
    """Whether a name is that of a set of images, and not of one image."""
    if Path(name).is_dir():
        return not (Path(name) / "camera.json").is_file() and is_bop_dataset(Path(name))
    match = _SET.fullmatch(str(name))
    return match is not None and match["kind"] is not None and _IMAGE.fullmatch(str(name)) is None


@dataclass(frozen=True)
class _Place:
    kind: DatasetKind
    path: Path
    scene: str
    number: str


def _parse_image(image: str | Path) -> Path | _Place:
    """The frame folder, or the place in a set."""
    match = None if Path(image).is_dir() else _IMAGE.fullmatch(str(image))
    if match:
        return _Place(KINDS[match["kind"] or "bop"], Path(match["path"]), match["scene"], match["number"])
    if is_set(image):
        example = next(iter(list_images(image)), f"{image}:SCENE/IMAGE")
        raise InputError(f"{image} is a set of images; name one of them, e.g. {example}")
    return Path(image)


def _require_bop(path: Path) -> None:
    """`InputError` that says which kind a folder is of, if it is a set but no BOP dataset."""
    if not path.is_dir() or is_bop_dataset(path):
        return
    if any(path.glob("*/camera.json")) and not is_recording(path):
        raise InputError(f"{path} is a folder of frame folders, not a BOP dataset; name it {_FRAMES}:{path}")
    for kind, reader in KINDS.items():
        if reader.recognizes(path):
            raise InputError(f"{path} is not a BOP dataset; it looks like {kind}: name it {kind}:{path}")
