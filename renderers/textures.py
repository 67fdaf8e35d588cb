"""Colours that textures give to points of meshes: bilinear, wrapped, differentiable in texels, coordinates and the points themselves."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, Texture
from invgraphics.geometry.texture import sample_image
from renderers import texture_kernels as kernels
from renderers.rasterize.workers import Workers

_POINTS_AT_LEAST = 4096
_FURTHEST_UV = 1e4


def look_up_textures(
    meshes: Sequence[Mesh],
    weights: Float[Tensor, "n 2"],
    triangles: Int[Tensor, " n"],
    owners: Int[Tensor, " n"],
    workers: Workers,
) -> Float[Tensor, "n 3"] | None:
    """Linear RGB of the meshes' textures at n points of their surfaces, white on meshes without one; None where no mesh has one.

    Args:
        meshes: whose triangles are counted through, in this order.
        weights: of the first two corners of the point's triangle; the third has the rest.
        triangles: that the points lie on.
        owners: the mesh that each triangle belongs to.
        workers: run the compiled loops; used on the CPU only.

    Raises:
        InputError: a texture has no texels, not as many triangles as its mesh, or coordinates that are not finite.
    """
    if all(mesh.texture is None for mesh in meshes):
        return None
    for mesh in meshes:
        _check_texture(mesh)
    firsts = np.cumsum([0, *(len(mesh.faces) for mesh in meshes)]).tolist()
    textured = [(k, mesh.texture) for k, mesh in enumerate(meshes) if mesh.texture is not None]
    groups = [(owners == k).nonzero()[:, 0] for k, _ in textured]
    starts = [firsts[k] for k, _ in textured]
    if weights.device.type == "cpu":
        flat = [tensor.to(weights.dtype) for _, texture in textured for tensor in (texture.uv, texture.image)]
        return _LookUp.apply(weights, triangles, groups, starts, workers, *flat)
    colours = weights.new_ones(len(weights), 3)
    for (_, texture), chosen, first in zip(textured, groups, starts, strict=True):
        colours = colours.index_copy(0, chosen, look_up_texture(texture, weights[chosen], triangles[chosen] - first))
    return colours


def look_up_texture(texture: Texture, weights: Float[Tensor, "n 2"], triangles: Int[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    """One texture's linear RGB at points of its mesh, on any device: what the compiled loops stand for."""
    full = torch.cat([weights, 1 - weights.sum(-1, keepdim=True)], dim=-1)
    return sample_image(texture.image, (full[..., None] * texture.uv[triangles]).sum(1))


def _check_texture(mesh: Mesh) -> None:
    if mesh.texture is None:
        return
    if len(mesh.texture.uv) != len(mesh.faces):
        raise InputError(f"a texture has coordinates for {len(mesh.texture.uv)} triangles; its mesh has {len(mesh.faces)}")
    if not (mesh.texture.uv.detach().abs() <= _FURTHEST_UV).all():
        raise InputError(f"a texture has coordinates that are not finite, or beyond {_FURTHEST_UV:g}; the image spans 0 to 1")
    if 0 in mesh.texture.image.shape:
        raise InputError(f"a texture has shape {tuple(mesh.texture.image.shape)}; it needs one texel at least")


class _LookUp(torch.autograd.Function):
    """The textures' colours; `flat` holds uv and image of each in turn, `groups` the points on each, `starts` its first triangle."""

    @staticmethod
    def forward(ctx, weights, triangles, groups, starts, workers, *flat):
        ctx.save_for_backward(weights, triangles, *flat)
        ctx.groups, ctx.starts, ctx.workers = groups, starts, workers
        out = torch.ones(len(weights), 3, dtype=weights.dtype)
        numpy_weights, numpy_triangles, tables = _as_arrays(weights, triangles, flat)
        for k, (chosen, first) in enumerate(zip(groups, starts, strict=True)):
            arguments = (chosen.numpy(), numpy_weights, numpy_triangles, first, *tables[2 * k : 2 * k + 2], out.numpy())
            workers.run(kernels.look_up, workers.split(len(chosen), _POINTS_AT_LEAST), *arguments)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        weights, triangles, *flat = ctx.saved_tensors
        numpy_weights, numpy_triangles, tables = _as_arrays(weights, triangles, flat)
        of_weights = np.zeros(numpy_weights.shape, dtype=numpy_weights.dtype)
        of_tables = [np.zeros(table.shape, dtype=table.dtype) for table in tables]
        incoming = gradient.contiguous().numpy()

        def differentiate(start: int, stop: int) -> None:
            for k in range(start, stop):
                arguments = (ctx.groups[k].numpy(), numpy_weights, numpy_triangles, ctx.starts[k], *tables[2 * k : 2 * k + 2])
                kernels.look_up_gradient(*arguments, incoming, of_weights, *of_tables[2 * k : 2 * k + 2])

        ctx.workers.run(differentiate, [(k, k + 1) for k in range(len(ctx.groups))])
        return torch.from_numpy(of_weights), None, None, None, None, *(torch.from_numpy(table) for table in of_tables)


def _as_arrays(weights: Tensor, triangles: Tensor, flat: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    arrays = [tensor.detach().contiguous().numpy() for tensor in (weights, triangles, *flat)]
    return arrays[0], arrays[1], arrays[2:]
