"""RGB-D sequences as the Technical University of Munich publishes them (Sturm et al. 2012): `rgb.txt`, `depth.txt`, `groundtruth.txt`.

Each line of `rgb.txt` and `depth.txt` is a time in seconds and the path of an image; of `groundtruth.txt` a time, the camera's position
(metres) and its quaternion x, y, z, w: camera to world. Depth is 16-bit, 5000 a metre. Colour and depth images that are nearest in time
belong together. Unless the sequence has a `camera.json` (as a frame folder has), the camera is the one that the dataset's authors
recommend for its registered depth, without undistortion: f = 525, centre (319.5, 239.5). An image is numbered by its line in `rgb.txt`.
"""

from bisect import bisect_left
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.checks import check_same_size, parse_depth
from invgraphics.datasets.files import read_colour, read_depth, require_file
from invgraphics.datasets.frames import parse_camera, read_camera_description
from invgraphics.datasets.names import choose_number, choose_scene, name_image
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.transforms import matrix_from_quaternion, rigid

_DEPTH_SCALE_M = 1 / 5000
_FOCAL, _CENTRE, _SIZE = 525.0, (319.5, 239.5), (480, 640)
_LONGEST_GAP_SECONDS = 0.02
"""Between times that belong together (the dataset's own association tool)."""


def is_tum(folder: Path) -> bool:
    """Whether a folder is a sequence, or a folder of sequences."""
    return bool(_list_sequences(folder))


def list_tum_images(folder: Path) -> list[tuple[str, str]]:
    """(sequence, line number) of every colour image that has a depth image; in order."""
    sequences = _list_sequences(folder)
    if not sequences:
        raise InputError(f"{folder} is not a TUM RGB-D sequence: it must hold rgb.txt and depth.txt, or folders that do")
    return [(name, str(number)) for name, place in sequences.items() for number in sorted(_associate(place))]


def load_tum_image(folder: Path, scene: str, image: str) -> FrameInput:
    """Reads one image, without masks; all images of a sequence share its world."""
    place, number, pairs = _locate(folder, scene, image)
    time, colour_path, depth_path = pairs[number]
    colour, raw = read_colour(colour_path), read_depth(depth_path)
    sizes = {str(colour_path): tuple(colour.shape[:2]), str(depth_path): raw.shape}
    camera, scale_m = _find_camera(place, sizes)
    depth, valid = parse_depth(raw, scale_m, str(depth_path), "the scale of TUM sequences")
    masks = torch.zeros(0, camera.height, camera.width, dtype=torch.bool)
    observation = Observation(colour, depth, valid, masks, camera, name_image(place.resolve().name, number, alone=len(pairs) == 1))
    return FrameInput(observation, torch.zeros(0, 4), _find_pose(place / "groundtruth.txt", time))


def load_tum_poses(folder: Path, scene: str, image: str) -> list[PoseTruth]:
    """None: the sequences tell where the camera was, and of no object."""
    _locate(folder, scene, image)
    return []


def _locate(folder: Path, scene: str, image: str) -> tuple[Path, int, dict[int, tuple[float, Path, Path]]]:
    """The sequence's folder, the number of the image, and all of its images (see `_associate`)."""
    sequences = _list_sequences(folder)
    place = sequences[choose_scene(list(sequences), scene, str(folder))]
    pairs = _associate(place)
    return place, choose_number(sorted(pairs), image, str(place)), pairs


def _list_sequences(folder: Path) -> dict[str, Path]:
    if (folder / "rgb.txt").is_file():
        return {folder.resolve().name: folder}
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/rgb.txt"))}


def _associate(place: Path) -> dict[int, tuple[float, Path, Path]]:
    """By line number of `rgb.txt`: its time, the colour image, and the depth image nearest in time."""
    colours, depths = (_read_list(place / name) for name in ("rgb.txt", "depth.txt"))
    times = [time for time, _ in depths]
    pairs = {}
    for number, (time, path) in enumerate(colours):
        nearest = _find_nearest(times, time)
        if nearest is not None:
            pairs[number] = (time, place / path, place / depths[nearest][1])
    if not pairs:
        raise InputError(f"no times of {place}/rgb.txt and depth.txt are within {_LONGEST_GAP_SECONDS} s of one another")
    return pairs


def _find_nearest(times: list[float], time: float) -> int | None:
    """Index of the nearest of ascending times; None where it is too far away."""
    right = bisect_left(times, time)
    nearest = min((k for k in (right - 1, right) if 0 <= k < len(times)), key=lambda k: abs(times[k] - time), default=None)
    return nearest if nearest is not None and abs(times[nearest] - time) <= _LONGEST_GAP_SECONDS else None


def _read_list(path: Path) -> list[tuple[float, str]]:
    """(time, rest of the line) of every line that is not a comment, ascending."""
    rows = []
    for number, line in enumerate(require_file(path).read_text(errors="replace").splitlines(), start=1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append((float(words[0]), words[1].strip()))
        except (ValueError, IndexError) as error:
            raise InputError(f"line {number} of {path} is not a time in seconds with what belongs to it: {line[:60]!r}") from error
    if any(not np.isfinite(time) for time, _ in rows):
        raise InputError(f"{path} has times that are not finite")
    return sorted(rows)


def _find_camera(place: Path, sizes: dict[str, tuple[int, int]]) -> tuple[Camera, float]:
    """The camera, and the metres of one unit of depth."""
    path = place / "camera.json"
    if path.is_file():
        description = read_camera_description(path)
        return parse_camera(description, path, sizes), description["depth_scale_m"]
    check_same_size(sizes | {"the camera of TUM sequences (without a camera.json)": _SIZE})
    K = torch.tensor([[_FOCAL, 0.0, _CENTRE[0]], [0.0, _FOCAL, _CENTRE[1]], [0.0, 0.0, 1.0]])
    return Camera(K, *_SIZE, torch.eye(4)), _DEPTH_SCALE_M


def _find_pose(path: Path, time: float) -> Float[Tensor, "4 4"] | None:
    """Camera to world at a time; None where it is not known."""
    if not path.is_file():
        return None
    rows = _read_list(path)
    nearest = _find_nearest([row[0] for row in rows], time)
    if nearest is None:
        return None
    right = f"{path} is not a trajectory: {rows[nearest][1][:60]!r} must be tx ty tz qx qy qz qw, the last four a unit quaternion"
    try:
        numbers = torch.tensor([float(value) for value in rows[nearest][1].split()], dtype=torch.float64)
    except ValueError as error:
        raise InputError(right) from error
    if numbers.shape != (7,) or not torch.isfinite(numbers).all() or not numbers[3:].norm() > 0.5:
        raise InputError(right)
    return rigid(matrix_from_quaternion(numbers[[6, 3, 4, 5]]), numbers[:3]).float()
