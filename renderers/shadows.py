"""Which shadows objects cast: what a renderer asks for once an image, and then for each list of surface points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from renderers.shadow_maps import draw_shadow_maps, spread_light

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


@dataclass(frozen=True)
class MeshShadows:
    """How the shadows of meshes are drawn (see `renderers.shadow_maps`)."""

    size: int = 256
    """Texels along each side of the map of one object and one light."""
    samples: int = 1
    """Lights that each light is spread over: 1 gives edges of one or two texels; 8 and more, penumbrae that widen with the distance."""
    light_radius: float = 0.05
    """Half the angle, radians, under which the scene's middle sees lights that are spread."""

    def __post_init__(self):
        """Raises InputError for sizes and numbers that no map can have."""
        if self.size < 16:
            raise InputError(f"shadow maps have {self.size} texels a side; they need 16 at least")
        if self.samples < 1:
            raise InputError(f"lights are spread over {self.samples} samples; 1 is the least")


def see_past_meshes(
    scene: Scene, meshes: Sequence[Mesh], topology: EdgeTopology, rasterizer: Rasterizer, workers: Workers, settings: MeshShadows
) -> Visibility:
    """The `Visibility` of scenes whose objects cast the shadows of their meshes. `topology` holds the triangles of all meshes, in the order
    of the objects.
    """
    lights = direct_lights(scene.lights)
    if not scene.objects or not lights:
        return see_everything
    middle = torch.stack([item.T_world_object.detach()[:3, 3] for item in scene.objects]).mean(0)
    spread = [spread_light(light, middle, settings.samples, settings.light_radius) for light in lights]
    maps = [[draw_shadow_maps(scene, light, meshes, topology, rasterizer, settings.size) for light in lights] for lights in spread]

    def look(positions: Tensor, normals: Tensor, owners: Tensor) -> Tensor:
        nothing = positions.new_ones(len(positions))
        shares = [[nothing if one is None else look_past_meshes(one, positions, normals, owners, workers) for one in row] for row in maps]
        return torch.stack([torch.stack(row).mean(0) if len(row) > 1 else row[0] for row in shares])

    return look
