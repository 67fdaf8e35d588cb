"""The compiled shadows of ellipsoids against the ones they stand for, values and every gradient."""

import pytest
import torch
from torch import Tensor

from invgraphics.scene import AmbientLight, DirectionalLight, PointLight
from invgraphics.transforms import rigid, so3_exp
from renderers.ellipsoid_shadows import cast_ellipsoid_shadows
from renderers.rasterize.workers import Workers
from renderers.shading import compute_ellipsoid_shadows

SHAPES = {
    "round": [[0.05, 0.05, 0.05], [0.04, 0.05, 0.04]],
    "long": [[0.03, 0.06, 0.12], [0.08, 0.05, 0.02]],
    "flat": [[0.1, 0.09, 0.004]] * 2,
}


def make_inputs(shape: str, count: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator)

    return {
        "positions": (normal(count, 3) * 0.2 * torch.tensor([1.0, 1.0, 0.3])).to(dtype),
        "rotation": so3_exp(normal(2, 3)).to(dtype),
        "translation": torch.tensor([[0.0, 0.0, 0.1], [0.1, 0.05, 0.06]], dtype=dtype),
        "radii": torch.tensor(SHAPES[shape], dtype=dtype),
        "place": torch.tensor([0.1, 0.0, 0.22], dtype=dtype),
        "direction": torch.tensor([0.3, -0.2, -0.9], dtype=dtype),
    }


def cast_both(inputs: dict[str, Tensor], threads: int = 2) -> list[Tensor]:
    """One light stands among the objects, one far away, one at infinity."""
    place, white = inputs["place"], torch.ones(3, dtype=inputs["place"].dtype)
    lights = (
        PointLight(place, white),
        AmbientLight(torch.zeros(9, 3)),
        DirectionalLight(inputs["direction"], white),
        PointLight(5 * place, white),
    )
    owners = torch.arange(len(inputs["positions"])) % 3 - 1
    scene = (lights, rigid(inputs["rotation"], inputs["translation"]), inputs["radii"], owners)
    found = cast_ellipsoid_shadows(inputs["positions"], *scene, Workers(threads))
    return [found, compute_ellipsoid_shadows(inputs["positions"], *scene)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 64, 700])
def test_is_what_it_stands_for(shape, count):
    inputs = {name: value.requires_grad_() for name, value in make_inputs(shape, count).items()}
    found, expected = cast_both(inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if count == 700:
        assert (expected < 0.1).any()
        assert (expected > 0.9).any()
    weights = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad((image * weights).sum(), inputs.values(), retain_graph=True) for image in (found, expected)]
    for name, one, other in zip(inputs, *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2, msg=lambda text, name=name: f"{name}: {text}")


def test_same_bits_with_any_number_of_threads():
    results = []
    for threads in (1, 2, 3):
        inputs = {name: value.requires_grad_() for name, value in make_inputs("long", 20000, torch.float32).items()}
        found, _ = cast_both(inputs, threads)
        results.append((found, *torch.autograd.grad(found.square().sum(), inputs.values())))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_without_points_lights_or_ellipsoids_everything_is_seen():
    inputs = make_inputs("round", 5)
    poses, owners = rigid(inputs["rotation"], inputs["translation"]), torch.zeros(5, dtype=torch.int64)
    light = [PointLight(inputs["place"], inputs["place"])]
    for points, lights, count in ((0, light, 2), (5, [], 2), (5, light, 0)):
        arguments = (inputs["positions"][:points], lights, poses[:count], inputs["radii"][:count], owners[:points])
        seen = cast_ellipsoid_shadows(*arguments, Workers())
        assert seen.shape == (len(lights), points)
        assert (seen == 1).all()
