"""Mesh functions against closed forms of spheres and tetrahedra."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from invgraphics.geometry.mesh import (
    Mesh,
    face_cross,
    icosphere,
    is_closed,
    linear_from_srgb,
    load_mesh,
    sample_surface,
    srgb_from_linear,
    uniform_laplacian,
    unique_edges,
    vertex_normals,
    volume,
)
from invgraphics.transforms import rigid, so3_exp
from tests.invgraphics.properties import quick

CORNERS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


@pytest.mark.parametrize("subdivisions", [1, 2, 3, 4])
def test_icosphere_approaches_the_sphere(subdivisions: int) -> None:
    vertices, faces = icosphere(subdivisions)
    torch.testing.assert_close(vertices.norm(dim=-1), torch.ones(len(vertices)))
    assert len(vertices) == 10 * 4**subdivisions + 2
    assert is_closed(faces)
    assert len(vertices) - len(unique_edges(faces)) + len(faces) == 2
    error = 1 - float(volume(vertices, faces)) / (4 / 3 * math.pi)
    assert 0 < error < 0.6 / 4**subdivisions
    area = float(face_cross(vertices, faces).norm(dim=-1).sum()) / 2
    assert area == pytest.approx(4 * math.pi, rel=0.4 / 4**subdivisions)
    torch.testing.assert_close(vertex_normals(vertices, faces), vertices, atol=0.1 / 2**subdivisions, rtol=0)


@quick
@given(st.tuples(*[st.floats(-3, 3)] * 6))
def test_volume_does_not_change_with_the_pose(twist: tuple[float, ...]) -> None:
    T = rigid(so3_exp(torch.tensor(twist[:3])), torch.tensor(twist[3:]))
    moved = Mesh(CORNERS, TETRAHEDRON).transformed(T)
    assert float(volume(moved.vertices, moved.faces)) == pytest.approx(1.0, abs=1e-4)
    assert float(volume(moved.vertices, moved.faces.flip(1))) == pytest.approx(-1.0, abs=1e-4)


def test_closedness_notices_holes_flips_and_doubles() -> None:
    assert is_closed(TETRAHEDRON)
    assert not is_closed(TETRAHEDRON[1:])
    assert not is_closed(torch.cat([TETRAHEDRON[:1].flip(1), TETRAHEDRON[1:]]))
    assert not is_closed(torch.cat([TETRAHEDRON, TETRAHEDRON]))


def test_laplacian_of_a_regular_mesh() -> None:
    vertices, faces = icosphere(2)
    laplacian = uniform_laplacian(faces, len(vertices), torch.float32)
    torch.testing.assert_close(laplacian @ torch.ones(len(vertices), 1), torch.zeros(len(vertices), 1), atol=1e-6, rtol=0)
    neighbours = {k: set() for k in range(len(vertices))}
    for a, b in unique_edges(faces).tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    mean = torch.stack([vertices[sorted(neighbours[k])].mean(0) for k in range(len(vertices))])
    torch.testing.assert_close(laplacian @ vertices, vertices - mean, atol=1e-6, rtol=0)


def test_samples_are_uniform_by_area_and_on_the_surface() -> None:
    points, normals = sample_surface(CORNERS, TETRAHEDRON, 20_000, torch.Generator().manual_seed(0))
    cross = face_cross(CORNERS, TETRAHEDRON)
    share = cross.norm(dim=-1) / cross.norm(dim=-1).sum()
    unit_normals = torch.nn.functional.normalize(cross, dim=-1)
    face = (normals @ unit_normals.T).argmax(-1)
    torch.testing.assert_close(torch.bincount(face, minlength=4) / 20_000, share, atol=0.012, rtol=0)
    assert float(((points - CORNERS[TETRAHEDRON[face, 0]]) * normals).sum(-1).abs().max()) < 1e-6
    centroids = CORNERS[TETRAHEDRON].mean(1)
    for k in range(4):
        torch.testing.assert_close(points[face == k].mean(0), centroids[k], atol=0.04, rtol=0)


@quick
@given(st.floats(0, 1))
def test_colours_come_back_through_srgb(value: float) -> None:
    colour = torch.tensor([value], dtype=torch.float64)
    torch.testing.assert_close(linear_from_srgb(srgb_from_linear(colour)), colour, atol=1e-6, rtol=1e-6)


def test_srgb_at_known_values() -> None:
    """18 % grey is sRGB 118 of 255; the two branches meet."""
    assert round(255 * float(srgb_from_linear(torch.tensor(0.18)))) == 118
    around = srgb_from_linear(torch.tensor([0.0031307, 0.0031309], dtype=torch.float64))
    assert float(around[1] - around[0]) < 1e-5
    value = torch.tensor([0.0, 1.0], requires_grad=True)
    linear_from_srgb(value).sum().backward()
    assert torch.isfinite(value.grad).all()


def test_files_come_back_with_colours_and_unit(tmp_path: Path) -> None:
    vertices, faces = icosphere(1)
    colours = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    Mesh(vertices, faces, colours).to_trimesh().export(tmp_path / "ball.ply")
    mesh = load_mesh(tmp_path / "ball.ply", unit_m=0.001)
    torch.testing.assert_close(mesh.vertices, 0.001 * vertices, atol=1e-9, rtol=1e-6)
    assert torch.equal(mesh.faces, faces)
    torch.testing.assert_close(srgb_from_linear(mesh.colours), srgb_from_linear(colours), atol=0.51 / 255, rtol=0)
    assert trimesh.load(tmp_path / "ball.ply", process=False).is_watertight
    assert np.asarray(Mesh(vertices, faces).to_trimesh().faces).shape == faces.shape
