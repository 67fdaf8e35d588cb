"""Surface points -> images, for the CPU backend: written once where something is seen, blended only where silhouettes pass."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderers import composition_kernels as kernels
from renderers.rasterize.workers import Workers

_POINTS_AT_LEAST = 4096


def compose_images(
    behind: tuple[Float[Tensor, "p 3"], Float[Tensor, " p"], Int[Tensor, " p"], Float[Tensor, "p 3"]],
    pixels: Int[Tensor, " n"],
    owners: Int[Tensor, " n"],
    radiance: Float[Tensor, "n 3"],
    depth: Float[Tensor, " n"],
    normals: Float[Tensor, "n 3"],
    clip: Float[Tensor, "v 4"],
    crossings: np.ndarray,
    n_objects: int,
    workers: Workers,
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, " p"], Int[Tensor, " p"], Float[Tensor, "p 3"], Float[Tensor, "m p"]]:
    """Colour, depth, object ids, normals and coverage of m objects, of images of p pixels.

    Args:
        behind: colour, depth, ids (negative) and normals of what is seen where no object is; taken over and written to.
        pixels: that n surface points are seen at, each at most once.
        owners: the points' objects.
        radiance: linear RGB that they send to the camera.
        depth: theirs along the camera's z, metres.
        normals: theirs, unit length, world frame.
        clip: of the vertices, which carries the gradient of silhouettes.
        crossings: where silhouettes pass (`antialias_kernels.RECORD`).
        n_objects: m.
        workers: run the loops.
    """
    return _Compose.apply(*behind, radiance, depth, normals, clip, pixels, owners, crossings, n_objects, workers)


class _Compose(torch.autograd.Function):
    """See `compose_images`."""

    @staticmethod
    def forward(ctx, colour, depths, ids, normal_image, radiance, depth, normals, clip, pixels, owners, crossings, n_objects, workers):
        ctx.mark_dirty(colour, depths, ids, normal_image)
        ctx.mark_non_differentiable(ids)
        coverage = colour.new_zeros(n_objects, len(depths))
        slots, differences = np.empty(len(depths), dtype=np.int32), np.empty((len(crossings), 3))
        points = [tensor.detach().contiguous().numpy() for tensor in (pixels, owners, radiance, depth, normals)]
        images = [tensor.detach().numpy() for tensor in (colour, depths, ids, normal_image, coverage)]
        workers.run(kernels.scatter, workers.split(len(pixels), _POINTS_AT_LEAST), *points, *images, slots)
        kernels.blend(crossings, images[2], images[0], differences, images[4])
        ctx.layout, ctx.workers, ctx.clip_like = (points[0], crossings, images[2], slots, differences), workers, clip.detach()
        return colour, depths, ids, normal_image, coverage

    @staticmethod
    @once_differentiable
    def backward(ctx, colour, depths, _, normal_image, coverage):
        pixels, crossings, ids, slots, differences = ctx.layout
        has_behind = any(ctx.needs_input_grad[:4])
        of_images = [gradient.contiguous() for gradient in (colour, depths, normal_image)]
        of_points = [colour.new_empty(len(pixels), *columns) for columns in ((3,), (), (3,))]
        arrays = [tensor.numpy() for tensor in (*of_images, *of_points)]
        ctx.workers.run(kernels.gather, ctx.workers.split(len(pixels), _POINTS_AT_LEAST), pixels, *arrays)
        uncovered = torch.from_numpy(ids < 0) if has_behind else None
        of_behind = [gradient * uncovered.reshape(-1, *[1] * (gradient.ndim - 1)) if has_behind else None for gradient in of_images]
        behind = of_behind[0].numpy() if has_behind else np.empty((0, 3), dtype=arrays[0].dtype)
        of_clip = np.zeros(ctx.clip_like.shape)
        kernels.blend_gradient(crossings, ids, slots, differences, arrays[0], coverage.contiguous().numpy(), arrays[3], behind, of_clip)
        return *of_behind[:2], None, of_behind[2], *of_points, torch.from_numpy(of_clip).to(colour.dtype), *[None] * 5
