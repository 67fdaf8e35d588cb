"""`renderers.shading.compute_ellipsoid_shadows` for the CPU, compiled: rays that pass far from an ellipsoid cost next to nothing.

The same equations and the same result; `tests/renderers/test_ellipsoid_shadows.py` holds the two together.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.scene import Light
from renderers import ellipsoid_shadow_kernels as kernels
from renderers.rasterize.workers import Workers
from renderers.shading import build_light_vector, compute_ellipsoid_shadows, direct_lights

_BLOCKS_A_PART = 64
_BLOCKS_AT_LEAST = 64
_PARTS_AT_LEAST = 2


def cast_ellipsoid_shadows(
    positions: Float[Tensor, "n 3"],
    lights: Sequence[Light],
    T_world_object: Float[Tensor, "m 4 4"],
    radii: Float[Tensor, "m 3"],
    owners: Int[Tensor, " n"],
    workers: Workers,
    light_radius: float = 0.05,
    edge: float = 1e-3,
) -> Float[Tensor, "k n"]:
    """Share of each direct light that n world points see past m ellipsoids; what the arguments mean is told at
    `compute_ellipsoid_shadows`, which this calls for tensors that are not on the CPU. Deterministic.
    """
    if positions.device.type != "cpu" or not direct_lights(lights) or not len(radii):
        return compute_ellipsoid_shadows(positions, lights, T_world_object, radii, owners, light_radius, edge)
    sizes = torch.cat([radii, radii.detach().amax(-1, keepdim=True)], dim=-1)
    rows = torch.cat([T_world_object[:, :3, 3], T_world_object[:, :3, :3].flatten(1), sizes], dim=-1)
    light_rows = torch.stack([build_light_vector(light) for light in direct_lights(lights)])
    return _Cast.apply(positions, rows, light_rows, owners, workers, light_radius, edge)


class _Cast(torch.autograd.Function):
    """See `cast_ellipsoid_shadows`; ellipsoids and lights as tables."""

    @staticmethod
    def forward(ctx, positions, ellipsoids, lights, owners, workers, light_radius, edge):
        inputs = (positions, ellipsoids, lights, owners)
        ctx.save_for_backward(*inputs)
        ctx.workers, ctx.widths = workers, (light_radius, edge)
        out = torch.empty((len(lights), len(positions)), dtype=positions.dtype)
        blocks = -(-len(positions) // kernels.BLOCK)
        workers.run(kernels.cast, workers.split(blocks, _BLOCKS_AT_LEAST), *_arguments(inputs), *ctx.widths, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        positions, ellipsoids, lights, _ = ctx.saved_tensors
        parts = -(-len(positions) // (kernels.BLOCK * _BLOCKS_A_PART))
        points = torch.empty_like(positions, memory_format=torch.contiguous_format)
        ellipsoid_parts, light_parts = np.zeros((parts, *ellipsoids.shape)), np.zeros((parts, *lights.shape))
        arguments = (_BLOCKS_A_PART, *_arguments(ctx.saved_tensors), *ctx.widths, gradient.contiguous().numpy(), points.numpy())
        ctx.workers.run(kernels.cast_gradient, ctx.workers.split(parts, _PARTS_AT_LEAST), *arguments, ellipsoid_parts, light_parts)
        sums = (torch.from_numpy(table.sum(axis=0)).to(positions.dtype) for table in (ellipsoid_parts, light_parts))
        return points, *sums, None, None, None, None


def _arguments(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """The kernels' inputs, the tables in float64."""
    positions, ellipsoids, lights, owners = (tensor.detach().contiguous() for tensor in tensors)
    rows = ellipsoids.double().numpy()
    rows = np.concatenate([rows, 1 / rows[:, kernels.RADII : kernels.RADII + 3]], axis=1)
    return [positions.numpy(), owners.numpy(), rows, lights.double().numpy()]
