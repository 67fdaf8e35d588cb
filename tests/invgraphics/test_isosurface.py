import numpy as np
import pytest
import torch

from invgraphics.geometry.isosurface import Lattice, build_lattice, extract_isosurface
from invgraphics.geometry.mesh import is_closed, volume
from invgraphics.geometry.remesh import simplify, smooth_taubin


def sphere_field(lattice: Lattice, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    return (np.linalg.norm(lattice.points() - centre, axis=1) - radius).reshape(lattice.shape)


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    return float(volume(torch.as_tensor(vertices), torch.as_tensor(faces)))


@pytest.fixture
def lattice() -> Lattice:
    return Lattice(np.full(3, -0.06), 0.003, (41, 41, 41))


def test_sphere_is_closed_outward_and_where_the_field_vanishes(lattice):
    vertices, faces = extract_isosurface(sphere_field(lattice, (0.001, 0.002, 0.0), 0.04), lattice)
    assert is_closed(torch.as_tensor(faces))
    np.testing.assert_allclose(np.linalg.norm(vertices - [0.001, 0.002, 0.0], axis=1), 0.04, atol=1e-4)
    assert signed_volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.04**3, rel=0.01)


def test_random_field_gives_a_closed_surface(lattice):
    coarse = Lattice(lattice.origin, 0.008, (15, 16, 17))
    vertices, faces = extract_isosurface(np.random.default_rng(0).standard_normal(coarse.shape), coarse)
    assert is_closed(torch.as_tensor(faces))
    assert len(np.unique(vertices, axis=0)) == len(vertices)


def test_surface_closes_at_the_border_of_the_lattice(lattice):
    vertices, faces = extract_isosurface(np.full(lattice.shape, -0.001), lattice)
    assert is_closed(torch.as_tensor(faces))
    assert signed_volume(vertices, faces) == pytest.approx((0.003 * 38.5) ** 3, rel=0.1)


def test_nothing_inside_gives_nothing(lattice):
    vertices, faces = extract_isosurface(np.ones(lattice.shape), lattice)
    assert len(vertices) == 0
    assert faces.shape == (0, 3)


def test_lattice_covers_the_box_with_about_as_many_samples_as_asked_for():
    low, high = np.array([0.0, 0.1, -0.2]), np.array([0.3, 0.2, -0.15])
    lattice = build_lattice(low, high, samples=50_000, finest=1e-4)
    points = lattice.points()
    assert (points.min(0) < low).all()
    assert (points.max(0) > high).all()
    assert 20_000 < len(points) <= 50_000


def test_lattice_is_no_finer_than_asked_for():
    assert build_lattice(np.zeros(3), np.full(3, 0.01), samples=10**6, finest=0.002).spacing >= 0.002


def test_smoothing_takes_ripples_and_keeps_the_volume(lattice):
    vertices, faces = extract_isosurface(sphere_field(lattice, (0, 0, 0), 0.04), lattice)
    rippled = vertices + 3e-4 * np.random.default_rng(0).standard_normal(vertices.shape)
    smooth = smooth_taubin(rippled, faces, 10)
    spread = np.linalg.norm(rippled, axis=1).std(), np.linalg.norm(smooth, axis=1).std()
    assert spread[1] < spread[0] / 2
    assert signed_volume(smooth, faces) == pytest.approx(signed_volume(vertices, faces), rel=0.02)


def test_simplification_stays_closed_and_near(lattice):
    vertices, faces = extract_isosurface(sphere_field(lattice, (0, 0, 0), 0.04), lattice)
    simple_vertices, simple_faces = simplify(vertices, faces, 5e-4, longest_edge=0.02)
    assert is_closed(torch.as_tensor(simple_faces))
    assert len(simple_faces) < len(faces) / 4
    assert np.abs(np.linalg.norm(simple_vertices, axis=1) - 0.04).max() < 1.5e-3
    edges = simple_vertices[simple_faces] - simple_vertices[np.roll(simple_faces, 1, axis=1)]
    assert np.linalg.norm(edges, axis=-1).max() < 0.021


def test_simplification_refuses_an_open_mesh(lattice):
    vertices, faces = extract_isosurface(sphere_field(lattice, (0, 0, 0), 0.04), lattice)
    with pytest.raises(ValueError, match="closed"):
        simplify(vertices, faces[1:], 5e-4)
