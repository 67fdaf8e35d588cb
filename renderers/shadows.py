"""Which shadows objects cast: what a renderer asks for once an image, and then for each list of surface points."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import Scene
from renderers.ellipsoid_shadows import cast_ellipsoid_shadows
from renderers.mesh_shadows import look_past_meshes
from renderers.rasterize import EdgeTopology, Rasterizer
from renderers.rasterize.workers import Workers
from renderers.shading import direct_lights
from renderers.shadow_maps import draw_shadow_maps

Visibility = Callable[[Tensor, Tensor, Tensor], Tensor | None]
"""World positions (n, 3), unit normals (n, 3) and owners (n,) of points to the share of each direct light that they see (k, n): None for
all of it. An owner is the index of the object that a point lies on, negative where it lies on none."""


def check_shadows(shadows: str, choices: tuple[str, ...]) -> None:
    """Raises InputError for shadows that a renderer has not."""
    if shadows not in choices:
        raise InputError(f"shadows are {shadows!r}; choose one of {', '.join(choices)}")


def see_everything(positions: Tensor, normals: Tensor, owners: Tensor) -> None:
    """The `Visibility` of scenes without shadows."""


def see_past_ellipsoids(scene: Scene, workers: Workers, light_radius: float = 0.05) -> Visibility:
    """The `Visibility` of scenes whose objects cast the shadows of their ellipsoids; see `renderers.shading.compute_ellipsoid_shadows`."""
    if not scene.objects:
        return see_everything
    poses = torch.stack([item.T_world_object for item in scene.objects])
    radii = torch.stack([item.radii for item in scene.objects])

    def look(positions: Tensor, normals: Tensor, owners: Tensor) -> Tensor:
        return cast_ellipsoid_shadows(positions, scene.lights, poses, radii, owners, workers, light_radius)

    return look


def see_past_meshes(
    scene: Scene, meshes: Sequence[Mesh], topology: EdgeTopology, rasterizer: Rasterizer, workers: Workers, size: int
) -> Visibility:
    """The `Visibility` of scenes whose objects cast the shadows of their meshes, drawn as maps of `size` x `size` texels an object and
    light; see `renderers.shadow_maps`. `topology` holds the triangles of all meshes, in the order of the objects.
    """
    lights = direct_lights(scene.lights)
    if not scene.objects or not lights:
        return see_everything
    maps = [draw_shadow_maps(scene, light, meshes, topology, rasterizer, size) for light in lights]

    def look(positions: Tensor, normals: Tensor, owners: Tensor) -> Tensor:
        nothing = positions.new_ones(len(positions))
        return torch.stack(
            [nothing if of_one is None else look_past_meshes(of_one, positions, normals, owners, workers) for of_one in maps]
        )

    return look
