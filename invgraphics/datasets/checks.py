"""What an input must satisfy before anything is computed from it. Every failure is an `InputError` of one line."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.observation import Observation

MIN_VALID_DEPTH_PIXELS = 50
"""An object with fewer depth readings than this cannot be fitted."""

_NEAREST_MEDIAN_DEPTH_M, _FARTHEST_MEDIAN_DEPTH_M = 0.02, 50.0
_USUAL_DEPTH_M = (0.1, 10.0)
_USUAL_UNITS_M = {1.0: "metres", 0.001: "millimetres", 0.0001: "tenths of a millimetre"}
_BOX_TOLERANCE_PIXELS = 1.0
_ROTATION_TOLERANCE = 1e-3
"""By which the products of a rotation's rows may differ from the unit matrix: written with few digits."""


def parse_intrinsics(values: Any, height: int, width: int, where: str) -> Float[Tensor, "3 3"]:
    """A camera matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, for an image of the given size."""
    try:
        K = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is not a matrix of numbers; it must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]") from error
    problem = _describe_intrinsics_problem(K, height, width)
    if problem:
        raise InputError(f"{where} is not a camera matrix: {problem}; it must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels")
    return torch.tensor(K, dtype=torch.float32)


def _describe_intrinsics_problem(K: np.ndarray, height: int, width: int) -> str | None:
    if K.shape != (3, 3):
        return f"its shape is {K.shape}"
    if not np.isfinite(K).all():
        return "it holds values that are not finite"
    (fx, skew, cx), (below, fy, cy), last = K
    if not np.allclose(last, [0.0, 0.0, 1.0], atol=1e-9):
        return f"its last row is {last.tolist()}" + (" (is it transposed?)" if np.allclose(K[:2, 2], 0) and last[:2].any() else "")
    if fx <= 0 or fy <= 0:
        return f"its focal lengths are {fx:g}, {fy:g}"
    if abs(below) > 1e-9 or abs(skew) > 1e-3 * fx:
        return f"it has skew ({skew:g}, {below:g})"
    if not 0.1 * width <= fx <= 100 * width or not 0.5 <= fx / fy <= 2:
        return f"focal lengths of {fx:g}, {fy:g} pixels do not suit an image of {width}x{height}"
    if not (-width <= cx <= 2 * width and -height <= cy <= 2 * height):
        return f"its principal point ({cx:g}, {cy:g}) lies far outside the image of {width}x{height}"
    return None


def parse_depth(
    raw: np.ndarray, scale_m: Any, where: str, scale_name: str, scale_unit_m: float = 1.0
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Depth in metres and its validity from raw values (0 = no reading).

    Args:
        raw: (h, w) values as stored.
        scale_m: the dataset's scale, under the name `scale_name`: one raw unit is `scale_m * scale_unit_m` metres.
        where: the file, for messages.
        scale_name: what the dataset calls the scale, for messages.
        scale_unit_m: the unit of the scale, metres (0.001 where it counts millimetres, as in BOP).
    """
    if isinstance(scale_m, bool) or not isinstance(scale_m, int | float) or not np.isfinite(scale_m) or scale_m <= 0:
        raise InputError(f"{scale_name} of {where} is {scale_m!r}; it must be a positive number")
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise InputError(
            f"{where} holds {np.count_nonzero(~np.isfinite(raw))} values that are not finite; write 0 where there is no reading"
        )
    if (raw < 0).any():
        raise InputError(
            f"{where} holds {np.count_nonzero(raw < 0)} negative depths; depth is the distance along z, 0 where there is no reading"
        )
    depth = raw.astype(np.float64) * (scale_m * scale_unit_m)
    valid = depth > 0
    if not valid.any():
        raise InputError(f"{where} is zero everywhere: the camera gave no depth; at least part of the image must have some")
    _check_unit(float(np.median(raw[raw > 0])), scale_m, where, scale_name, scale_unit_m)
    return torch.from_numpy(depth.astype(np.float32)), torch.from_numpy(valid)


def _check_unit(median_raw: float, scale: float, where: str, scale_name: str, scale_unit_m: float) -> None:
    median_m = median_raw * scale * scale_unit_m
    if _NEAREST_MEDIAN_DEPTH_M <= median_m <= _FARTHEST_MEDIAN_DEPTH_M:
        return
    nearest, farthest = _USUAL_DEPTH_M
    likely = [f"{unit / scale_unit_m:g} ({name})" for unit, name in _USUAL_UNITS_M.items() if nearest <= median_raw * unit <= farthest]
    hint = f"did you mean {' or '.join(likely)}?" if likely else "it must turn the values into depths of decimetres to metres"
    raise InputError(f"{where} is in another unit than {scale_name} {scale:g} says: the median depth would be {median_m:.3g} m; {hint}")


def parse_pose(values: Any, where: str) -> Float[Tensor, "4 4"]:
    """A rigid transform as a 4x4 matrix, metres."""
    right = "it must be a 4x4 matrix [R t; 0 0 0 1] with a rotation R and t in metres"
    try:
        pose = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is not a matrix of numbers; {right}") from error
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or not np.allclose(pose[3], [0, 0, 0, 1]):
        raise InputError(f"{where} is not a pose; {right}")
    rotation = pose[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_ROTATION_TOLERANCE) or np.linalg.det(rotation) < 0:
        raise InputError(f"{where} does not hold a rotation; {right}")
    return torch.tensor(pose, dtype=torch.float32)


def parse_rotation_translation(rotation: Any, translation: Any, unit_m: float, where: str, names: tuple[str, str]) -> Float[Tensor, "4 4"]:
    """A rigid transform, metres, of a rotation (3x3, or nine numbers in row order) and a translation, three numbers of `unit_m` metres."""
    right = f"{names[0]} must be a rotation (nine numbers in row order) and {names[1]} three numbers"
    try:
        R, t = np.array(rotation, dtype=np.float64).reshape(3, 3), np.array(translation, dtype=np.float64).reshape(3)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is not a pose; {right}") from error
    pose = np.vstack([np.column_stack([R, t * unit_m]), [0, 0, 0, 1]])
    return parse_pose(pose, f"{where} ({names[0]}, {names[1]})")


def check_same_size(shapes: dict[str, tuple[int, int]]) -> None:
    """`InputError` unless all (height, width), by name of the file, agree."""
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} is {width}x{height}" for name, (height, width) in shapes.items())
        raise InputError(f"sizes differ: {sizes}; all must have the size of the colour image (register depth to colour first)")


def parse_boxes(values: Any, height: int, width: int, where: str) -> Float[Tensor, "n 4"]:
    """Boxes [x0, y0, x1, y1] in pixels that lie in an image of the given size, clipped to `0 <= x <= width`, `0 <= y <= height`."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) == 0:
        raise InputError(f"{where} holds no boxes; it must be a list of [x0, y0, x1, y1] in pixels")
    boxes = [_parse_box(box, height, width, f"box {index} of {where}") for index, box in enumerate(values)]
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    return torch.minimum(torch.tensor(boxes, dtype=torch.float32).clamp(min=0), limit)


def _parse_box(box: Any, height: int, width: int, where: str) -> list[float]:
    right = f"it must be [x0, y0, x1, y1] with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}"
    numbers = isinstance(box, Sequence) and len(box) == 4 and all(isinstance(x, int | float) and not isinstance(x, bool) for x in box)
    if not numbers or not np.isfinite(box).all():
        raise InputError(f"{where} is {box!r}, not four numbers; {right}")
    x0, y0, x1, y1 = box
    text = f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}]"
    if x0 > x1 or y0 > y1:
        raise InputError(f"{where} {text} is inverted; {right}")
    if x0 == x1 or y0 == y1:
        raise InputError(f"{where} {text} has no area; {right}")
    if min(x0, y0) < -_BOX_TOLERANCE_PIXELS or x1 > width + _BOX_TOLERANCE_PIXELS or y1 > height + _BOX_TOLERANCE_PIXELS:
        raise InputError(f"{where} {text} reaches outside the image of {width}x{height}; {right}")
    return [float(x) for x in box]


def make_disjoint(masks: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """Masks in which a pixel claimed by several belongs to the smallest of them (the one in front, more often than not)."""
    if len(masks) == 0:
        return masks
    area = masks.sum((1, 2)).to(torch.float32)
    owner = torch.where(masks, area[:, None, None], torch.inf).argmin(0)
    return masks & (owner == torch.arange(len(masks), device=masks.device)[:, None, None])


def find_masks_without_depth(observation: Observation) -> dict[int, str]:
    """Indices of the masks that cannot be reconstructed for want of depth readings, and why, in words."""
    left_out = {}
    for index, mask in enumerate(observation.masks):
        pixels, readings = int(mask.sum()), int((mask & observation.valid).sum())
        if readings < MIN_VALID_DEPTH_PIXELS:
            left_out[index] = f"{readings} of its {pixels} pixels have a depth reading; at least {MIN_VALID_DEPTH_PIXELS} are needed"
    return left_out
