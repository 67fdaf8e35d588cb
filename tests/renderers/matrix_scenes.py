"""The scenes that every renderer draws: what each tests, small enough to draw with slow backends too. float64."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, Texture, icosphere
from invgraphics.scene import DirectionalLight, PhongMaterial, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from renderers.protocol import Capabilities
from tests.renderers.scenes import look_at, material, two_objects, with_object

HEIGHT, WIDTH = 24, 32


def box_mesh(half: tuple[float, float, float]) -> Mesh:
    """Every face with corners of its own, so that it is shaded flat. float64."""
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)], dtype=torch.float64)
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    first = torch.arange(6)[:, None] * 4
    faces = torch.cat([first + torch.tensor([0, 1, 2]), first + torch.tensor([0, 2, 3])])
    return Mesh(corners[quads.reshape(-1)] * torch.tensor(half, dtype=torch.float64), faces)


def posed(turn: tuple[float, float, float], place: tuple[float, float, float]) -> Tensor:
    return rigid(so3_exp(torch.tensor(turn, dtype=torch.float64)), torch.tensor(place, dtype=torch.float64))


def two_in_view(**settings: int) -> Scene:
    """`two_objects`, a third of the image theirs."""
    scene = two_objects(height=HEIGHT, width=WIDTH, **settings)
    K = torch.tensor([[52.0, 0.0, WIDTH / 2 - 0.3], [0.0, 53.0, HEIGHT / 2 - 1.4], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return replace(scene, camera=replace(scene.camera, K=K))


def ellipsoids() -> Scene:
    return two_in_view(with_mesh=False)


def meshes() -> Scene:
    return two_in_view(subdivisions=3)


def box_on_plane() -> Scene:
    half = (0.07, 0.05, 0.06)
    box = SceneObject(
        "box", posed((0, 0, 0.6), (0, -0.02, 0.06)), torch.tensor(half).double(), material((0.7, 0.5, 0.2), 0.1, 0.6), box_mesh(half)
    )
    return replace(meshes(), objects=(box,))


def vertex_colours() -> Scene:
    scene = meshes()
    mesh = scene.objects[0].mesh
    return with_object(scene, 0, mesh=replace(mesh, colours=0.5 + 0.4 * torch.sin(40 * mesh.vertices)))


def textured() -> Scene:
    """A picture of 8 x 6 texels wrapped around the egg; the pebble keeps its plain colour."""
    scene = meshes()
    mesh = scene.objects[0].mesh
    image = torch.rand(6, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return with_object(scene, 0, mesh=replace(mesh, texture=Texture(mesh.vertices[mesh.faces][..., :2] * 5 + 0.2, image)))


def phong() -> Scene:
    """One object in Phong's material, the other and the plane in metallic-roughness."""
    numbers = (torch.tensor(value, dtype=torch.float64) for value in ([0.8, 0.4, 0.3], 0.1, 0.5, 0.4, 12.0))
    return with_object(meshes(), 1, material=PhongMaterial(*numbers))


def mixed_materials() -> Scene:
    """A row of spheres, rough to smooth, dielectric and metal, under a point and a directional light only."""
    sphere, faces = icosphere(3)
    mesh = Mesh(sphere.double() * 0.045, faces)
    objects = [
        SceneObject(
            f"ball {k}",
            posed((0, 0, 0), (-0.1 + 0.1 * (k % 3), 0.06 - 0.1 * (k // 3), 0.045)),
            mesh.vertices.new_full((3,), 0.045),
            material((0.9, 0.6, 0.3), float(k // 3), (0.1, 0.4, 1.0)[k % 3]),
            mesh,
        )
        for k in range(6)
    ]
    lights = tuple(light for light in meshes().lights if isinstance(light, PointLight | DirectionalLight))
    return replace(meshes(), objects=tuple(objects), lights=lights)


def small_triangles() -> Scene:
    """Two meshes of 20480 triangles each: more triangles than pixels."""
    return two_in_view(subdivisions=5)


def near_plane() -> Scene:
    """A long board that begins behind the camera, at its height, and ends in front of it."""
    scene = meshes()
    board = SceneObject(
        "board",
        posed((-0.35, 0.05, 0.0), (0.16, -0.5, 0.33)),
        torch.tensor([0.05, 0.6, 0.02]).double(),
        material((0.2, 0.7, 0.4), 0.0, 0.7),
        box_mesh((0.05, 0.6, 0.02)),
    )
    return replace(scene, objects=(*scene.objects, board))


def partly_outside() -> Scene:
    scene = meshes()
    camera = replace(scene.camera, T_world_camera=look_at((0.1, -0.35, 0.3), (0.07, 0.04, 0.03)))
    return replace(scene, camera=camera)


SCENES: dict[str, Callable[[], Scene]] = {
    function.__name__: function
    for function in (
        ellipsoids,
        meshes,
        box_on_plane,
        vertex_colours,
        textured,
        phong,
        mixed_materials,
        small_triangles,
        near_plane,
        partly_outside,
    )
}


def is_drawable(scene: Scene, capabilities: Capabilities) -> bool:
    """Whether a renderer's image shows all that the scene holds."""
    meshes = [item.mesh for item in scene.objects if item.mesh is not None]
    kinds = {"phong" if isinstance(item.material, PhongMaterial) else "metallic-roughness" for item in scene.objects}
    return (
        (capabilities.draws_meshes or not meshes)
        and (capabilities.vertex_colours or all(mesh.colours is None for mesh in meshes))
        and (capabilities.textures or all(mesh.texture is None for mesh in meshes))
        and kinds <= set(capabilities.materials)
    )


def cameras_around(scene: Scene, count: int) -> list[Camera]:
    """The scene's own camera, and others beside it of other image sizes."""
    return [
        replace(scene.camera.resize(WIDTH + 6 * k, HEIGHT - 4 * k), T_world_camera=look_at((0.1 - 0.15 * k, -0.5, 0.4), (0.0, 0.0, 0.04)))
        for k in range(count)
    ]
