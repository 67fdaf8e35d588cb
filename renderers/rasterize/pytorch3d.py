"""Rasterization by PyTorch3D (Ravi et al. 2020), on the CPU: a third opinion, slow, to check the others with.

PyTorch3D decides what each pixel shows, and with which weights, and differentiates them. Its triangles need no clip space: corners are
handed over as (x, y, depth), x to the left and y upwards, the image's shorter side spanning [-1, 1].
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.errors import MissingDependencyError
from renderers.rasterize.cpu import CpuRasterizer
from renderers.rasterize.protocol import Rasterized
from renderers.rasterize.shared_operations import SharedOperations
from renderers.rasterize.topology import EdgeTopology


@dataclass(frozen=True)
class _Corners:
    """Triangles of all items one after another, as PyTorch3D is given them: whole in front of the near plane, in pieces across it."""

    clip: Float[Tensor, "f 3 4"]
    """Clip coordinates of the whole triangles' corners."""
    triangles: Int[Tensor, " f"]
    """Index of each whole triangle in the list that is drawn."""
    pieces: Int[Tensor, " p"]
    """Which whole triangle each piece is, or is cut from."""
    weights: Float[Tensor, "p 3 3"]
    """Each piece's corners as weighted sums of its triangle's."""
    counts: Int[Tensor, " b"]
    """How many pieces each item of the batch has."""


class Pytorch3dRasterizer(SharedOperations):
    """See `renderers.rasterize.protocol.Rasterizer`. CPU and float32 only.

    Two of PyTorch3D's rules differ: a pixel whose centre lies exactly on an edge shows neither triangle, and triangles of less than
    1e-8 in its units (3e-4 square pixels at 480 rows) are left out. Silhouettes are blended by the "cpu" backend's antialiasing:
    PyTorch3D's own are blurred.
    """

    name = "pytorch3d"
    deterministic = False
    float64 = False
    devices = ("cpu",)

    def __init__(self) -> None:
        """Load PyTorch3D.

        Raises:
            MissingDependencyError: it is not installed.
        """
        try:
            from pytorch3d.ops import interpolate_face_attributes
            from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
            from pytorch3d.structures import Meshes
        except ImportError as error:
            message = "PyTorch3D is not installed; pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d"
            raise MissingDependencyError(message + " (it needs a C++ compiler and half an hour)") from error
        self._rasterize_meshes, self._meshes, self._interpolate_faces = rasterize_meshes, Meshes, interpolate_face_attributes
        self._blends = CpuRasterizer()

    def _draw(self, clip: Tensor, faces: Tensor, size: tuple[int, int], ranges: Tensor | None, culls: bool) -> Rasterized:
        corners = _collect_corners(clip, faces, ranges)
        buffer = clip.new_zeros(len(corners.counts), *size, 4)
        if len(corners.pieces):
            buffer = self._fill(corners, buffer, culls)
        return Rasterized(buffer, ranges, clip.shape[-2])

    def _interpolate(self, attributes: Tensor, rasterized: Rasterized, faces: Tensor) -> Tensor:
        u, v = rasterized.buffer[..., None, :2].unbind(-1)
        ids, weights = rasterized.triangle_ids[..., None], torch.stack([u, v, 1 - u - v], dim=-1)
        if attributes.ndim == 3:
            ids = torch.where(ids >= 0, ids + len(faces) * torch.arange(len(ids))[:, None, None, None], -1)
        values = attributes[..., faces, :].reshape(-1, 3, attributes.shape[-1])
        return self._interpolate_faces(ids, weights, values)[..., 0, :]

    def antialias(
        self,
        image: Float[Tensor, "b h w c"],
        rasterized: Rasterized,
        clip: Float[Tensor, "b v 4"] | Float[Tensor, "v 4"],
        topology: EdgeTopology,
    ) -> Float[Tensor, "b h w c"]:
        """See the protocol."""
        drawn = self._blends.adopt(rasterized.buffer, clip, topology.faces, rasterized.ranges)
        return self._blends.antialias(image, drawn, clip, topology)

    def _fill(self, corners: _Corners, empty: Tensor, culls: bool) -> Tensor:
        """The buffer (b, h, w, 4), from one that is empty."""
        height, width = empty.shape[1:3]
        cut = corners.weights @ corners.clip[corners.pieces]
        scale = cut.new_tensor([max(1.0, width / height), max(1.0, height / width)])
        places = torch.cat([-cut[..., :2] / cut[..., 3:] * scale, cut[..., 3:]], dim=-1)
        parts = places.split(corners.counts.tolist())
        indices = [torch.arange(3 * len(part)).reshape(-1, 3) for part in parts]
        meshes = self._meshes([part.reshape(-1, 3) for part in parts], indices)
        settings = {"faces_per_pixel": 1, "bin_size": 0, "perspective_correct": True, "cull_backfaces": culls}
        found, _, weights, _ = self._rasterize_meshes(meshes, (height, width), **settings)
        pixels = (found.reshape(-1) >= 0).nonzero()[:, 0]
        pieces = found.reshape(-1)[pixels]
        weights = (weights.reshape(-1, 1, 3)[pixels] @ corners.weights[pieces])[:, 0]
        whole = corners.pieces[pieces]
        z, w = (weights[..., None] * corners.clip[whole][..., 2:]).sum(1).unbind(-1)
        ids = (corners.triangles[whole] + 1).to(empty.dtype)
        drawn = torch.stack([weights[:, 0], weights[:, 1], z / w, ids], dim=-1)
        kept = (z <= w).nonzero()[:, 0]
        return empty.reshape(-1, 4).index_put((pixels[kept],), drawn[kept]).reshape(empty.shape)


def _collect_corners(clip: Tensor, faces: Tensor, ranges: Tensor | None) -> _Corners:
    """The triangles of all items, cut at the near plane."""
    if ranges is None:
        corners = clip[:, faces].reshape(-1, 3, 4)
        items = torch.arange(len(clip)).repeat_interleave(len(faces))
        triangles = torch.arange(len(faces)).repeat(len(clip))
    else:
        items = torch.arange(len(ranges)).repeat_interleave(ranges[:, 1])
        drawn = [torch.arange(first, first + count) for first, count in ranges.tolist()]
        triangles = torch.cat([torch.arange(0), *drawn])
        corners = clip[faces[triangles]]
    pieces, weights = cut_at_near_plane((corners[..., 2] + corners[..., 3]).detach())
    batch = len(clip) if ranges is None else len(ranges)
    return _Corners(corners, triangles, pieces, weights, torch.bincount(items[pieces], minlength=batch))


def cut_at_near_plane(heights: Float[Tensor, "f 3"]) -> tuple[Int[Tensor, " p"], Float[Tensor, "p 3 3"]]:
    """Pieces of triangles above a plane, given their corners' signed heights: index of the triangle and weights of its corners.

    The pieces come in the order of the triangles. The weights carry no gradient: what a pixel shows does not depend on where the cut is.
    """
    outside = heights < 0
    number = outside.sum(1)
    index, one = torch.arange(len(heights)), torch.eye(3, dtype=heights.dtype)
    parts = [(index[number == 0], one.expand(int((number == 0).sum()), 3, 3))]
    for count, corners in ((1, ((0, 1), 1, 2)), (1, ((0, 1), 2, (2, 0))), (2, (0, (0, 1), (2, 0)))):
        chosen = index[number == count]
        # Corners are counted from the only one outside, or the only one inside.
        first = (outside[chosen] == (count == 1)).to(torch.uint8).argmax(1)
        order = (first[:, None] + torch.arange(3)) % 3
        above, rows = heights[chosen].gather(1, order), one[order]

        def corner(which: int | tuple[int, int], above: Tensor = above, rows: Tensor = rows) -> Tensor:
            if isinstance(which, int):
                return rows[:, which]
            a, b = which
            share = (above[:, a] / (above[:, a] - above[:, b]))[:, None]
            return rows[:, a] * (1 - share) + rows[:, b] * share

        parts.append((chosen, torch.stack([corner(which) for which in corners], dim=1)))
    pieces, weights = (torch.cat(values) for values in zip(*parts, strict=True))
    order = pieces.argsort(stable=True)
    return pieces[order], weights[order]
