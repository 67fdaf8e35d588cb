"""What every backend asks of its input, for those that do not look at it themselves."""

import torch
from torch import Tensor

from invgraphics.errors import InputError


def check_geometry(clip: Tensor, faces: Tensor, size: tuple[int, int], ranges: Tensor | None, dtypes: tuple[torch.dtype, ...]) -> None:
    """Refuse geometry that cannot be drawn; see `Rasterizer.rasterize`. Waits for the device.

    Raises:
        InputError: with what is wrong and where.
    """
    if min(size) < 1:
        raise InputError(f"image size is {size[0]} x {size[1]}; both sides must be at least 1 pixel")
    if clip.dtype not in dtypes:
        raise InputError(f"clip coordinates are {clip.dtype}; use {' or '.join(str(dtype).removeprefix('torch.') for dtype in dtypes)}")
    if clip.ndim != (3 if ranges is None else 2):
        raise InputError(f"clip coordinates have shape {tuple(clip.shape)}; without ranges they are (b, v, 4), with ranges (v, 4)")
    finite = torch.isfinite(clip).all(-1)
    if not finite.all():
        bad = (~finite).nonzero()[0].tolist()
        raise InputError(f"clip coordinates of vertex {bad[-1]} are {clip[tuple(bad)].tolist()}; all must be finite")
    vertices = clip.shape[-2]
    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= vertices):
        bad = int(((faces < 0) | (faces >= vertices)).any(1).nonzero()[0])
        raise InputError(f"triangle {bad} has vertex indices {faces[bad].tolist()}; there are {vertices} vertices")
    if ranges is not None and len(ranges) and (int(ranges.min()) < 0 or int(ranges.sum(1).max()) > len(faces)):
        raise InputError(f"ranges reach outside the {len(faces)} triangles; each row is (first, number)")


def pick_covered(image: Tensor, triangle_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`interpolate_covered` from an interpolated image: pixels, triangles, values; pixels in ascending order."""
    flat = triangle_ids.reshape(-1)
    pixels = (flat >= 0).nonzero()[:, 0]
    return pixels, flat[pixels], image.flatten(0, 2).index_select(0, pixels)
