"""Reading images and JSON from disk, with errors that name the file and say what would be right."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, linear_from_srgb, load_mesh

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MESH_ERRORS = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, OSError, ArithmeticError, struct.error)
"""What trimesh raises of files that are damaged."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def read_json(path: Path) -> Any:
    """The content of a JSON file; `InputError` where there is none or it is not JSON."""
    try:
        return json.loads(read_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def require_keys(content: Any, keys: tuple[str, ...], where: str) -> None:
    """`InputError` unless `content` is a JSON object with all of `keys`."""
    if not isinstance(content, dict):
        raise InputError(f"{where} is a JSON {type(content).__name__}; it must be an object with the keys {', '.join(keys)}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; it needs the keys {', '.join(keys)}")


def find_image(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path:
    """The file `folder/stem` with the first of the suffixes that exists; `InputError` naming all of them if none does."""
    for suffix in suffixes:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"no such file: {folder / stem}{suffixes[0]}" + (f" (or {', '.join(suffixes[1:])})" if suffixes[1:] else ""))


def require_file(path: Path) -> Path:
    """The path, if there is a file at it; `InputError` if not."""
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    return path


def read_colour(path: Path) -> Float[Tensor, "h w 3"]:
    """Linear RGB in [0, 1] of an 8-bit sRGB image file; a grey image gives three equal channels."""
    image = _decode(path)
    if image.dtype != np.uint8:
        raise InputError(f"{path} is {image.dtype}; the colour image must be 8-bit sRGB")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.shape[2] not in (3, 4):
        raise InputError(f"{path} has {image.shape[2]} channels; the colour image must have 3 (RGB), 4 (RGBA) or 1 (grey)")
    rgb = np.ascontiguousarray(image[..., 2::-1])
    return linear_from_srgb(torch.arange(256, dtype=torch.float32) / 255)[torch.from_numpy(rgb).long()]


def read_depth(path: Path) -> np.ndarray:
    """(h, w) raw depth values, in the file's type: 16-bit integers or floating point. 8-bit images hold no depth."""
    values = load_array(path) if path.suffix == ".npy" else _decode(path)
    if values.ndim != 2:
        raise InputError(f"{path} has the shape {values.shape}; a depth image has one channel: (height, width)")
    if values.dtype not in (np.uint16, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64):
        raise InputError(f"{path} is {values.dtype}; depth must be 16-bit integers (uint16 PNG) or floating point (.tiff, .npy)")
    return values


def read_ids(path: Path) -> Int[Tensor, "h w"]:
    """Instance ids (int64) of a single-channel 8 or 16-bit image file."""
    image = _decode(path)
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} is {image.dtype} of shape {image.shape}; a mask is a single-channel 8 or 16-bit image of instance ids")
    return torch.from_numpy(image.astype(np.int64))


def read_bytes(path: Path) -> bytes:
    """The content of a file; `InputError` where there is none or it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def read_mesh(path: Path, unit_m: float = 1.0) -> Mesh:
    """A mesh file in metres; `InputError` where it cannot be read or has no faces. One unit of the file is `unit_m` metres."""
    try:
        mesh = load_mesh(require_file(path), unit_m)
    except _MESH_ERRORS as error:
        raise InputError(f"{path} is not a mesh that can be read: {type(error).__name__}: {error}") from error
    if len(mesh.faces) == 0 or not torch.isfinite(mesh.vertices).all():
        raise InputError(f"{path} has no faces, or vertices that are not finite; it must hold the object's surface")
    return mesh


def read_points(path: Path) -> Float[Tensor, "p 3"]:
    """The points of a point cloud file (PLY), in its unit; `InputError` where it cannot be read or has none."""
    try:
        vertices = np.asarray(trimesh.load(require_file(path), process=False).vertices, dtype=np.float32)
    except _MESH_ERRORS as error:
        raise InputError(f"{path} is not a point cloud that can be read: {type(error).__name__}: {error}") from error
    if vertices.ndim != 2 or vertices.shape[1:] != (3,) or len(vertices) == 0 or not np.isfinite(vertices).all():
        raise InputError(f"{path} holds no points; it must hold x, y and z of each, finite")
    return torch.tensor(vertices)


def load_array(path: Path) -> np.ndarray:
    """The array of a .npy file; pickled objects are refused."""
    require_file(path)
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is not a NumPy array file: {error}") from error


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Writes grey (h, w) or RGB (h, w, 3) pixels, uint8, uint16 or (.hdr) float32, in the format of the path's suffix.

    Raises `OSError` where the disk does not take them.
    """
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"{path.name}: pixels of {pixels.dtype} would not come back as they are")
    _, content = cv2.imencode(path.suffix, np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels))
    path.write_bytes(content.tobytes())


def _decode(path: Path) -> np.ndarray:
    """Pixels as stored (BGR order, no change of depth, orientation tags ignored)."""
    content = read_bytes(path)
    _require_complete(content, path)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InputError(f"{path} is not an image that can be read: {error.err}") from error
    if image is None:
        raise InputError(f"{path} is not an image that can be read (PNG, JPEG or TIFF)")
    return image


def _require_complete(content: bytes, path: Path) -> None:
    """Decoders fill what a truncated file lacks with grey: find the truncation before they see the file."""
    if not content:
        raise InputError(f"{path} is empty")
    if content.startswith(_PNG_SIGNATURE) and not _is_complete_png(content):
        raise InputError(f"{path} is a truncated or damaged PNG; copy it again")
    if content.startswith(_JPEG_START) and _JPEG_END not in content[-1024:]:
        raise InputError(f"{path} is a truncated JPEG; copy it again")


def _is_complete_png(content: bytes) -> bool:
    """Whether the chunks run to IEND, each with the checksum that it says (PNG specification, section 5.3)."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        end = position + 12 + length
        if end > len(content):
            return False
        (checksum,) = struct.unpack(">I", content[end - 4 : end])
        if zlib.crc32(content[position + 4 : end - 4]) != checksum:
            return False
        if content[position + 4 : position + 8] == b"IEND":
            return True
        position = end
    return False
