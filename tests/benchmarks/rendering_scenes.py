"""What the rendering benchmarks draw."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.scene import AmbientLight, Material, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid
from renderers.rasterize import Rasterizer, build_topology


def five_centres() -> Tensor:
    """Where the five objects lie: in a row, nothing overlapping, a fifth of the image covered."""
    return torch.tensor([[-0.36 + 0.18 * k, 0.1 * (-1) ** k, 0.8] for k in range(5)])


def five_spheres(subdivisions: int) -> tuple[Tensor, Tensor]:
    """Vertices in the camera frame and triangles of five slightly flattened spheres: 5 * 20 * 4^subdivisions triangles."""
    sphere, faces = icosphere(subdivisions)
    radii = torch.tensor([0.087, 0.078, 0.096])
    vertices = torch.cat([sphere * radii + centre for centre in five_centres()])
    return vertices, torch.cat([faces + k * len(sphere) for k in range(5)])


def camera(size: tuple[int, int]) -> Camera:
    """A camera with the same field of view at every size."""
    height, width = size
    focal = 600.0 * min(width / 640, height / 480)
    K = torch.tensor([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    return Camera(K, height, width, torch.eye(4))


def clip_from_world(size: tuple[int, int]) -> Tensor:
    """The camera's projection; world and camera frame are the same."""
    return camera(size).clip_from_camera()


def to_clip(vertices: Tensor, matrix: Tensor) -> Tensor:
    """Clip coordinates (1, v, 4)."""
    return (torch.nn.functional.pad(vertices, (0, 1), value=1.0) @ matrix.T)[None]


def five_objects(size: tuple[int, int]) -> Scene:
    """The five spheres, of 5120 triangles each, as a scene with a point light and an environment, and no plane."""
    sphere, faces = icosphere(4)
    radii = torch.tensor([0.087, 0.078, 0.096])
    objects = []
    for k, centre in enumerate(five_centres()):
        material = Material(torch.tensor([0.8, 0.5, 0.2 + 0.1 * k]), torch.tensor(0.2 * k), torch.tensor(0.2 + 0.15 * k))
        objects.append(SceneObject(f"object_{k:02d}", rigid(torch.eye(3), centre), radii, material, Mesh(sphere * radii, faces)))
    sh = torch.zeros(9, 3)
    sh[0] = 1.0
    lights = (PointLight(torch.tensor([0.3, -0.5, 0.0]), torch.tensor([1.0, 1.0, 1.0])), AmbientLight(sh))
    return Scene(tuple(objects), lights, None, camera(size))


def with_free_vertices(scene: Scene) -> tuple[Scene, list[Tensor]]:
    """The scene with vertices and poses that ask for gradients, and those tensors."""
    objects, leaves = [], []
    for item in scene.objects:
        vertices, pose = item.mesh.vertices.clone().requires_grad_(), item.T_world_object.clone().requires_grad_()
        leaves += [vertices, pose]
        objects.append(replace(item, mesh=replace(item.mesh, vertices=vertices), T_world_object=pose))
    return replace(scene, objects=tuple(objects)), leaves


def build_steps(
    rasterizer: Rasterizer, subdivisions: int, size: tuple[int, int], device: str = "cpu"
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """What draws colour, depth and silhouette of the five spheres, antialiased, and gives all vertices' gradient; and what only draws."""
    vertices, faces = (tensor.to(device) for tensor in five_spheres(subdivisions))
    matrix, topology, colours = clip_from_world(size).to(device), build_topology(faces), vertices.sin()

    def draw(points: Tensor) -> Tensor:
        clip = to_clip(points, matrix)
        drawn = rasterizer.rasterize(clip, faces, size)
        attributes = torch.cat([colours, clip[0, :, 3:], torch.ones_like(colours[:, :1])], dim=1)
        return rasterizer.antialias(rasterizer.interpolate(attributes, drawn, faces), drawn, clip, topology)

    def step() -> Tensor:
        points = vertices.clone().requires_grad_()
        draw(points).square().mean().backward()
        return points.grad

    def forward() -> Tensor:
        with torch.no_grad():
            return draw(vertices)

    return step, forward
