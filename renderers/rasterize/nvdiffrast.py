"""The same operations by nvdiffrast (Laine et al. 2020), on an NVIDIA GPU."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.errors import InputError, MissingDependencyError
from renderers.rasterize.checks import check_texture
from renderers.rasterize.protocol import Rasterized
from renderers.rasterize.shared_operations import SharedOperations
from renderers.rasterize.topology import EdgeTopology

OLDEST_VERSION = (0, 3, 4)
"""Takes images of any size (0.3.3) and clips triangles rightly (0.3.4)."""
_INSTALL = "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast (it needs CUDA's compiler)"


class NvdiffrastRasterizer(SharedOperations):
    """See `renderers.rasterize.protocol.Rasterizer`. CUDA and float32 only; sums of gradients come in no fixed order.

    Clip space and buffer layout are nvdiffrast's own, so tensors pass through unchanged but for int32 indices. It snaps vertices to a
    sixteenth of a pixel to decide what a pixel shows, and its antialiasing starts from pixel pairs: silhouettes of triangles smaller than
    a pixel are missed in part, where the other backends find them.
    """

    name = "nvdiffrast"
    deterministic = False
    float64 = False
    devices = ("cuda",)

    def __init__(self, device: torch.device | str | None = None):
        """Open a context on a CUDA device (torch's current one if none is given); it draws what lies there.

        Raises:
            MissingDependencyError: nvdiffrast or a CUDA device is not there, or nvdiffrast is too old.
        """
        try:
            import nvdiffrast
            import nvdiffrast.torch as operations
        except ImportError as error:
            raise MissingDependencyError(f"nvdiffrast is not installed; {_INSTALL}") from error
        version = tuple(int(part) for part in nvdiffrast.__version__.split(".")[:3])
        if version < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            raise MissingDependencyError(f"nvdiffrast {nvdiffrast.__version__} is too old; {oldest} or newer is needed: {_INSTALL}")
        if not torch.cuda.is_available():
            raise MissingDependencyError("nvdiffrast needs a CUDA device and a CUDA build of torch; this machine or torch has none")
        self._operations = operations
        self._device = torch.empty(0, device=device or "cuda").device
        self._context = operations.RasterizeCudaContext(device=self._device)

    def _draw(self, clip: Tensor, faces: Tensor, size: tuple[int, int], ranges: Tensor | None, culls: bool) -> Rasterized:
        """Culling draws the items of a batch one by one."""
        if clip.device != self._device:
            raise InputError(f"clip coordinates lie on {clip.device}; this rasterizer draws on {self._device}")
        vertices, batch = clip.shape[-2], len(clip) if ranges is None else len(ranges)
        if clip.numel() == 0 or len(faces) == 0 or batch == 0:
            return Rasterized(clip.new_zeros(batch, *size, 4), ranges, vertices)
        triangles = self._indices(faces)
        spans = None if ranges is None else ranges.to("cpu", torch.int32).contiguous()
        items = [(clip, triangles, spans)]
        if culls:
            parts = [(item[None], None) for item in clip] if spans is None else [(clip, span[None]) for span in spans]
            items = [(points, _without_back_faces(points, triangles), span) for points, span in parts]
        drawn = [
            self._operations.rasterize(self._context, points.contiguous(), corners, size, ranges=span, grad_db=False)[0]
            for points, corners, span in items
        ]
        result = Rasterized(torch.cat(drawn), ranges, vertices)
        return self._with_depth_gradient(result, clip, faces) if clip.requires_grad else result

    def _interpolate(self, attributes: Tensor, rasterized: Rasterized, faces: Tensor) -> Tensor:
        values = attributes if attributes.ndim == 3 or rasterized.ranges is not None else attributes[None]
        return self._operations.interpolate(values.contiguous(), rasterized.buffer.contiguous(), self._indices(faces))[0]

    def texture(
        self, texture: Float[Tensor, "bt ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: Literal["wrap", "clamp"] = "wrap"
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        check_texture(texture, uv)
        texels = texture.to(uv.dtype).contiguous()
        return self._operations.texture(texels, uv.contiguous(), filter_mode="linear", boundary_mode=boundary)

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
        buffer = rasterized.buffer.detach().contiguous()
        return self._operations.antialias(image.contiguous(), buffer, clip.contiguous(), self._indices(topology.faces))

    def _indices(self, faces: Tensor) -> Tensor:
        return faces.to(self._device, torch.int32).contiguous()

    def _with_depth_gradient(self, drawn: Rasterized, clip: Tensor, faces: Tensor) -> Rasterized:
        """The same values, z/w with a gradient: nvdiffrast gives only u and v one."""
        z, w = self.interpolate(clip[..., 2:], drawn, faces).unbind(-1)
        ratio = z / torch.where(w == 0, 1.0, w)
        u, v, depth, ids = drawn.buffer.unbind(-1)
        return replace(drawn, buffer=torch.stack([u, v, depth.detach() + (ratio - ratio.detach()), ids.detach()], dim=-1))


def _without_back_faces(clip: Tensor, triangles: Tensor) -> Tensor:
    """The triangles, those seen from behind collapsed to a point, so that indices stay as they are."""
    corners = clip.detach().reshape(-1, 4)[triangles.long()][..., [0, 1, 3]]
    return torch.where((torch.linalg.det(corners) < 0)[:, None], triangles, triangles[:, :1])
