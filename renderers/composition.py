"""Surface points -> images, for the CPU backend: written once where something is seen, blended only where silhouettes pass."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderers import composition_kernels as kernels
from renderers.rasterize.workers import Workers

_POINTS_AT_LEAST = 12288


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
        ctx.set_materialize_grads(False)
        coverage = colour.new_zeros(n_objects, len(depths))
        slots, differences = np.empty(len(depths), dtype=np.int32), np.empty((len(crossings), 3))
        points = [tensor.detach().contiguous().numpy() for tensor in (pixels, owners, radiance, depth, normals)]
        images = [tensor.detach().numpy() for tensor in (colour, depths, ids, normal_image, coverage)]
        workers.run(kernels.scatter, workers.split(len(pixels), _POINTS_AT_LEAST), *points, *images, slots)
        kernels.blend(crossings, images[2], images[0], differences, images[4])
        ctx.layout, ctx.workers = (points[0], crossings, images[2], slots, differences), workers
        ctx.empty, ctx.clip_shape, ctx.n_objects = colour.new_empty(0, 3), clip.shape, n_objects
        return colour, depths, ids, normal_image, coverage

    @staticmethod
    @once_differentiable
    def backward(ctx, colour, depths, _, normal_image, coverage):
        pixels, crossings, ids, slots, differences = ctx.layout
        colour = ctx.empty.new_zeros(len(ids), 3) if colour is None else colour.contiguous()
        coverage = ctx.empty.new_zeros(ctx.n_objects, len(ids)) if coverage is None else coverage.contiguous()
        at_points = [None if image is None else gather_rows(image, pixels, ctx.workers) for image in (colour, depths, normal_image)]
        behind = [None, None, None]
        if any(ctx.needs_input_grad[:4]):
            uncovered = torch.from_numpy(ids < 0)
            images = (colour, depths, normal_image)
            behind = [None if image is None else image * uncovered.reshape(-1, *[1] * (image.ndim - 1)) for image in images]
        of_behind = ctx.empty.numpy() if behind[0] is None else behind[0].numpy()
        of_clip = np.zeros(ctx.clip_shape)
        arrays = (colour.numpy(), coverage.numpy(), at_points[0].numpy(), of_behind, of_clip)
        kernels.blend_gradient(crossings, ids, slots, differences, *arrays)
        return *behind[:2], None, behind[2], *at_points, torch.from_numpy(of_clip).to(colour.dtype), *[None] * 5


def gather_rows(image: Tensor, pixels: np.ndarray, workers: Workers) -> Tensor:
    """Rows of a CPU image (p, c) or (p,) at pixels."""
    rows = image.reshape(len(image), -1).contiguous()
    values = rows.new_empty(len(pixels), rows.shape[1])
    workers.run(kernels.gather, workers.split(len(pixels), _POINTS_AT_LEAST), pixels, rows.numpy(), values.numpy())
    return values.reshape(-1, *image.shape[1:])
