"""`renderers.shading.shade_ggx` and `shade_phong` for the CPU, compiled: one pass over the points forward, one backward.

The same equations and the same result; `tests/renderers/test_fused_shading.py` holds them together.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from invgraphics.scene import DirectionalLight, Light, Material, PhongMaterial, PointLight
from renderers import fused_shading_kernels, phong_kernels
from renderers.rasterize.workers import Workers
from renderers.shading import ambient_coefficients, build_light_vector, direct_lights

_BLOCKS_A_PART = 16
_BLOCKS_AT_LEAST = 128
_PARTS_AT_LEAST = 3


def shade_surface(
    positions: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    camera_position: Float[Tensor, "3"],
    tints: Float[Tensor, "n 3"],
    owners: Int[Tensor, " n"],
    materials: Sequence[Material] | Sequence[PhongMaterial],
    lights: Sequence[Light],
    light_visibility: Float[Tensor, "k n"] | None,
    workers: Workers,
) -> Float[Tensor, "n 3"]:
    """Radiance (linear RGB, not clipped) that points of surfaces, all metallic-roughness or all Phong, send to a camera.

    World frame, metres; unit normals. A point's base colour is its tint times that of its owner's material. `light_visibility` as in
    `shade_ggx`. CPU tensors only; differentiable in every tensor, deterministic. At least one material is needed.
    """
    table = torch.stack([torch.cat([value.reshape(-1) for value in vars(item).values()]) for item in materials])
    kernels = phong_kernels if isinstance(materials[0], PhongMaterial) else fused_shading_kernels
    rows = [_light_row(light) for light in direct_lights(lights)]
    sh = ambient_coefficients(lights)
    light_table = torch.stack(rows) if rows else positions.new_zeros(0, 7)
    visibility = positions.new_zeros(0, 0) if light_visibility is None else light_visibility
    harmonics = positions.new_zeros(0, 3) if sh is None else sh
    return _Shade.apply(positions, normals, camera_position, tints, table, light_table, harmonics, visibility, owners, workers, kernels)


def _light_row(light: PointLight | DirectionalLight) -> Tensor:
    """(x, y, z, whether that is a point or the direction towards the light, red, green, blue)."""
    return torch.cat([build_light_vector(light), light.intensity if isinstance(light, PointLight) else light.irradiance])


class _Shade(torch.autograd.Function):
    """See `shade_surface`; materials, lights and harmonics as tables, the model as the module with its loops."""

    @staticmethod
    def forward(ctx, positions, normals, camera, tints, materials, lights, sh, visibility, owners, workers, kernels):
        inputs = (positions, normals, camera, tints, materials, lights, sh, visibility, owners)
        ctx.save_for_backward(*inputs)
        ctx.workers, ctx.kernels = workers, kernels
        out = torch.empty_like(positions, memory_format=torch.contiguous_format)
        blocks = -(-len(positions) // kernels.BLOCK)
        workers.run(kernels.shade, workers.split(blocks, _BLOCKS_AT_LEAST), *_arguments(inputs), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        positions, _, camera, _, materials, lights, sh, visibility, _ = ctx.saved_tensors
        parts = -(-len(positions) // (ctx.kernels.BLOCK * _BLOCKS_A_PART))
        points, seen = np.empty((len(positions), 9), dtype=gradient.numpy().dtype), np.zeros(visibility.shape)
        material_parts, scene_parts = np.zeros((parts, *materials.shape)), np.zeros((parts, 3 + 6 * len(lights) + sh.numel()))
        targets = (gradient.contiguous().numpy(), points, seen, material_parts, scene_parts)
        arguments = (_BLOCKS_A_PART, *_arguments(ctx.saved_tensors), *targets)
        ctx.workers.run(ctx.kernels.shade_gradient, ctx.workers.split(parts, _PARTS_AT_LEAST), *arguments)
        scene = torch.from_numpy(scene_parts.sum(axis=0)).to(camera.dtype)
        of_lights = torch.zeros_like(lights)
        of_lights[:, [0, 1, 2, 4, 5, 6]] = scene[3 : 3 + 6 * len(lights)].reshape(-1, 6)
        of_points = torch.from_numpy(points)
        of_materials = torch.from_numpy(material_parts.sum(axis=0)).to(materials.dtype)
        of_sh, of_visibility = scene[3 + 6 * len(lights) :].reshape(sh.shape), torch.from_numpy(seen).to(visibility.dtype)
        of_scene = (of_materials, of_lights, of_sh, of_visibility)
        return of_points[:, :3], of_points[:, 3:6], scene[:3], of_points[:, 6:], *of_scene, None, None, None


def _arguments(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """The kernels' inputs, in their order; the small tables in float64."""
    positions, normals, camera, tints, materials, lights, sh, visibility, owners = (tensor.detach().contiguous() for tensor in tensors)
    ordered = (positions, normals, tints, owners, materials.double(), camera.double(), lights.double(), sh.double(), visibility)
    return [tensor.numpy() for tensor in ordered]
