"""Smooth normals of meshes for rendering: `invgraphics.geometry.mesh.vertex_normals`, compiled where the mesh lies on the CPU."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.geometry.mesh import vertex_normals
from renderers import vertex_normals_kernels as kernels


def compute_vertex_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "v 3"]:
    """Unit outward normals at the vertices: means of their faces' by area. Zero where a vertex has no face."""
    if vertices.device.type != "cpu":
        return vertex_normals(vertices, faces)
    return _VertexNormals.apply(vertices, faces)


class _VertexNormals(torch.autograd.Function):
    """Sums the faces' cross products at their corners and scales the sums to unit length."""

    @staticmethod
    def forward(ctx, vertices, faces):
        points, corners = vertices.detach().double().numpy(), faces.contiguous().numpy()
        ctx.points, ctx.corners, ctx.dtype = points, corners, vertices.dtype
        ctx.normals, ctx.lengths = np.zeros(points.shape), np.zeros(len(points))
        kernels.sum_normals(points, corners, ctx.normals)
        kernels.normalise(ctx.normals, ctx.lengths)
        return torch.from_numpy(ctx.normals).to(vertices.dtype, copy=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        out = np.zeros(ctx.points.shape)
        of_sums = gradient.double().contiguous().numpy().copy()
        kernels.normalise_gradient(ctx.normals, ctx.lengths, of_sums)
        kernels.sum_normals_gradient(ctx.points, ctx.corners, of_sums, out)
        return torch.from_numpy(out).to(ctx.dtype), None
