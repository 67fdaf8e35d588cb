"""How much of each light points see past meshes: shadow maps, looked up; compiled on the CPU, tensor operations elsewhere."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderers import shadow_map_kernels as kernels
from renderers.rasterize.workers import Workers
from renderers.shadow_maps import ShadowMaps

_POINTS_A_PART = 4096


def look_past_meshes(
    maps: ShadowMaps, positions: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], owners: Int[Tensor, " n"], workers: Workers
) -> Float[Tensor, " n"]:
    """Share of the maps' light that n world points see; differentiable in positions, shares and projections.

    Four texels are read in each map that a point projects into, each compared with the point's depth and weighed as in bilinear sampling.
    A point is in shadow from one texel's width behind the surface; on the object itself by as much more as the surface slants (two widths
    for each unit of slope: `normals`, unit vectors, are used for that only). This comparison decides, and has no gradient. Points that face
    away from the light are not shaded by their own object: their normal keeps them dark. Deterministic on the CPU.
    """
    if positions.device.type != "cpu":
        return look_with_tensors(maps, positions, normals, owners)
    tables = (maps.owners, maps.limits, maps.texels, maps.light)
    return _Look.apply(positions, maps.shares, maps.projections, maps.depths, normals, owners, tables, workers)


def look_with_tensors(
    maps: ShadowMaps, positions: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], owners: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """`look_past_meshes` on any device: what the compiled loops stand for."""
    with torch.no_grad():
        towards = maps.light[:3] - maps.light[3] * positions
        cosine = (torch.nn.functional.normalize(towards, dim=-1) * normals).sum(-1)
        slope = ((1 - cosine**2).clamp(min=0).sqrt() / cosine.clamp(min=1e-9)).clamp(max=kernels.STEEPEST)
    points, visible = torch.nn.functional.pad(positions, (0, 1), value=1.0), torch.ones_like(cosine)
    for m, owner in enumerate(maps.owners.tolist()):
        x, y, depth, w = (points @ maps.projections[m].T).unbind(-1)
        inside = (w > 0) & (x.abs() <= maps.limits[m] * w) & (y.abs() <= maps.limits[m] * w) & ((owners != owner) | (cosine > 0))
        chosen = inside.nonzero()[:, 0]
        bias = kernels.BIAS + torch.where(owners == owner, kernels.SLOPE_BIAS * slope, 0.0)
        place = (x[chosen], y[chosen], depth[chosen], w[chosen])
        hidden = _read_with_tensors(maps.shares[m], maps.depths[m], *place, maps.texels[m], bias[chosen])
        visible = visible * (1 - torch.zeros_like(visible).index_copy(0, chosen, hidden)).clamp(min=0)
    return visible


def _read_with_tensors(
    shares: Tensor, depths: Tensor, x: Tensor, y: Tensor, depth: Tensor, w: Tensor, texel: Tensor, bias: Tensor
) -> Tensor:
    """How much of points at (x, y, depth, w) of one view is hidden."""
    size = len(shares)
    u, v = (x / w + 1) * 0.5 * size - 0.5, (y / w + 1) * 0.5 * size - 0.5
    column, row = u.detach().floor(), v.detach().floor()
    hidden = torch.zeros_like(u)
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        i, j = (row + below).long(), (column + right).long()
        held = (i >= 0) & (j >= 0) & (i < size) & (j < size)
        i, j = i.clamp(0, size - 1), j.clamp(0, size - 1)
        weight = (u - column if right else 1 - u + column) * (v - row if below else 1 - v + row)
        behind = ((depth - depths[i, j]) / (texel * w) - bias).detach()
        hidden = hidden + torch.where(held, weight * shares[i, j] * behind.clamp(0, 1), 0.0)
    return hidden


class _Look(torch.autograd.Function):
    """See `look_past_meshes`; `tables` are the maps' owners, limits, texels and light."""

    @staticmethod
    def forward(ctx, positions, shares, projections, depths, normals, owners, tables, workers):
        inputs = (positions, shares, projections, depths, normals, owners)
        hidden = torch.empty((len(projections), len(positions)), dtype=positions.dtype)
        visible = torch.empty(len(positions), dtype=positions.dtype)
        ctx.save_for_backward(*inputs, hidden)
        ctx.tables, ctx.workers = tables, workers
        ranges = workers.split(len(positions), _POINTS_A_PART)
        workers.run(kernels.look, ranges, *_arguments(inputs, tables), hidden.numpy(), visible.numpy())
        return visible

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        *inputs, hidden = ctx.saved_tensors
        positions, shares, projections, *_ = inputs
        parts = -(-len(positions) // _POINTS_A_PART)
        points = torch.empty_like(positions, memory_format=torch.contiguous_format)
        projection_parts = np.zeros((parts, *projections.shape))
        of_shares = torch.zeros_like(shares, memory_format=torch.contiguous_format)
        arguments = (*_arguments(inputs, ctx.tables), hidden.numpy(), gradient.contiguous().numpy())
        run, split = ctx.workers.run, ctx.workers.split
        run(kernels.points_gradient, split(parts, 1), _POINTS_A_PART, *arguments, points.numpy(), projection_parts)
        run(kernels.maps_gradient, [(m, m + 1) for m in range(len(shares))], *arguments, of_shares.numpy())
        of_projections = torch.from_numpy(projection_parts.sum(axis=0)).to(projections.dtype)
        return points, of_shares, of_projections, None, None, None, None, None


def _arguments(inputs: Sequence[Tensor], tables: Sequence[Tensor]) -> list[np.ndarray]:
    """The kernels' inputs, in their order; the small tables in float64."""
    positions, shares, projections, depths, normals, owners = (tensor.detach().contiguous() for tensor in inputs)
    view_owners, limits, texels, light = (tensor.detach() for tensor in tables)
    ordered = (
        positions,
        normals,
        owners,
        shares,
        depths,
        projections.double(),
        view_owners,
        limits.double(),
        texels.double(),
        light.double(),
    )
    return [tensor.numpy() for tensor in ordered]
