"""Phong surfaces compiled and mixed with metallic-roughness ones, in every renderer, against the equations written in tensors."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.errors import MissingDependencyError
from invgraphics.scene import AmbientLight, DirectionalLight, Material, PhongMaterial, PointLight, Scene
from renderers.materials import shade_materials
from renderers.protocol import RENDERERS, make_renderer
from renderers.rasterize.workers import Workers
from renderers.shading import shade_ggx, shade_phong
from tests.helpers import finite_difference
from tests.renderers.scenes import two_objects, with_object
from tests.renderers.test_fused_shading import make_inputs

KINDS = {"phong": (True, True, True), "metallic": (False, False, False), "mixed": (False, True, True)}


def phong_inputs(count: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    inputs = make_inputs(count, dtype)
    generator = torch.Generator().manual_seed(7)
    for name in ("ambient", "diffuse", "specular"):
        inputs[name] = torch.rand(3, dtype=torch.float64, generator=generator).to(dtype)
    return inputs | {"shininess": torch.tensor([2.5, 10.0, 40.0], dtype=dtype)}


def shade_both(inputs: dict[str, Tensor], kinds: tuple[bool, ...], which: str, threads: int = 2) -> tuple[Tensor, Tensor]:
    owners = torch.arange(len(inputs["positions"])) % 3
    known = {
        "point": PointLight(inputs["light"], inputs["intensity"]),
        "directional": DirectionalLight(inputs["direction"], inputs["irradiance"]),
        "ambient": AmbientLight(inputs["sh"]),
    }
    lights = [known[name] for name in which.split()]
    visibility = inputs["visibility"] if len(lights) == 3 else None
    names = (("base", "metallic", "roughness"), ("base", "ambient", "diffuse", "specular", "shininess"))
    materials = [(PhongMaterial if kind else Material)(*(inputs[name][k] for name in names[kind])) for k, kind in enumerate(kinds)]
    points = (inputs["positions"], inputs["normals"], inputs["camera"], inputs["tints"])
    found = shade_materials(*points, owners, materials, lights, visibility, Workers(threads))
    views = torch.nn.functional.normalize(inputs["camera"] - inputs["positions"], dim=-1)
    surface = (inputs["positions"], inputs["normals"], views, inputs["base"][owners] * inputs["tints"])
    columns = [[inputs[name][owners, None] for name in row[1:]] for row in names]
    both = [shade(*surface, *row, lights, visibility) for shade, row in zip((shade_ggx, shade_phong), columns, strict=True)]
    return found, torch.where(torch.tensor(kinds)[owners][:, None], both[1], both[0])


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("lights", ["point", "directional", "ambient", "point directional ambient"])
def test_every_point_is_shaded_by_its_own_model(kinds, lights):
    inputs = {name: value.requires_grad_() for name, value in phong_inputs(150).items()}
    found, expected = shade_both(inputs, KINDS[kinds], lights)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    weights = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((image * weights).sum(), inputs.values(), allow_unused=True) for image in (found, expected)]
    for name, one, other in zip(inputs, *gradients, strict=True):
        zero = torch.zeros_like(inputs[name])
        one, other = (zero if gradient is None else gradient for gradient in (one, other))
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_same_bits_with_any_number_of_threads():
    results = []
    for threads in (1, 2, 3):
        inputs = {name: value.requires_grad_() for name, value in phong_inputs(20_000, torch.float32).items()}
        found, _ = shade_both(inputs, KINDS["phong"], "point directional ambient", threads)
        results.append((found, *torch.autograd.grad(found.square().sum(), inputs.values(), allow_unused=True)))
    for other in results[1:]:
        assert all(a is b or torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def plastic(shininess: float = 20.0) -> PhongMaterial:
    values = ([0.4, 0.6, 0.8], 0.1, 0.25, 0.2, shininess)
    return PhongMaterial(*(torch.tensor(value, dtype=torch.float64) for value in values))


def mixed_scene() -> Scene:
    """The first object metallic-roughness, the second Phong, the plane Phong."""
    scene = two_objects(height=24, width=32, subdivisions=3)
    return replace(with_object(scene, 1, material=plastic()), plane=replace(scene.plane, material=plastic(3.0)))


@pytest.mark.parametrize("name", RENDERERS)
def test_every_renderer_draws_both_in_one_scene(name):
    try:
        renderer = make_renderer(name)
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    if "cpu" not in renderer.capabilities.devices:
        pytest.skip("draws on a GPU only")
    dtype = torch.float64 if renderer.capabilities.float64 else torch.float32
    scenes = [two_objects(height=24, width=32, subdivisions=3, dtype=dtype)]
    shiny = PhongMaterial(*(value.to(dtype) for value in vars(plastic()).values()))
    scenes.append(with_object(scenes[0], 1, material=shiny))
    scenes.append(with_object(scenes[1], 0, material=shiny))
    metallic, mixed, phong = (renderer(scene, scene.camera) for scene in scenes)
    first, second = (metallic.coverage[k] > 0.999 for k in (0, 1))
    assert set(renderer.capabilities.materials) == {"metallic-roughness", "phong"}
    torch.testing.assert_close(mixed.colour[first], metallic.colour[first])
    torch.testing.assert_close(mixed.colour[second], phong.colour[second])
    assert (metallic.colour[second] - phong.colour[second]).abs().max() > 0.05


@pytest.mark.parametrize("which", ["base_colour", "ambient", "diffuse", "specular", "shininess"])
@pytest.mark.parametrize("name", ["cpu", "raycast"])
def test_gradient_of_rendered_phong_parameters(which, name):
    scene, renderer = mixed_scene(), make_renderer(name)
    value = getattr(scene.objects[1].material, which)

    def light(x: Tensor) -> Tensor:
        return (
            renderer(with_object(scene, 1, material=replace(scene.objects[1].material, **{which: x})), scene.camera).colour.square().sum()
        )

    start = value.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(light(start), start)
    torch.testing.assert_close(gradient, finite_difference(light, value, step=1e-5), rtol=1e-6, atol=1e-8)
    assert gradient.abs().max() > 1e-3
