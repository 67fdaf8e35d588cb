"""The CPU's compiled passes against the operations that every backend goes through, on scenes of all sorts: images and every gradient."""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, Texture, icosphere
from invgraphics.scene import (
    AmbientLight,
    DirectionalLight,
    Light,
    Material,
    PhongMaterial,
    Plane,
    PointLight,
    Scene,
    SceneObject,
    SurfaceMaterial,
)
from invgraphics.transforms import rigid, so3_exp
from renderers.mesh_renderer import MeshRenderer
from renderers.protocol import Rendered, Renderer
from renderers.rasterize.cpu import CpuRasterizer
from tests.renderers.available import available_renderers, device_of
from tests.renderers.matrix_scenes import box_mesh
from tests.renderers.scenes import look_at
from tests.renderers.test_compiled_surface import OpByOp


class SceneMaker:
    """Random scenes: few or no objects of all kinds of meshes, materials and lights, small images, now and then from below the plane."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=self.generator)

    def number(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, share: float) -> bool:
        return float(self.uniform()) < share

    def material(self) -> SurfaceMaterial:
        if self.chance(0.3):
            return PhongMaterial(self.uniform(3), 0.2 * self.uniform(), self.uniform() / 2, self.uniform() / 2, 1 + 20 * self.uniform())
        return Material(self.uniform(3), self.uniform(), 0.05 + 0.95 * self.uniform())

    def mesh(self, radii: Tensor) -> Mesh | None:
        kind = ("none", "sphere", "box", "open", "soup", "huge")[self.number(0, 5)]
        if kind == "none":
            return None
        vertices, faces = icosphere(self.number(0, 3))
        mesh = box_mesh(tuple(radii.tolist())) if kind == "box" else Mesh(vertices.double() * radii * (8 if kind == "huge" else 1), faces)
        if kind == "open":
            mesh = replace(mesh, faces=faces[torch.randperm(len(faces), generator=self.generator)[: len(faces) // 2 + 1]])
        if kind == "soup":
            corners = mesh.vertices[faces].reshape(-1, 3)
            mesh = Mesh(corners + 0.01 * self.normal(*corners.shape), torch.arange(len(corners)).reshape(-1, 3))
        if self.chance(0.5):
            mesh = replace(mesh, colours=self.uniform(len(mesh.vertices), 3))
        if self.chance(0.4):
            image = self.uniform(self.number(1, 6), self.number(1, 6), 3)
            mesh = replace(mesh, texture=Texture(2 * self.normal(len(mesh.faces), 3, 2), image))
        return mesh

    def object(self, index: int) -> SceneObject:
        radii = 0.02 + 0.08 * self.uniform(3)
        pose = rigid(so3_exp(self.normal(3)), torch.cat([0.25 * self.normal(2), 0.15 * self.uniform(1)]))
        return SceneObject(f"object {index}", pose, radii, self.material(), self.mesh(radii))

    def light(self) -> Light:
        kind = self.number(0, 2)
        if kind == 0:
            return PointLight(torch.cat([self.normal(2), 0.3 + self.uniform(1)]), self.uniform(3))
        if kind == 1:
            return DirectionalLight(torch.cat([self.normal(2), -0.2 - self.uniform(1)]), self.uniform(3))
        return AmbientLight(torch.cat([self.uniform(1, 3), 0.2 * self.normal(8, 3)]))

    def camera(self) -> Camera:
        height, width = self.number(1, 40), self.number(1, 40)
        fx, fy, cx, cy = (float(value) for value in self.uniform(4))
        rows = [[width * (0.6 + fx), 0.0, width / 2 + cx], [0.0, height * (0.6 + fy), height / 2 - cy], [0.0, 0.0, 1.0]]
        K = torch.tensor(rows, dtype=torch.float64)
        x, y, z = (float(value) for value in self.uniform(3))
        eye = (0.5 * x, -0.6 * y - 0.05, 0.5 * z + 0.01 - (0.3 if self.chance(0.1) else 0.0))
        return Camera(K, height, width, look_at(eye, (0.0, 0.02, 0.04)))

    def scene(self) -> Scene:
        objects = tuple(self.object(index) for index in range(self.number(0, 4)))
        lights = tuple(self.light() for _ in range(self.number(0, 3)))
        return Scene(objects, lights, Plane(self.material()) if self.chance(0.7) else None, self.camera())


def with_leaves(value: object, leaves: list[Tensor]) -> object:
    """A scene whose floats ask for gradients; they are collected."""
    if isinstance(value, Tensor) and value.is_floating_point():
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]
    if isinstance(value, tuple):
        return tuple(with_leaves(item, leaves) for item in value)
    if is_dataclass(value):
        return replace(value, **{field.name: with_leaves(getattr(value, field.name), leaves) for field in fields(value)})
    return value


def draw(renderer: Renderer, scene: Scene) -> tuple[Rendered, list[Tensor]]:
    """The images, and the gradients of a random weighing of all of them."""
    leaves: list[Tensor] = []
    scene = with_leaves(scene, leaves)
    rendered = renderer(scene, scene.camera)
    generator, total = torch.Generator().manual_seed(0), torch.zeros((), dtype=torch.float64)
    for image in (rendered.colour, rendered.depth, rendered.coverage, rendered.normals):
        total = total + (image * torch.randn(image.shape, dtype=image.dtype, generator=generator)).sum()
    if not total.requires_grad:
        return rendered, []
    return rendered, list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


RASTERIZERS = {"op by op": OpByOp()} | {
    name: renderer.rasterizer
    for name, renderer in available_renderers().items()
    if name != "cpu" and renderer.capabilities.draws_meshes and renderer.capabilities.float64 and device_of(renderer) == "cpu"
}


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("other", RASTERIZERS)
def test_compiled_passes_draw_and_differentiate_as_the_operations_do(other, seed):
    scene, shadows = SceneMaker(seed).scene(), ("none", "ellipsoids", "meshes")[seed % 3]
    expected, gradients = draw(MeshRenderer(RASTERIZERS[other], shadows), scene)
    found, found_gradients = draw(MeshRenderer(CpuRasterizer(), shadows), scene)
    for name, image in vars(expected).items():
        assert torch.isfinite(image).all()
        torch.testing.assert_close(getattr(found, name), image, rtol=0, atol=1e-7)
    assert len(found_gradients) == len(gradients)
    for one, two in zip(found_gradients, gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-9 + 1e-6 * float(two.abs().max()) if two.numel() else 0.0)
