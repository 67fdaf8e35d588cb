"""The compiled passes of the CPU backend against the same steps done op by op, values and gradients, and their bits."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import Scene
from invgraphics.transforms import rigid
from renderers.mesh_renderer import MeshRenderer, build_layout
from renderers.protocol import Rendered
from renderers.rasterize import make_rasterizer
from tests.renderers.scenes import two_objects, with_object


class OpByOp:
    """The CPU rasterizer behind its protocol only: `MeshRenderer` then takes the steps that it takes with any backend."""

    def __init__(self):
        self._rasterizer = make_rasterizer("cpu")

    def __getattr__(self, name: str) -> object:
        return getattr(self._rasterizer, name)


def make_scene(kind: str) -> Scene:
    scene = two_objects(height=60, width=80, subdivisions=3)
    if kind == "sunk":
        return with_object(scene, 0, T_world_object=rigid(torch.eye(3).double(), torch.tensor([-0.05, 0.0, 0.0]).double()))
    if kind == "coloured":
        mesh = scene.objects[1].mesh
        scene = with_object(scene, 1, mesh=replace(mesh, colours=(30 * mesh.vertices).sin() / 2 + 0.5))
    if kind == "open":
        mesh = scene.objects[0].mesh
        scene = with_object(scene, 0, mesh=Mesh(mesh.vertices, mesh.faces[::2]))
    return scene if kind == "plane" else replace(scene, plane=None)


def with_leaves(scene: Scene) -> tuple[Scene, list[Tensor]]:
    """The scene with vertices, poses, light and camera that ask for gradients, and those tensors."""
    leaves, objects = [], []
    for item in scene.objects:
        tensors = [item.mesh.vertices, item.T_world_object] + ([] if item.mesh.colours is None else [item.mesh.colours])
        tensors = [tensor.clone().requires_grad_() for tensor in tensors]
        mesh = replace(item.mesh, vertices=tensors[0], colours=tensors[2] if len(tensors) == 3 else None)
        objects.append(replace(item, mesh=mesh, T_world_object=tensors[1]))
        leaves += tensors
    light = scene.lights[0].position.clone().requires_grad_()
    pose, K = scene.camera.T_world_camera.clone().requires_grad_(), scene.camera.K.clone().requires_grad_()
    lights = (replace(scene.lights[0], position=light), *scene.lights[1:])
    camera = replace(scene.camera, T_world_camera=pose, K=K)
    return replace(scene, objects=tuple(objects), lights=lights, camera=camera), [*leaves, light, pose, K]


def measure_all(rendered: Rendered) -> Tensor:
    """A function of all images to which every pixel adds its own share."""
    images = (rendered.colour, rendered.depth, rendered.coverage, rendered.normals)
    generator = torch.Generator().manual_seed(0)
    return sum((image * torch.rand(image.shape, dtype=image.dtype, generator=generator)).sum() for image in images)


@pytest.mark.parametrize("kind", ["plane", "sunk", "coloured", "open"])
def test_compiled_passes_are_the_steps_done_op_by_op(kind):
    scene, leaves = with_leaves(make_scene(kind))
    layout, results = build_layout(scene), []
    for rasterizer in (make_rasterizer("cpu"), OpByOp()):
        rendered = MeshRenderer(rasterizer)(scene, scene.camera, layout)
        results.append((rendered, torch.autograd.grad(measure_all(rendered), leaves)))
    (compiled, gradients), (expected, expected_gradients) = results
    assert (compiled.object_ids >= 0).sum() > 300
    assert torch.equal(compiled.object_ids, expected.object_ids)
    for name in ("colour", "depth", "coverage", "normals"):
        torch.testing.assert_close(getattr(compiled, name), getattr(expected, name), rtol=0, atol=1e-9)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-7, atol=1e-7 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["colour", "depth", "coverage", "normals"])
def test_one_image_alone_has_a_gradient(name):
    scene, leaves = with_leaves(make_scene("plane"))
    results = []
    for rasterizer in (make_rasterizer("cpu"), OpByOp()):
        image = getattr(MeshRenderer(rasterizer)(scene, scene.camera), name)
        results.append(torch.autograd.grad(image.square().sum(), leaves[:2]))
    for gradient, other in zip(*results, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-7, atol=1e-9)
        assert gradient.abs().max() > 0


def test_whole_scenes_have_the_same_bits_with_any_number_of_threads():
    results = []
    for threads in (1, 2, 4):
        scene, leaves = with_leaves(two_objects(height=360, width=480, dtype=torch.float32, subdivisions=5))
        renderer = MeshRenderer(make_rasterizer("cpu", threads=threads))
        rendered = renderer(scene, scene.camera)
        results.append([*vars(rendered).values(), *torch.autograd.grad(measure_all(rendered), leaves)])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
