import numpy as np
import pytest
import torch
import trimesh
from scipy.optimize import minimize

from invgraphics.geometry.distances import compute_winding_number, find_inside, find_nearest_faces, find_nearest_points
from invgraphics.geometry.mesh import icosphere


def _random_triangles(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(count, 1, 3, generator=generator, dtype=torch.float64) + 0.3 * torch.randn(
        count, 3, 3, generator=generator, dtype=torch.float64
    )
    return vertices.reshape(-1, 3), torch.arange(3 * count).reshape(-1, 3)


def _distance_by_minimization(point: np.ndarray, triangle: np.ndarray) -> float:
    """Least distance over the barycentric simplex, by a general constrained solver."""
    result = minimize(
        lambda weights: ((weights @ triangle - point) ** 2).sum(),
        np.full(3, 1 / 3),
        jac=lambda weights: 2 * triangle @ (weights @ triangle - point),
        bounds=[(0.0, 1.0)] * 3,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda weights: np.ones(3)},
        options={"ftol": 1e-14},
    )
    return float(np.sqrt(result.fun))


def test_nearest_face_agrees_with_a_constrained_minimizer():
    vertices, faces = _random_triangles(12, seed=1)
    points = torch.randn(25, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    distances, nearest = find_nearest_faces(points, vertices, faces)
    triangles = vertices[faces].numpy()
    expected = np.array([[_distance_by_minimization(point, triangle) for triangle in triangles] for point in points.numpy()])
    np.testing.assert_allclose(distances.numpy(), expected.min(1), atol=1e-5)
    np.testing.assert_allclose(expected[np.arange(25), nearest.numpy()], expected.min(1), atol=1e-5)


def test_the_tree_finds_what_exhaustive_search_finds():
    vertices, faces = _random_triangles(500, seed=3)
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    distances, _ = find_nearest_faces(points, vertices, faces)
    one_by_one = torch.stack([find_nearest_faces(points, vertices, face[None])[0] for face in faces])
    torch.testing.assert_close(distances, one_by_one.min(0).values)


def test_distance_to_a_sphere_is_that_of_its_equation():
    vertices, faces = icosphere(4)
    points = 3.0 * torch.randn(300, 3, generator=torch.Generator().manual_seed(5))
    distances, _ = find_nearest_faces(points, vertices, faces)
    torch.testing.assert_close(distances, (points.norm(dim=-1) - 1).abs(), atol=2e-3, rtol=0)


def test_a_degenerate_triangle_is_a_segment():
    vertices = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [1.0, 0, 0]])
    points = torch.tensor([[1.0, 3, 0], [4.0, 0, 0], [0.5, 0, 0]])
    distances, _ = find_nearest_faces(points, vertices, torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(distances, torch.tensor([3.0, 2.0, 0.0]))


def test_nearest_points_by_exhaustive_search():
    generator = torch.Generator().manual_seed(6)
    queries, points = torch.randn(40, 3, generator=generator), torch.randn(70, 3, generator=generator)
    distances, indices = find_nearest_points(queries, points)
    expected = torch.cdist(queries.double(), points.double()).min(1)
    torch.testing.assert_close(distances, expected.values.float())
    assert torch.equal(indices, expected.indices)


def test_winding_number_tells_inside_from_outside_of_a_concave_closed_mesh():
    torus = trimesh.creation.torus(1.0, 0.3, major_sections=96, minor_sections=48)
    vertices, faces = torch.as_tensor(np.array(torus.vertices)), torch.as_tensor(np.array(torus.faces))
    points = 1.2 * (2 * torch.rand(400, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64) - 1)
    ring = (points[:, :2].norm(dim=-1) - 1).square() + points[:, 2].square()
    clear = (ring.sqrt() - 0.3).abs() > 0.01
    winding = compute_winding_number(points, vertices, faces)
    torch.testing.assert_close(winding[clear], (ring[clear] < 0.09).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("inverted", [False, True])
def test_inside_by_groups_of_faces_is_inside_by_every_face(inverted):
    torus = trimesh.creation.torus(1.0, 0.3, major_sections=96, minor_sections=48)
    vertices, faces = torch.as_tensor(np.array(torus.vertices)), torch.as_tensor(np.array(torus.faces))
    faces = faces[:-40].flip(1) if inverted else faces[:-40]
    points = 1.5 * (2 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64) - 1)
    exact = compute_winding_number(points, vertices, faces).abs()
    clear = (exact - 0.5).abs() > 0.05
    assert clear.float().mean() > 0.98
    assert torch.equal(find_inside(points, vertices, faces)[clear], exact[clear] > 0.5)
    assert not find_inside(points, vertices, faces[:0]).any()


def test_winding_number_over_an_open_hemisphere_is_one_half_at_its_centre():
    vertices, faces = icosphere(4)
    upper = faces[(vertices[faces][..., 2] >= 0).all(-1)]
    winding = compute_winding_number(torch.zeros(1, 3), vertices, upper)
    assert abs(float(winding) - 0.5) < 0.02
