"""The same operations by nvdiffrast (Laine et al. 2020), on an NVIDIA GPU. Needs nvdiffrast 0.3.3 or newer: any image size."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.errors import InputError, MissingDependencyError
from renderers.rasterize.checks import check_geometry, pick_covered
from renderers.rasterize.protocol import Rasterized
from renderers.rasterize.topology import EdgeTopology


class NvdiffrastRasterizer:
    """See `renderers.rasterize.protocol.Rasterizer`. CUDA and float32 only; sums of gradients come in no fixed order.

    Clip space and buffer layout are nvdiffrast's own, so tensors pass through unchanged but for int32 indices. Its antialiasing
    starts from pixel pairs: silhouettes of triangles smaller than a pixel are missed in part, where the other backends find them.
    """

    name = "nvdiffrast"
    deterministic = False
    float64 = False
    devices = ("cuda",)

    def __init__(self, device: torch.device | str | None = None):
        """Open a context on a CUDA device (torch's current one if none is given).

        Raises:
            MissingDependencyError: nvdiffrast or a CUDA device is not there.
        """
        try:
            import nvdiffrast.torch as operations
        except ImportError as error:
            message = "nvdiffrast is not installed; pip install git+https://github.com/NVlabs/nvdiffrast (it needs CUDA's compiler)"
            raise MissingDependencyError(message) from error
        if not torch.cuda.is_available():
            raise MissingDependencyError("nvdiffrast needs a CUDA device and a CUDA build of torch; this machine or torch has none")
        self._operations = operations
        self._context = operations.RasterizeCudaContext(device=device)

    def rasterize(
        self,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        faces: Int[Tensor, "f 3"],
        size: tuple[int, int],
        ranges: Int[Tensor, "b 2"] | None = None,
        cull_back_faces: bool = False,
    ) -> Rasterized:
        """See the protocol. Culling draws the items of a batch one by one."""
        check_geometry(clip, faces, size, ranges, (torch.float32,))
        if clip.device.type != "cuda":
            raise InputError(f"clip coordinates lie on {clip.device}; nvdiffrast draws on cuda")
        if clip.numel() == 0 or len(faces) == 0 or (ranges is not None and len(ranges) == 0):
            batch = len(clip) if ranges is None else len(ranges)
            return Rasterized(clip.new_zeros(batch, *size, 4), ranges)
        triangles = faces.int().contiguous()
        spans = None if ranges is None else ranges.int().cpu().contiguous()
        if not cull_back_faces:
            return Rasterized(self._operations.rasterize(self._context, clip.contiguous(), triangles, size, spans, False)[0], ranges)
        items = [(item[None], None) for item in clip] if spans is None else [(clip, span[None]) for span in spans]
        drawn = [
            self._operations.rasterize(self._context, points, _without_back_faces(points, triangles), size, span, False)[0]
            for points, span in items
        ]
        return Rasterized(torch.cat(drawn), ranges)

    def interpolate(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        if len(faces) == 0 or rasterized.buffer.numel() == 0:
            return rasterized.buffer.new_zeros(*rasterized.buffer.shape[:3], attributes.shape[-1])
        values = attributes if attributes.ndim == 3 or rasterized.ranges is not None else attributes[None]
        return self._operations.interpolate(values.contiguous(), rasterized.buffer, faces.int().contiguous())[0]

    def interpolate_covered(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, "n c"]]:
        """See the protocol. Pixels come in ascending order."""
        return pick_covered(self.interpolate(attributes, rasterized, faces), rasterized.triangle_ids)

    def texture(
        self, texture: Float[Tensor, "bt ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: Literal["wrap", "clamp"] = "wrap"
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        return self._operations.texture(texture.contiguous(), uv.contiguous(), filter_mode="linear", boundary_mode=boundary)

    def antialias(
        self,
        image: Float[Tensor, "b h w c"],
        rasterized: Rasterized,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        topology: EdgeTopology,
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        if len(topology.faces) == 0 or image.numel() == 0:
            return image
        return self._operations.antialias(image.contiguous(), rasterized.buffer, clip.contiguous(), topology.faces.int().contiguous())


def _without_back_faces(clip: Tensor, triangles: Tensor) -> Tensor:
    """The triangles, those seen from behind collapsed to a point, so that indices stay as they are."""
    corners = clip.detach().reshape(-1, 4)[triangles.long()][..., [0, 1, 3]]
    return torch.where((torch.linalg.det(corners) < 0)[:, None], triangles, triangles[:, :1])
