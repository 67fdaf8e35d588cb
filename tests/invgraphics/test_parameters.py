"""Bijections: there and back, bounds kept, gradients right."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invgraphics.geometry.mesh import icosphere
from invgraphics.parameters import (
    MATERIAL_BIJECTIONS,
    Bijection,
    Diffused,
    Interval,
    Positive,
    RotationAbout,
    Scaled,
    bound_material,
    free_material,
)
from invgraphics.scene import Material, PhongMaterial
from invgraphics.transforms import so3_exp

GENERATOR = torch.Generator().manual_seed(0)
BASE = so3_exp(torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64))
SPHERE, SPHERE_FACES = icosphere(1)
EXAMPLES: dict[str, tuple[Bijection, Tensor]] = {
    "scaled": (Scaled(0.05), torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)),
    "positive": (Positive(), torch.rand(5, generator=GENERATOR, dtype=torch.float64) + 1e-3),
    "unit interval": (Interval(), torch.rand(5, generator=GENERATOR, dtype=torch.float64) * 0.9 + 0.05),
    "interval": (Interval(-2.0, 3.0), torch.rand(5, generator=GENERATOR, dtype=torch.float64) * 4 - 1.5),
    "rotation": (RotationAbout(BASE), BASE @ so3_exp(torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64))),
    "diffused": (Diffused.over(SPHERE_FACES, 42, 10.0, 0.05, torch.float64), SPHERE.double()),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_goes_there_and_back(name: str) -> None:
    bijection, value = EXAMPLES[name]
    free = bijection.to_free(value)
    torch.testing.assert_close(bijection.from_free(free), value)
    torch.testing.assert_close(bijection.to_free(bijection.from_free(free)), free)


@pytest.mark.parametrize("name", EXAMPLES)
def test_has_the_right_gradient(name: str) -> None:
    bijection, value = EXAMPLES[name]
    assert torch.autograd.gradcheck(bijection.from_free, bijection.to_free(value).requires_grad_(True))


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_never_leaves_its_bounds(free: list[float]) -> None:
    tensor = torch.tensor(free, dtype=torch.float64)
    inside = Interval(0.2, 0.7).from_free(tensor)
    assert ((inside >= 0.2) & (inside <= 0.7)).all()
    assert (Positive().from_free(tensor) > 0).all()


def test_values_at_a_bound_start_where_there_is_a_slope() -> None:
    free = Interval().to_free(torch.tensor([0.0, 1.0], dtype=torch.float64)).requires_grad_(True)
    Interval().from_free(free).sum().backward()
    assert torch.isfinite(free).all()
    assert (free.grad > 1e-5).all()


@pytest.mark.parametrize(
    ("bijection", "value"), [(Positive(), -0.1), (Positive(), 0.0), (Interval(0.0, 1.0), 1.2), (Interval(), float("nan"))]
)
def test_refuses_values_out_of_bounds(bijection: Bijection, value: float) -> None:
    with pytest.raises(ValueError, match="must"):
        bijection.to_free(torch.tensor([0.5, value]))


def test_a_step_on_diffused_positions_moves_a_neighbourhood() -> None:
    vertices, faces = icosphere(2)
    diffused = Diffused.over(faces, len(vertices), 10.0, 1.0)
    free = diffused.to_free(vertices)
    pushed = free.clone()
    pushed[7] += torch.tensor([0.0, 0.0, 1.0])
    moved = (diffused.from_free(pushed) - vertices)[:, 2]
    distance = (vertices - vertices[7]).norm(dim=-1)
    ring = distance < 0.4
    assert moved.argmax() == 7
    assert (moved[ring] > 0.2 * moved[7]).all()
    assert moved[distance > 1.5].max() < 0.1 * moved[7]


@pytest.mark.parametrize(
    "material",
    [
        Material(torch.tensor([0.2, 0.5, 0.8]), torch.tensor(0.3), torch.tensor(0.6)),
        PhongMaterial(torch.tensor([0.2, 0.5, 0.8]), *(torch.tensor(value) for value in (0.1, 0.3, 0.2, 25.0))),
    ],
)
def test_materials_of_both_kinds_go_there_and_back(material: Material | PhongMaterial) -> None:
    assert set(MATERIAL_BIJECTIONS[type(material)]) == set(vars(material))
    free = {name: value.requires_grad_() for name, value in free_material(material).items()}
    back = bound_material(type(material), free)
    for name, value in vars(material).items():
        torch.testing.assert_close(getattr(back, name), value)
        assert torch.autograd.grad(getattr(back, name).sum(), free[name])[0].abs().min() > 0
    far = bound_material(type(material), {name: value.detach() + 1e3 for name, value in free.items()})
    assert float(far.base_colour.max()) <= 1.0


def test_materials_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        free_material(PhongMaterial(torch.full((3,), 0.5), *(torch.tensor(value) for value in (0.1, 0.3, -0.2, 25.0))))
