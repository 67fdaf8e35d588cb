"""What surfaces of any materials, mixed in one scene, send to the camera: each point is shaded by the model of its material."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.scene import Light, Material, PhongMaterial, SurfaceMaterial
from renderers.fused_shading import shade_surface
from renderers.rasterize.workers import Workers
from renderers.shading import shade_ggx, shade_phong

MATERIALS = ("metallic-roughness", "phong")
"""What `shade_materials` can shade, for `renderers.protocol.Capabilities`."""


def shade_materials(
    positions: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    camera_position: Float[Tensor, "3"],
    tints: Float[Tensor, "n 3"],
    owners: Int[Tensor, " n"],
    materials: Sequence[SurfaceMaterial],
    lights: Sequence[Light],
    light_visibility: Float[Tensor, "k n"] | None,
    workers: Workers,
) -> Float[Tensor, "n 3"]:
    """Radiance (linear RGB, not clipped) that surface points send to a camera.

    World frame, metres; unit normals. A point's base colour is its tint times that of the material of its owner (index into `materials`,
    of which there must be one). `light_visibility` as in `shade_ggx`. Compiled on the CPU, tensor operations elsewhere.
    """
    shade = shade_surface if positions.device.type == "cpu" else _shade_with_tensors
    kinds = [isinstance(material, PhongMaterial) for material in materials]
    if all(kinds) or not any(kinds):
        return shade(positions, normals, camera_position, tints, owners, materials, lights, light_visibility, workers)
    is_phong = torch.tensor(kinds, device=owners.device)
    colour = torch.zeros_like(positions)
    for phong in (False, True):
        chosen = (is_phong[owners] == phong).nonzero()[:, 0]
        rows = [material for material, kind in zip(materials, kinds, strict=True) if kind == phong]
        number = torch.cumsum(is_phong == phong, dim=0) - 1
        seen = None if light_visibility is None else light_visibility[:, chosen]
        points = (positions[chosen], normals[chosen], camera_position, tints[chosen], number[owners[chosen]])
        colour = colour.index_copy(0, chosen, shade(*points, rows, lights, seen, workers))
    return colour


def _shade_with_tensors(
    positions: Tensor,
    normals: Tensor,
    camera_position: Tensor,
    tints: Tensor,
    owners: Tensor,
    materials: Sequence[Material] | Sequence[PhongMaterial],
    lights: Sequence[Light],
    light_visibility: Tensor | None,
    workers: Workers,
) -> Tensor:
    """`shade_surface` on any device."""
    views = torch.nn.functional.normalize(camera_position - positions, dim=-1, eps=1e-12)
    base_colour, *others = (torch.stack(values) for values in zip(*(vars(material).values() for material in materials), strict=True))
    parameters = (base_colour[owners] * tints, *(value[owners, None] for value in others))
    model = shade_phong if isinstance(materials[0], PhongMaterial) else shade_ggx
    return model(positions, normals, views, *parameters, lights, light_visibility)
