"""What a camera sees of a scene's meshes, for the CPU backend: one compiled pass from vertices and poses to surface points, one back.

The same points as `renderers.mesh_renderer` finds with any rasterizer, op by op; `tests/renderers/test_compiled_surface.py` holds the two
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderers import surface_kernels as kernels
from renderers import vertex_normals_kernels as normal_kernels
from renderers.rasterize.drawing import GRAIN, Drawing, draw_visible
from renderers.rasterize.raster_kernels import add_corners
from renderers.rasterize.workers import Workers


@dataclass(frozen=True)
class VisibleSurface:
    """What the covered pixels' centres see, the pixels sorted by the triangle that they show."""

    pixels: Int[Tensor, " n"]
    """Counted row by row."""
    triangles: Int[Tensor, " n"]
    positions: Float[Tensor, "n 3"]
    """World frame, metres."""
    normals: Float[Tensor, "n 3"]
    """Unit length, world frame, on the side that the camera sees."""
    depth: Float[Tensor, " n"]
    """Along the camera's z, metres."""
    attributes: Float[Tensor, "n c"]
    weights: Float[Tensor, "n 2"]
    """Of the first two corners of the triangle; the third has the rest."""
    clip: Float[Tensor, "v 4"]
    """Clip coordinates of the vertices."""
    geometry: "Geometry"
    """What the drawing was made from, for silhouettes."""


@dataclass(frozen=True)
class Geometry:
    """The placed vertices, and what was drawn of them; all float64."""

    world: np.ndarray
    clip: np.ndarray
    normals: np.ndarray
    lengths: np.ndarray
    """Of the sums that the normals were before they were scaled."""
    depths: np.ndarray
    """(1, h, w): z/w at covered pixels."""
    sides: np.ndarray
    """-1 where a triangle shows its front, 1 its back."""
    drawing: Drawing


def find_visible_surface(
    vertices: Float[Tensor, "v 3"],
    counts: Sequence[int],
    T_world_object: Float[Tensor, "m 4 4"],
    clip_from_world: Float[Tensor, "4 4"],
    attributes: Float[Tensor, "v c"],
    faces: Int[Tensor, "f 3"],
    size: tuple[int, int],
    workers: Workers,
) -> VisibleSurface:
    """Place the vertices of m objects in the world, draw their triangles, and say what each covered pixel of `size` (height, width) sees.

    Object k has the next counts[k] vertices, which no triangle of another object uses. Differentiable in vertices, poses, projection and
    attributes; the gradient of silhouettes comes through `clip`. CPU tensors only; the same bits with any number of threads.

    Raises:
        InputError: a vertex or pose is not finite, or a triangle names a vertex that is not there.
    """
    ends = np.append(np.cumsum(counts, dtype=np.int64), np.iinfo(np.int64).max)
    inputs = (vertices, T_world_object, clip_from_world)
    geometry = _draw(*(tensor.detach().double().contiguous().numpy() for tensor in inputs), ends, faces.numpy(), size, workers)
    points = _VisiblePoints.apply(*inputs, attributes, geometry, ends)
    return VisibleSurface(geometry.drawing.covered, geometry.drawing.covered_triangles, *points, geometry)


def _draw(
    vertices: np.ndarray,
    poses: np.ndarray,
    matrix: np.ndarray,
    ends: np.ndarray,
    faces: np.ndarray,
    size: tuple[int, int],
    workers: Workers,
) -> Geometry:
    world, clip, normals, lengths = (np.zeros((len(vertices), *columns)) for columns in ((3,), (4,), (3,), ()))
    workers.run(kernels.place_vertices, workers.split(len(vertices), GRAIN["vertices"]), vertices, ends, poses, matrix, world, clip)
    drawing, depths, sides = draw_visible(workers, clip, faces, size)
    normal_kernels.sum_normals(world, faces, normals)
    normal_kernels.normalise(normals, lengths)
    return Geometry(world, clip, normals, lengths, depths, sides, drawing)


class _VisiblePoints(torch.autograd.Function):
    """Positions, normals, depth, attributes and weights at covered pixels, and clip coordinates."""

    @staticmethod
    def forward(ctx, vertices, poses, clip_from_world, attributes, geometry, ends):
        ctx.save_for_backward(vertices, poses, clip_from_world, attributes)
        ctx.geometry, ctx.ends = geometry, ends
        n, dtype = len(geometry.drawing.groups[0].pixels), vertices.dtype
        channels = (3,), (3,), (), (attributes.shape[1],), (2,)
        out = [torch.empty((n, *columns), dtype=dtype) for columns in channels]
        _run_over_groups(kernels.sample_surface, geometry, attributes, *(tensor.numpy() for tensor in out))
        return *out, torch.from_numpy(geometry.clip).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        vertices, poses, matrix, attributes = ctx.saved_tensors
        geometry, drawing = ctx.geometry, ctx.geometry.drawing
        of_points, of_clip = [gradient.contiguous().numpy() for gradient in gradients[:-1]], gradients[-1].double().contiguous().numpy()
        groups = drawing.groups[0]
        corners = np.empty((len(groups.triangles), 3, kernels.POINT + attributes.shape[1]))
        _run_over_groups(kernels.sample_gradient, geometry, attributes, *of_points, corners)
        sums = np.zeros((len(vertices), corners.shape[2]))
        add_corners(groups.triangles, drawing.faces, 0, corners, sums)
        of_normals = np.ascontiguousarray(sums[:, 3:6])
        normal_kernels.normalise_gradient(geometry.normals, geometry.lengths, of_normals)
        normal_kernels.sum_normals_gradient(geometry.world, drawing.faces, of_normals, sums)
        of_vertices, of_poses, of_matrices = np.zeros(vertices.shape), np.zeros(poses.shape), np.zeros(poses.shape)
        arguments = (vertices, poses, matrix)
        arrays = [tensor.detach().double().contiguous().numpy() for tensor in arguments]
        objects = [(k, k + 1) for k in range(len(poses))]
        placed = (arrays[0], ctx.ends, *arrays[1:], geometry.world, sums, of_clip, of_vertices, of_poses, of_matrices)
        drawing.workers.run(kernels.place_gradient, objects, *placed)
        found = (of_vertices, of_poses, of_matrices.sum(axis=0), sums[:, kernels.POINT :])
        return *(torch.from_numpy(array).to(vertices.dtype) for array in found), None, None


def _run_over_groups(kernel, geometry: Geometry, attributes: Tensor, *arrays: np.ndarray) -> None:
    """Run a kernel over the visible triangles."""
    drawing = geometry.drawing
    groups = drawing.groups[0]
    ranges = drawing.workers.split(len(groups.triangles), GRAIN["visible"])
    placed = (geometry.sides, geometry.clip, geometry.world, geometry.normals, attributes.detach().contiguous().numpy())
    layout = (groups.pixels, groups.starts, groups.triangles)
    drawing.workers.run(kernel, ranges, drawing.ids.shape[1:], drawing.faces, *placed, *layout, *arrays)
