"""Ellipsoids against finite differences, definitions, and dense samples of their surface."""

import pytest
import torch
from torch import Tensor

from invgraphics.geometry.ellipsoid import (
    ellipsoid_mesh,
    extreme_unit_points,
    half_extents,
    limb_unit_points,
    move_ellipsoids,
    sampson_distance,
    surface_jacobian,
    surface_points,
)
from invgraphics.geometry.mesh import icosphere, is_closed, volume
from invgraphics.transforms import rigid, so3_exp


def two_ellipsoids() -> tuple[Tensor, Tensor]:
    turns = torch.tensor([[0.3, -0.8, 0.5], [1.2, 0.4, -0.1]], dtype=torch.float64)
    centres = torch.tensor([[0.1, -0.2, 0.6], [-0.3, 0.1, 0.4]], dtype=torch.float64)
    return rigid(so3_exp(turns), centres), torch.tensor([[0.08, 0.05, 0.02], [0.03, 0.03, 0.1]], dtype=torch.float64)


def unit_points(count: int) -> Tensor:
    points = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(points, dim=-1)


def difference_by_tangent(function, step: float = 1e-6) -> Tensor:
    """Central differences (..., 9) of a function of poses and radii."""
    pose, radii = two_ellipsoids()
    columns = []
    for k in range(9):
        tangent = torch.zeros(2, 9, dtype=torch.float64)
        tangent[:, k] = step
        columns.append((function(*move_ellipsoids(pose, radii, tangent)) - function(*move_ellipsoids(pose, radii, -tangent))) / (2 * step))
    return torch.stack(columns, dim=-1)


def test_surface_jacobian_agrees_with_finite_differences() -> None:
    unit = unit_points(6)
    expected = difference_by_tangent(lambda pose, radii: surface_points(pose, radii, unit))
    torch.testing.assert_close(surface_jacobian(*two_ellipsoids(), unit), expected, atol=1e-9, rtol=1e-6)


def test_sampson_jacobian_agrees_with_finite_differences() -> None:
    pose, radii = two_ellipsoids()
    points = surface_points(pose, radii, unit_points(20) * torch.linspace(0.2, 3, 20, dtype=torch.float64)[:, None])
    expected = difference_by_tangent(lambda pose, radii: sampson_distance(points, pose, radii)[0])
    torch.testing.assert_close(sampson_distance(points, pose, radii)[1], expected, atol=1e-8, rtol=1e-6)


def test_sampson_distance_is_the_distance_near_the_surface_and_signed() -> None:
    pose, radii = two_ellipsoids()
    unit = unit_points(50)
    normals = torch.nn.functional.normalize(unit / radii[:, None], dim=-1) @ pose[:, :3, :3].transpose(-1, -2)
    for offset in (-1e-4, 0.0, 1e-4):
        points = surface_points(pose, radii, unit) + offset * normals
        distance, _ = sampson_distance(points, pose, radii)
        torch.testing.assert_close(distance, torch.full_like(distance, offset), atol=3e-6, rtol=0)


def test_sampson_distance_to_a_sphere_is_exact_everywhere() -> None:
    pose, _ = two_ellipsoids()
    radii = torch.full((2, 3), 0.05, dtype=torch.float64)
    reach = torch.linspace(0.1, 10, 30, dtype=torch.float64)
    distance, _ = sampson_distance(surface_points(pose, radii, unit_points(30) * reach[:, None]), pose, radii)
    torch.testing.assert_close(distance, ((reach - 1) * 0.05).expand(2, 30), atol=1e-12, rtol=1e-9)


def test_extremes_bound_a_dense_sample() -> None:
    pose, radii = two_ellipsoids()
    directions = unit_points(7)
    dense = surface_points(pose, radii, icosphere(5)[0].double().expand(2, -1, 3))
    reach = ((dense - pose[:, None, :3, 3]) @ directions.transpose(-1, -2)).amax(1)
    torch.testing.assert_close(half_extents(pose, radii, directions), reach, atol=0, rtol=2e-3)
    extreme = surface_points(pose, radii, extreme_unit_points(pose, radii, directions))
    along = ((extreme - pose[:, None, :3, 3]) * directions).sum(-1)
    torch.testing.assert_close(along, half_extents(pose, radii, directions))


def test_limb_is_where_rays_graze() -> None:
    pose, radii = two_ellipsoids()
    eye = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    unit = limb_unit_points(pose, radii, eye, 16)
    rays = surface_points(pose, radii, unit) - eye
    normals = (unit / radii[:, None]) @ pose[:, :3, :3].transpose(-1, -2)
    cosine = (torch.nn.functional.normalize(rays, dim=-1) * torch.nn.functional.normalize(normals, dim=-1)).sum(-1)
    torch.testing.assert_close(cosine, torch.zeros_like(cosine), atol=1e-12, rtol=0)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2, 16, dtype=torch.float64))
    gaps = (unit - unit.roll(1, 1)).norm(dim=-1)
    torch.testing.assert_close(gaps, gaps[:, :1].expand(-1, 16))


def test_limb_seen_from_inside_is_finite() -> None:
    pose, radii = two_ellipsoids()
    assert torch.isfinite(limb_unit_points(pose, radii, pose[0, :3, 3], 8)).all()


def test_mesh_is_closed_and_has_the_volume() -> None:
    radii = torch.tensor([0.05, 0.03, 0.02])
    mesh = ellipsoid_mesh(radii, 4)
    assert is_closed(mesh.faces)
    assert float(volume(mesh.vertices, mesh.faces)) == pytest.approx(4 / 3 * torch.pi * float(radii.prod()), rel=5e-3)
