"""Operations that need no kernels of their own: what backends share that leave them to torch."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from renderers.rasterize.checks import check_texture
from renderers.rasterize.protocol import Rasterized


class TorchOperations(ABC):
    """`interpolate_covered` by way of `interpolate`, and `texture`; see `renderers.rasterize.protocol.Rasterizer`."""

    @abstractmethod
    def interpolate(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol; each backend has its own."""

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
