"""What a camera sees of the support plane: with tensor operations on any device, and compiled for the CPU backend."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.camera import Camera
from invgraphics.transforms import transform_points
from renderers import ground_kernels as kernels
from renderers.composition import gather_rows
from renderers.composition_kernels import scatter_rows
from renderers.protocol import BACKGROUND_ID, PLANE_ID
from renderers.rasterize.workers import Workers
from renderers.support_plane import compute_plane_depth

_ROWS_AT_LEAST = 128
_PIXELS_AT_LEAST = 32768
_PIXELS_A_PART = 8192


@dataclass(frozen=True)
class Ground:
    """The plane in the pixels that see it, and the images of the plane alone."""

    pixels: Int[Tensor, " n"]
    """That see the plane past what is before it; counted row by row, ascending."""
    positions: Float[Tensor, "n 3"]
    """World frame, metres."""
    depth: Float[Tensor, " p"]
    """Of all pixels, metres; 0 where the plane is not seen. Its gradient counts at `pixels`."""
    ids: Int[Tensor, " p"]
    normals: Float[Tensor, "p 3"]
    """World frame; 0 where the plane is not seen."""


def measure_ground(camera: Camera) -> Float[Tensor, " p"]:
    """Depth of the plane in all pixels, metres; 0 where it is not seen. Differentiable."""
    return compute_plane_depth(camera, camera.rays().reshape(-1, 3))


def find_ground(camera: Camera, depth: Float[Tensor, " p"], hidden: Int[Tensor, " m"]) -> Ground:
    """The plane, m pixels of which something hides; `depth` is that of `measure_ground`. Differentiable in the camera."""
    on_plane = depth.detach() > 0
    ids, normals = torch.where(on_plane, PLANE_ID, BACKGROUND_ID), depth.new_zeros(len(depth), 3)
    normals[:, 2] = on_plane
    on_plane[hidden] = False
    pixels = on_plane.nonzero()[:, 0]
    positions = transform_points(camera.T_world_camera, camera.rays().reshape(-1, 3)[pixels] * depth[pixels, None])
    return Ground(pixels, positions, depth.clone(), ids, normals)


def measure_ground_compiled(camera: Camera, workers: Workers) -> Float[Tensor, " p"]:
    """`measure_ground` on the CPU, without its gradient, which is `find_ground_compiled`'s."""
    depth = camera.K.new_empty(camera.height * camera.width)
    rows = workers.split(camera.height, _ROWS_AT_LEAST)
    workers.run(kernels.measure_depth, rows, *_as_arrays(camera.K, camera.T_world_camera), camera.width, depth.numpy())
    return depth


def find_ground_compiled(camera: Camera, depth: Float[Tensor, " p"], hidden: Int[Tensor, " m"], workers: Workers) -> Ground:
    """`find_ground` on the CPU; `depth` is that of `measure_ground_compiled`. The same bits with any number of threads."""
    is_hidden = np.zeros(len(depth), dtype=np.bool_)
    is_hidden[hidden.numpy()] = True
    ids, normals, pixels = torch.empty(len(depth), dtype=torch.int64), depth.new_empty(len(depth), 3), np.empty(len(depth), dtype=np.int64)
    pixels = pixels[: kernels.list_pixels(depth.numpy(), is_hidden, ids.numpy(), normals.numpy(), pixels)]
    positions, image = _SeePlane.apply(camera.K, camera.T_world_camera, depth, pixels, camera.width, workers)
    return Ground(torch.from_numpy(pixels), positions, image, ids, normals)


class _SeePlane(torch.autograd.Function):
    """Positions of the plane at pixels, and the image of its depth."""

    @staticmethod
    def forward(ctx, K, pose, depth, pixels, width, workers):
        ctx.save_for_backward(K, pose, depth)
        ctx.pixels, ctx.width, ctx.workers = pixels, width, workers
        points = depth.new_empty(len(pixels), 3)
        ranges = workers.split(len(pixels), _PIXELS_AT_LEAST)
        workers.run(kernels.place_points, ranges, pixels, *_as_arrays(K, pose), width, depth.numpy(), points.numpy())
        return points, depth.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, of_points, of_depth):
        K, pose, depth = ctx.saved_tensors
        n_parts = -(-len(ctx.pixels) // _PIXELS_A_PART)
        parts = np.zeros((n_parts, kernels.PARAMETERS))
        arrays = (ctx.pixels, *_as_arrays(K, pose), ctx.width, depth.numpy(), of_points.contiguous().numpy(), of_depth.contiguous().numpy())
        ctx.workers.run(kernels.camera_gradient, ctx.workers.split(n_parts, 4), _PIXELS_A_PART, *arrays, parts)
        found = torch.from_numpy(parts.sum(axis=0)).to(K.dtype)
        of_K, of_pose = torch.zeros_like(K), torch.zeros_like(pose)
        of_K[[0, 1, 0, 1], [0, 1, 2, 2]] = found[:4]
        of_pose[:3] = found[4:].reshape(3, 4)
        return of_K, of_pose, None, None, None, None


def _as_arrays(K: Tensor, pose: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().contiguous().numpy() for tensor in (K, pose)]


def spread(values: Float[Tensor, "n c"], pixels: Int[Tensor, " n"], count: int, workers: Workers) -> Float[Tensor, "p c"]:
    """An image of `count` pixels on the CPU with the rows of `values` at `pixels`, each named once, and 0 elsewhere."""
    return _Spread.apply(values, pixels, count, workers)


class _Spread(torch.autograd.Function):
    """See `spread`."""

    @staticmethod
    def forward(ctx, values, pixels, count, workers):
        ctx.pixels, ctx.workers = pixels, workers
        image = values.new_zeros(count, values.shape[1])
        rows = (pixels.numpy(), values.detach().contiguous().numpy(), image.numpy())
        workers.run(scatter_rows, workers.split(len(pixels), _PIXELS_AT_LEAST), *rows)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gather_rows(gradient, ctx.pixels.numpy(), ctx.workers), None, None, None
