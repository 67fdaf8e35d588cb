"""Recordings: a colour video and depth that belongs to it frame by frame, in a folder.

`RECORDING/` holds `colour.mp4` (also `color`, `rgb`; `.mkv`, `.avi`), depth registered to it as `depth.mkv` (a lossless 16-bit grey video,
e.g. FFV1), as `depth/000000.png`, ... or as `depth.npy` (frames, height, width), and `camera.json` as in a frame folder. Lossy video cannot
hold depth.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.datasets.checks import parse_depth
from invgraphics.datasets.files import find_image, load_array, read_depth
from invgraphics.datasets.frames import parse_camera, read_camera_description
from invgraphics.datasets.names import choose_number, choose_scene, name_image
from invgraphics.datasets.sample import FrameInput, PoseTruth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import linear_from_srgb
from invgraphics.observation import Observation

_COLOUR_NAMES, _VIDEO_SUFFIXES = ("colour", "color", "rgb"), (".mp4", ".mkv", ".avi")
_FRAME_LIMIT = 1_000_000


def is_recording(folder: Path) -> bool:
    """Whether a folder is a recording, or a folder of recordings."""
    return bool(_list_recordings(folder))


def list_recording_images(folder: Path) -> list[tuple[str, str]]:
    """(recording, frame number) of every frame, in order."""
    recordings = _list_recordings(folder)
    if not recordings:
        names = ", ".join(f"{_COLOUR_NAMES[0]}{suffix}" for suffix in _VIDEO_SUFFIXES)
        raise InputError(f"{folder} is not a recording: it must hold {names}, and depth.mkv, depth.npy or depth/, and camera.json")
    return [(name, str(number)) for name, place in recordings.items() for number in range(_count_frames(_find_colour(place)))]


def load_recording_image(folder: Path, scene: str, image: str) -> FrameInput:
    """Reads one frame, without masks."""
    recordings = _list_recordings(folder)
    name = choose_scene(list(recordings), scene, str(folder))
    place = recordings[name]
    colour_path = _find_colour(place)
    count = _count_frames(colour_path)
    number = choose_number(list(range(count)), image, str(place))
    bgr = _read_frame(colour_path, number, raw=False)
    depth_name, raw = _read_depth_frame(place, number)
    description = read_camera_description(place / "camera.json")
    camera = parse_camera(description, place / "camera.json", {str(colour_path): bgr.shape[:2], depth_name: raw.shape})
    depth, valid = parse_depth(raw, description["depth_scale_m"], depth_name, "depth_scale_m")
    masks = torch.zeros(0, camera.height, camera.width, dtype=torch.bool)
    observation = Observation(_linearize(bgr), depth, valid, masks, camera, name_image(name, number, alone=count == 1))
    return FrameInput(observation, torch.zeros(0, 4))


def load_recording_poses(folder: Path, scene: str, image: str) -> list[PoseTruth]:
    """None: a recording knows of no object."""
    choose_scene(list(_list_recordings(folder)), scene, str(folder))
    return []


def _list_recordings(folder: Path) -> dict[str, Path]:
    places = [folder] if _has_colour(folder) else [path for path in sorted(folder.glob("*/")) if _has_colour(path)]
    return {place.resolve().name: place for place in places}


def _has_colour(folder: Path) -> bool:
    return any((folder / f"{name}{suffix}").is_file() for name in _COLOUR_NAMES for suffix in _VIDEO_SUFFIXES)


def _find_colour(place: Path) -> Path:
    name = next(name for name in _COLOUR_NAMES if any((place / f"{name}{suffix}").is_file() for suffix in _VIDEO_SUFFIXES))
    return find_image(place, name, _VIDEO_SUFFIXES)


def _open_video(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that can be read")
    return capture


def _count_frames(path: Path) -> int:
    """As the container says; counted one by one where it does not."""
    capture = _open_video(path)
    stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    count = stated if 0 < stated <= _FRAME_LIMIT else sum(1 for _ in iter(capture.grab, False))
    capture.release()
    if count == 0:
        raise InputError(f"{path} has no frames that can be read")
    return count


def _read_frame(path: Path, number: int, raw: bool) -> np.ndarray:
    """One frame, found by going through those before it: seeking is not exact in every container. `raw` keeps 16-bit grey as it is."""
    capture = _open_video(path)
    if raw:
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    found = all(capture.grab() for _ in range(number + 1))
    decoded, frame = capture.retrieve() if found else (False, None)
    capture.release()
    if not decoded or frame is None:
        raise InputError(f"{path} ends before frame {number}")
    return frame


def _read_depth_frame(place: Path, number: int) -> tuple[str, np.ndarray]:
    """What to call it in messages, and (h, w) raw depth."""
    if (place / "depth").is_dir():
        path = find_image(place / "depth", f"{number:06d}", (".png", ".tiff", ".npy"))
        return str(path), read_depth(path)
    if (place / "depth.npy").is_file():
        return f"frame {number} of {place / 'depth.npy'}", _pick(load_array(place / "depth.npy"), number, place / "depth.npy")
    path = find_image(place, "depth", (".mkv", ".avi"))
    frame = _read_frame(path, number, raw=True)
    if frame.dtype != np.uint16 or frame.ndim != 2:
        raise InputError(
            f"{path} is {frame.dtype} of shape {frame.shape}; depth needs a lossless 16-bit grey video (FFV1), not a lossy one"
        )
    return f"frame {number} of {path}", frame


def _pick(stack: np.ndarray, number: int, path: Path) -> np.ndarray:
    if stack.ndim != 3 or stack.dtype.kind not in "uif":
        raise InputError(f"{path} is {stack.dtype} of shape {stack.shape}; it must hold numbers of shape (frames, height, width)")
    if number >= len(stack):
        raise InputError(f"{path} has {len(stack)} frames and no frame {number}; it must have as many as the colour video")
    return stack[number]


def _linearize(bgr: np.ndarray) -> Float[Tensor, "h w 3"]:
    rgb = torch.from_numpy(np.ascontiguousarray(bgr[..., ::-1])).long()
    return linear_from_srgb(torch.arange(256, dtype=torch.float32) / 255)[rgb]
