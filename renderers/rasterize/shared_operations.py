"""What backends share that do not look at their input themselves: checks, and operations that need no kernels of their own."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.errors import InputError
from renderers.rasterize.checks import check_attributes, check_geometry, check_texture
from renderers.rasterize.protocol import Rasterized


class SharedOperations(ABC):
    """See `renderers.rasterize.protocol.Rasterizer`. `rasterize` and `interpolate` check their input and hand it on; the rest is torch."""

    name: str
    float64: bool

    def rasterize(
        self,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        faces: Int[Tensor, "f 3"],
        size: tuple[int, int],
        ranges: Int[Tensor, "b 2"] | None = None,
        cull_back_faces: bool = False,
    ) -> Rasterized:
        """See the protocol. At most 2^24 - 1 triangles."""
        check_geometry(clip, faces, size, ranges, (torch.float32, torch.float64) if self.float64 else (torch.float32,))
        return self._draw(clip, faces, size, ranges, cull_back_faces)

    def interpolate(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        check_attributes(attributes, len(rasterized.buffer), self._count_vertices(rasterized))
        if len(faces) == 0 or rasterized.buffer.numel() == 0 or attributes.numel() == 0:
            return rasterized.buffer.new_zeros(*rasterized.buffer.shape[:3], attributes.shape[-1])
        return self._interpolate(attributes.to(rasterized.buffer.dtype), rasterized, faces)

    @abstractmethod
    def _draw(self, clip: Tensor, faces: Tensor, size: tuple[int, int], ranges: Tensor | None, culls: bool) -> Rasterized:
        """As `rasterize`, for geometry that can be drawn."""

    @abstractmethod
    def _interpolate(self, attributes: Tensor, rasterized: Rasterized, faces: Tensor) -> Tensor:
        """As `interpolate`, where there is something to interpolate."""

    def _count_vertices(self, rasterized: Rasterized) -> int:
        """How many vertices an item of the rasterization has: what is kept in `private`, where a backend needs no more."""
        if not isinstance(rasterized.private, int):
            raise InputError(f"this rasterization was made by another backend than {self.name}")
        return rasterized.private

    def interpolate_covered(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, "n c"]]:
        """See the protocol. Pixels come in ascending order."""
        image, triangles = self.interpolate(attributes, rasterized, faces), rasterized.triangle_ids.reshape(-1)
        pixels = (triangles >= 0).nonzero()[:, 0]
        return pixels, triangles[pixels], image.flatten(0, 2).index_select(0, pixels)

    def texture(
        self, texture: Float[Tensor, "bt ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: Literal["wrap", "clamp"] = "wrap"
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        check_texture(texture, uv)
        items, rows, columns, _ = texture.shape
        x, y = uv[..., 0] * columns - 0.5, uv[..., 1] * rows - 0.5
        left, top = x.detach().floor(), y.detach().floor()
        s, t = (x - left)[..., None], (y - top)[..., None]
        item = torch.arange(len(uv), device=uv.device)[:, None, None] % items

        def texel(row: Tensor, column: Tensor) -> Tensor:
            if boundary == "wrap":
                return texture[item, row.long() % rows, column.long() % columns]
            return texture[item, row.long().clamp(0, rows - 1), column.long().clamp(0, columns - 1)]

        above = texel(top, left) * (1 - s) + texel(top, left + 1) * s
        below = texel(top + 1, left) * (1 - s) + texel(top + 1, left + 1) * s
        return above * (1 - t) + below * t
