"""What every rasterizer backend offers: four differentiable operations, after Laine et al., "Modular primitives for
high-performance differentiable rendering" (2020).

Clip coordinates are `Camera.clip_from_camera() @ point`: x and y in [-w, w] span the image, row 0 at y = -w; z in [-w, w] spans
[near, far]; w is the depth in metres.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from renderers.rasterize.topology import EdgeTopology


@dataclass(frozen=True)
class Rasterized:
    """Which triangle each pixel shows, and where on it."""

    buffer: Float[Tensor, "b h w 4"]
    """(u, v, z/w, triangle index + 1). u and v are the perspective-correct weights of corners 0 and 1; corner 2 has 1 - u - v. All 0
    where nothing is drawn. u, v and z/w carry gradients to the clip coordinates."""
    ranges: Int[Tensor, "b 2"] | None = None
    """(first, number) of the triangles that each item of the batch draws; None where all items draw all."""
    private: object = field(default=None, repr=False)
    """What the backend that made it keeps for its other operations; nothing for others to read."""

    @property
    def triangle_ids(self) -> Int[Tensor, "b h w"]:
        """Index of the triangle that each pixel shows; -1 where nothing is drawn."""
        return self.buffer[..., 3].detach().long() - 1


@runtime_checkable
class Rasterizer(Protocol):
    """The operations of a backend. It holds its own context (threads, device); there is no global one."""

    name: str
    """What `make_rasterizer` calls it."""
    deterministic: bool
    """The same input gives the same bits, forward and backward, with any number of threads."""
    float64: bool
    """Takes float64, and computes in float64 then."""
    devices: tuple[str, ...]
    """Types of torch device that its tensors may lie on."""

    def rasterize(
        self,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        faces: Int[Tensor, "f 3"],
        size: tuple[int, int],
        ranges: Int[Tensor, "b 2"] | None = None,
        cull_back_faces: bool = False,
    ) -> Rasterized:
        """Draw the nearest triangle at every pixel of `size` (height, width).

        Either every item of a batch draws the same triangles with its own vertices (clip is (b, v, 4)), or each draws its own
        triangles, given by `ranges` into `faces`, of common vertices (clip is (v, 4)). Of triangles at the same depth the one with the
        lower index is drawn. A triangle whose corners run counter-clockwise seen from its front is culled seen from its back, if asked.

        Raises:
            InputError: a clip coordinate is not finite, an index or range is out of bounds, or the size is not positive.
        """
        ...

    def interpolate(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "b h w c"]:
        """Vertex attributes at every pixel; 0 where nothing is drawn. (v, c) attributes are shared by all items."""
        ...

    def interpolate_covered(
        self, attributes: Float[Tensor, "b v c"] | Float[Tensor, "v c"], rasterized: Rasterized, faces: Int[Tensor, "f 3"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, "n c"]]:
        """The same at covered pixels only: their indices, counted through all items row by row, the triangles they show, their attributes.

        The pixels come in the order that suits the backend; it is the same for every call with this rasterization.
        """
        ...

    def texture(
        self, texture: Float[Tensor, "bt ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: Literal["wrap", "clamp"] = "wrap"
    ) -> Float[Tensor, "b h w c"]:
        """Bilinear look-up. uv (0, 0) is the outer corner of texel (0, 0), u runs along its columns. bt is b, or 1: shared by all items."""
        ...

    def antialias(
        self,
        image: Float[Tensor, "b h w c"],
        rasterized: Rasterized,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        topology: EdgeTopology,
    ) -> Float[Tensor, "b h w c"]:
        """Blend pixels across silhouette edges by the area that the edges cut off: what gives silhouettes a gradient.

        `topology` is `build_topology(faces)` of the faces that were drawn.
        """
        ...
