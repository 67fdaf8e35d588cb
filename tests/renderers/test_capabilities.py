"""What a renderer says of itself is so: what it can do shows in its images, what it cannot leaves them as they are."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.scene import Scene
from renderers.protocol import PLANE_ID, Renderer, make_renderer
from renderers.rasterize import make_rasterizer
from tests.renderers.available import available_renderers, device_of, fit_scene
from tests.renderers.matrix_scenes import ellipsoids, meshes, textured, vertex_colours
from tests.renderers.scenes import moved, with_object

RENDERERS = available_renderers()


@pytest.fixture(params=RENDERERS, ids=str)
def renderer(request) -> Renderer:
    return RENDERERS[request.param]


def colour_of(renderer: Renderer, scene: Scene) -> Tensor:
    scene = fit_scene(scene, renderer)
    return renderer(scene, scene.camera).colour


def test_meshes(renderer):
    bare = meshes()
    bare = with_object(with_object(bare, 0, mesh=None), 1, mesh=None)
    differs = not torch.equal(colour_of(renderer, meshes()), colour_of(renderer, bare))
    assert differs == renderer.capabilities.draws_meshes


@pytest.mark.parametrize(("what", "build"), [("vertex_colours", vertex_colours), ("textures", textured)])
def test_colours_of_meshes(renderer, what, build):
    differs = not torch.equal(colour_of(renderer, build()), colour_of(renderer, meshes()))
    assert differs == getattr(renderer.capabilities, what)


def test_shadows(renderer):
    scene = fit_scene(ellipsoids(), renderer)
    with_objects, alone = renderer(scene, scene.camera), renderer(replace(scene, objects=()), scene.camera)
    plane = with_objects.object_ids == PLANE_ID
    plane &= (with_objects.foreground == 0) & (alone.object_ids == PLANE_ID)
    darker = (with_objects.colour[plane] < 0.8 * alone.colour[plane]).all(-1)
    assert bool(darker.any()) == (renderer.capabilities.shadows != "none")


def test_silhouettes_have_a_gradient(renderer):
    scene = fit_scene(ellipsoids(), renderer)
    pose = scene.objects[0].T_world_object.clone().requires_grad_()
    coverage = renderer(with_object(scene, 0, T_world_object=pose), scene.camera).coverage
    ramp = torch.linspace(0, 1, coverage.shape[-1], dtype=coverage.dtype, device=coverage.device)
    (gradient,) = torch.autograd.grad((coverage * ramp).sum(), pose)
    assert bool(gradient.abs().max() > 0.1) == renderer.capabilities.silhouette_gradients


def test_the_same_input_gives_the_same_bits(renderer):
    if not renderer.capabilities.deterministic:
        pytest.skip("it does not say so")
    scene, results = fit_scene(meshes(), renderer), []
    threads = torch.get_num_threads()
    for number in (threads, threads, 1):
        torch.set_num_threads(number)
        pose = scene.objects[0].T_world_object.clone().requires_grad_()
        rendered = renderer(with_object(scene, 0, T_world_object=pose), scene.camera)
        (gradient,) = torch.autograd.grad(rendered.colour.square().sum() + rendered.coverage.square().sum() + rendered.depth.sum(), pose)
        results.append((rendered.colour, rendered.depth, rendered.coverage, gradient))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_numbers(renderer):
    scene = moved(meshes(), device_of(renderer), torch.float64)
    if renderer.capabilities.float64:
        assert renderer(scene, scene.camera).colour.dtype == torch.float64
        return
    with pytest.raises(InputError, match="float32"):
        renderer(scene, scene.camera)


def test_auto_draws_what_lies_on_the_cpu_by_the_cpu_backend_whatever_the_machine_has(monkeypatch):
    """Else a reconstruction, whose tensors lie there, would fail as soon as nvdiffrast is installed beside a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert make_rasterizer("auto").name == make_renderer("auto").name == "cpu"


def test_auto_on_cuda_needs_a_backend_that_draws_there(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"tensors on cuda.*invgraphics\[warp\]"):
        make_rasterizer("auto", device="cuda")
