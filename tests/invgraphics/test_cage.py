"""Mean value coordinates against their defining integral, and the properties that they must have everywhere."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invgraphics.geometry.cage import mean_value_coordinates, sphere_cage
from invgraphics.geometry.mesh import icosphere

CUBE = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=torch.float64)
CUBE_FACES = torch.tensor(
    [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4], [1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]]
)
# An L-shaped prism: not convex.
L_OUTLINE = torch.tensor([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], dtype=torch.float64)
L_FLOOR = [[0, 1, 3], [1, 2, 3], [0, 3, 5], [3, 4, 5]]


def l_shape() -> tuple[Tensor, Tensor]:
    vertices = torch.cat([torch.nn.functional.pad(L_OUTLINE, (0, 1), value=z) for z in (0.0, 0.7)])
    faces = [[a, c, b] for a, b, c in L_FLOOR] + [[a + 6, b + 6, c + 6] for a, b, c in L_FLOOR]
    for k in range(6):
        n = (k + 1) % 6
        faces += [[k, n, n + 6], [k, n + 6, k + 6]]
    return vertices, torch.tensor(faces)


def bumpy_sphere() -> tuple[Tensor, Tensor]:
    vertices, faces = icosphere(1)
    generator = torch.Generator().manual_seed(3)
    bumps = 1 + 0.25 * torch.rand(len(vertices), 1, generator=generator, dtype=torch.float64)
    return vertices.double() * bumps * torch.tensor([1.0, 0.7, 0.5], dtype=torch.float64), faces


CAGES = {"cube": (CUBE, CUBE_FACES), "l": l_shape(), "bumpy": bumpy_sphere()}
INSIDE = {"cube": [0.3, 0.6, 0.2], "l": [0.4, 0.5, 0.3], "bumpy": [0.2, -0.15, 0.1]}
OUTSIDE = {"cube": [1.4, 0.3, 0.5], "l": [1.5, 1.5, 0.3], "bumpy": [0.3, 0.9, -0.4]}


def sphere_directions(count: int) -> Tensor:
    """A Fibonacci lattice."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * k / count, k * math.pi * (3 - math.sqrt(5))
    rim = (1 - z**2).sqrt()
    return torch.stack([rim * angle.cos(), rim * angle.sin(), z], dim=-1)


def integrate_coordinates(point: Tensor, vertices: Tensor, faces: Tensor, directions: Tensor) -> Tensor:
    """The definition: the mean over directions of barycentric coordinates over distance, at every crossing of the ray with the cage,
    entering ones counted as negative."""
    totals = torch.zeros(len(vertices), dtype=torch.float64)
    for face in faces:
        a, b, c = vertices[face] - point
        cross = torch.linalg.cross(b - a, c - a)
        along = directions @ cross
        reach = (a @ cross) / along
        hits = directions * reach[:, None]
        shares = torch.stack([torch.linalg.cross(q - hits, r - hits) @ cross for q, r in ((b, c), (c, a), (a, b))], dim=-1)
        shares = shares / (cross @ cross)
        hit = (reach > 0) & (shares >= 0).all(-1)
        totals[face] += (shares[hit] * (along[hit].sign() / reach[hit])[:, None]).sum(0)
    return totals / totals.sum()


@pytest.mark.parametrize("name", CAGES)
@pytest.mark.parametrize("places", [INSIDE, OUTSIDE], ids=["inside", "outside"])
def test_agrees_with_the_integral_that_defines_it(name: str, places: dict[str, list[float]]) -> None:
    vertices, faces = CAGES[name]
    point = torch.tensor(places[name], dtype=torch.float64)
    expected = integrate_coordinates(point, vertices, faces, sphere_directions(8_000))
    torch.testing.assert_close(mean_value_coordinates(point[None], vertices, faces)[0], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", CAGES)
def test_reproduces_affine_functions_everywhere(name: str) -> None:
    vertices, faces = CAGES[name]
    generator = torch.Generator().manual_seed(0)
    low, high = vertices.min(0).values, vertices.max(0).values
    points = low - 0.5 * (high - low) + 2 * (high - low) * torch.rand(4000, 3, generator=generator, dtype=torch.float64)
    weights = mean_value_coordinates(points, vertices, faces)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(weights.sum(1), torch.ones(4000, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(weights @ (vertices @ matrix + 2.0), points @ matrix + 2.0, atol=1e-7, rtol=0)


def test_is_positive_inside_a_convex_cage() -> None:
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert mean_value_coordinates(points, CUBE, CUBE_FACES).min() > 0


@pytest.mark.parametrize("name", CAGES)
def test_at_a_vertex_is_that_vertex(name: str) -> None:
    vertices, faces = CAGES[name]
    weights = mean_value_coordinates(vertices, vertices, faces)
    torch.testing.assert_close(weights, torch.eye(len(vertices), dtype=torch.float64))


@pytest.mark.parametrize("name", CAGES)
@pytest.mark.parametrize("shares", [[0.2, 0.3, 0.5], [0.9, 0.05, 0.05], [0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
def test_on_a_face_or_an_edge_is_barycentric(name: str, shares: list[float]) -> None:
    vertices, faces = CAGES[name]
    barycentric = torch.tensor(shares, dtype=torch.float64)
    weights = mean_value_coordinates(barycentric @ vertices[faces], vertices, faces)
    expected = torch.zeros(len(faces), len(vertices), dtype=torch.float64).scatter(1, faces, barycentric.expand(len(faces), 3))
    torch.testing.assert_close(weights, expected, atol=1e-9, rtol=0)


def test_in_the_plane_of_a_face_but_beside_it_ignores_it() -> None:
    """The point lies on the extension of the L's inner wall."""
    vertices, faces = CAGES["l"]
    point = torch.tensor([1.0, 0.4, 0.35], dtype=torch.float64)
    beside = point + torch.tensor([1e-6, 0.0, 0.0], dtype=torch.float64)
    weights, near = mean_value_coordinates(torch.stack([point, beside]), vertices, faces)
    torch.testing.assert_close(weights, near, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights @ vertices, point, atol=1e-9, rtol=0)


@given(
    st.floats(-9, -1), st.integers(0, 11), st.sampled_from([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), st.sampled_from([-1, 1])
)
@settings(max_examples=60, deadline=None)
def test_is_accurate_however_near_the_cage(exponent: float, face: int, shares: list[float], side: int) -> None:
    """Interiors of faces, edges and vertices approached from both sides along the normal."""
    corners = CUBE[CUBE_FACES[face]]
    normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    at = torch.tensor(shares, dtype=torch.float64) @ corners
    point = at + side * 10**exponent * normal
    weights = mean_value_coordinates(point[None], CUBE, CUBE_FACES)[0]
    torch.testing.assert_close(weights @ CUBE, point, atol=1e-7, rtol=0)
    assert torch.isfinite(weights).all()


def test_is_continuous_through_a_face() -> None:
    """Weights change by no more than the step (up to a logarithm) when the point steps on to, and through, a face."""
    steps = torch.tensor([-1e-3, -1e-5, -1e-8, 0.0, 1e-8, 1e-5, 1e-3], dtype=torch.float64)
    points = torch.tensor([0.3, 0.25, 1.0], dtype=torch.float64) + steps[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    weights = mean_value_coordinates(points, CUBE, CUBE_FACES)
    assert ((weights - weights[3]).abs().amax(1) <= 5 * steps.abs() + 1e-12).all()


def test_is_smooth_inside() -> None:
    """Second differences along a line fall with the square of the step."""
    direction = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
    middle = torch.tensor([0.5, 0.5, 0.4], dtype=torch.float64)

    def bend(step: float) -> float:
        points = middle + torch.tensor([-step, 0.0, step], dtype=torch.float64)[:, None] * direction
        weights = mean_value_coordinates(points, CUBE, CUBE_FACES)
        return float((weights[0] - 2 * weights[1] + weights[2]).abs().max())

    assert bend(0.01) == pytest.approx(bend(0.02) / 4, rel=0.05)


def test_other_points_do_not_matter() -> None:
    vertices, faces = CAGES["bumpy"]
    points = 0.3 * torch.randn(4500, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = mean_value_coordinates(points, vertices, faces)
    torch.testing.assert_close(weights[4090:4100], mean_value_coordinates(points[4090:4100], vertices, faces))


def test_sphere_cage_surrounds_its_ellipsoid() -> None:
    radii = torch.tensor([0.05, 0.03, 0.01])
    vertices, faces = sphere_cage(2, radii, margin=1.5)
    torch.testing.assert_close((vertices / radii).norm(dim=-1), torch.full((162,), 1.5))
    points, _ = icosphere(3)
    weights = mean_value_coordinates(points * radii, vertices, faces)
    assert weights.dtype == torch.float32
    assert weights.min() > -1e-6
    torch.testing.assert_close(weights @ vertices, points * radii, atol=1e-7, rtol=1e-5)
