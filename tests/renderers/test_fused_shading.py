"""The compiled shading against the one it stands for, values and every gradient."""

import pytest
import torch

from invgraphics.scene import AmbientLight, DirectionalLight, Material, PointLight
from renderers.fused_shading import shade_surface
from renderers.rasterize.workers import Workers
from renderers.shading import shade_ggx


def make_inputs(count: int, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return (low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=generator)).to(dtype)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1).to(dtype)

    normals = unit(count, 3)
    normals[:, 2] = normals[:, 2].abs()
    return {
        "positions": uniform(-0.2, 0.2, count, 3),
        "normals": torch.nn.functional.normalize(normals, dim=-1),
        "camera": torch.tensor([0.1, -0.3, 0.9], dtype=dtype),
        "tints": uniform(0.5, 1.0, count, 3),
        "base": uniform(0.1, 0.9, 3, 3),
        "metallic": uniform(0.0, 1.0, 3),
        "roughness": torch.tensor([0.15, 0.5, 0.9], dtype=dtype),
        "light": torch.tensor([0.5, 0.2, 0.8], dtype=dtype),
        "intensity": uniform(0.5, 2.0, 3),
        "direction": torch.tensor([0.2, 0.4, -0.9], dtype=dtype),
        "irradiance": uniform(0.5, 2.0, 3),
        "sh": torch.cat([uniform(0.8, 1.2, 1, 3), uniform(-0.2, 0.2, 8, 3)]),
        "visibility": uniform(0.0, 1.0, 2, count),
    }


def shade_both(inputs: dict[str, torch.Tensor], which_lights: str, threads: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    count = len(inputs["positions"])
    owners = torch.arange(count) % 3
    materials = [Material(inputs["base"][k], inputs["metallic"][k], inputs["roughness"][k]) for k in range(3)]
    known = {
        "point": PointLight(inputs["light"], inputs["intensity"]),
        "directional": DirectionalLight(inputs["direction"], inputs["irradiance"]),
        "ambient": AmbientLight(inputs["sh"]),
    }
    lights = [known[name] for name in which_lights.split()]
    visibility = inputs["visibility"] if len([name for name in which_lights.split() if name != "ambient"]) == 2 else None
    arguments = (inputs["positions"], inputs["normals"], inputs["camera"], inputs["tints"], owners, materials, lights, visibility)
    fused = shade_surface(*arguments, Workers(threads))
    views = torch.nn.functional.normalize(inputs["camera"] - inputs["positions"], dim=-1, eps=1e-12)
    base, metallic, roughness = (inputs[name][owners] for name in ("base", "metallic", "roughness"))
    surface = (base * inputs["tints"], metallic[:, None], roughness[:, None])
    reference = shade_ggx(inputs["positions"], inputs["normals"], views, *surface, lights, visibility)
    return fused, reference


@pytest.mark.parametrize("lights", ["point", "directional", "ambient", "point directional ambient"])
@pytest.mark.parametrize("count", [1, 64, 150])
def test_is_the_metallic_roughness_model(lights, count):
    inputs = {name: value.requires_grad_() for name, value in make_inputs(count).items()}
    fused, reference = shade_both(inputs, lights)
    torch.testing.assert_close(fused, reference, rtol=1e-9, atol=1e-10)
    weights = torch.randn(fused.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients, expected = (torch.autograd.grad((image * weights).sum(), inputs.values(), allow_unused=True) for image in (fused, reference))
    for name, one, other in zip(inputs, gradients, expected, strict=True):
        if other is None:
            assert one is None or not one.any(), name
        else:
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_same_bits_with_any_number_of_threads():
    results = []
    for threads in (1, 2, 3):
        inputs = {name: value.requires_grad_() for name, value in make_inputs(20_000, torch.float32).items()}
        fused, _ = shade_both(inputs, "point directional ambient", threads)
        results.append((fused, *torch.autograd.grad(fused.square().sum(), inputs.values())))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_no_points_and_no_lights_are_dark():
    inputs = make_inputs(10)
    owners = torch.zeros(0, dtype=torch.int64)
    material = [Material(inputs["base"][0], inputs["metallic"][0], inputs["roughness"][0])]
    empty = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    nothing = shade_surface(empty, empty, inputs["camera"], empty, owners, material, [AmbientLight(inputs["sh"])], None, Workers())
    assert nothing.shape == (0, 3)
    nothing.sum().backward()
    everything = (inputs["positions"], inputs["normals"], inputs["camera"], inputs["tints"], owners.new_zeros(10), material)
    assert (shade_surface(*everything, [], None, Workers()) == 0).all()
