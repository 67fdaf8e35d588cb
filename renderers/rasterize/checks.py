"""What every backend asks of its input, for those that do not look at it themselves."""

import torch
from torch import Tensor

from invgraphics.errors import InputError

LARGEST_ID = 2**24 - 1
"""More triangles than this cannot be told apart in a float32 buffer."""


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
    if len(faces) > LARGEST_ID:
        raise InputError(f"{len(faces)} triangles are more than this backend can number ({LARGEST_ID})")
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


def check_attributes(attributes: Tensor, batch: int, vertices: int) -> None:
    """Refuse vertex attributes that do not go with a rasterization of so many items and vertices; see `Rasterizer.interpolate`.

    Raises:
        InputError: with both shapes.
    """
    if attributes.shape[-2] != vertices or (attributes.ndim == 3 and len(attributes) != batch):
        raise InputError(f"attributes have shape {tuple(attributes.shape)}; the rasterization has {batch} items, {vertices} vertices")


def check_texture(texture: Tensor, uv: Tensor) -> None:
    """Refuse a texture that cannot be looked up at `uv`; see `Rasterizer.texture`.

    Raises:
        InputError: it has no texel, or another number of items.
    """
    if texture.shape[0] not in (1, uv.shape[0]) or 0 in texture.shape:
        raise InputError(f"texture has shape {tuple(texture.shape)}; it needs 1 or {uv.shape[0]} items of at least one texel")
