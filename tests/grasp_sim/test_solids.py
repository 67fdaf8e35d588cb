"""Convex pieces and mass properties against shapes whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from jaxtyping import Float
from manifold3d import Manifold
from scipy.spatial import ConvexHull

from grasp_sim.convex import decompose, simplify, solid_from_surface
from grasp_sim.solids import Polyhedron, _inset, _is_sliver, _thinned, build_solid, find_hull, object_surface, place_scene
from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, mesh_from_trimesh
from invgraphics.scene import Material, Plane, Scene, SceneObject
from tests.grasp_sim.shapes import make_bowl, make_box


def contains(pieces: tuple[Polyhedron, ...], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """How deep each point is inside the nearest piece, metres; negative outside."""
    depths = []
    for piece in pieces:
        corners = piece.vertices[piece.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1)
        kept = length > 1e-12
        normals = normals[kept] / length[kept, None]
        depths.append(-((points[:, None] - corners[kept, 0]) * normals).sum(-1).max(1))
    return np.max(depths, axis=0)


@pytest.mark.parametrize("mesh", [make_box(0.1, 0.06, 0.02), mesh_from_trimesh(trimesh.creation.icosphere(subdivisions=3, radius=0.04))])
def test_a_convex_shape_is_one_piece(mesh: Mesh) -> None:
    assert len(build_solid(mesh).pieces) == 1


def test_a_piece_as_good_as_flat_is_told_and_does_not_stop_the_others() -> None:
    """Half a nanometre thick, as an underside laid on the table leaves: too thin for the intersection of its half-spaces."""
    flat = np.random.default_rng(0).uniform(-0.02, 0.02, (12, 3)) * [1, 1, 0]
    sheet = np.concatenate([flat, flat + np.array([0, 0, 5e-10])])
    np.testing.assert_array_equal(_inset(sheet, 1e-3), sheet)
    assert _is_sliver(Manifold.cube((0.04, 0.04, 1e-7)))
    assert not _is_sliver(Manifold.cube((0.04, 0.04, 1e-4)))


def test_few_corners_fill_a_rounded_box() -> None:
    """The corners that are extreme in 100 evenly spread directions fill 92.7 % of it."""
    ball = trimesh.creation.icosphere(subdivisions=4).vertices
    points = np.sign(ball) * np.abs(ball) ** 0.4 * [0.05, 0.04, 0.02]
    thinned = _thinned(points)
    assert len(thinned) <= 100
    assert ConvexHull(thinned).volume > 0.94 * ConvexHull(points).volume


def test_the_inside_of_a_bowl_stays_open_and_its_wall_closed() -> None:
    radius, wall = 0.06, 0.004
    pieces = build_solid(make_bowl(radius, wall)).pieces
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(400, 3))
    directions[:, 2] = -np.abs(directions[:, 2])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inside = contains(pieces, (radius - wall - 0.003) * directions)
    assert (inside < 0).all(), "a piece reaches more than 3 mm into the bowl"
    middle_of_wall = contains(pieces, (radius - wall / 2) * directions)
    assert (middle_of_wall > -1.5e-3).mean() > 0.98, "the wall has holes"


def test_pieces_cover_the_solid_without_much_more() -> None:
    bowl = make_bowl()
    solid = simplify(solid_from_surface(bowl.vertices.double().numpy(), bowl.faces.numpy()))
    pieces = decompose(solid)
    volume = sum(piece.volume() for piece in pieces)
    assert solid.volume() * 0.999 < volume < solid.volume() + 2 * 5e-4 * solid.surface_area()
    assert solid.hull().volume() > 3 * volume


def test_mass_properties_are_those_of_the_solid() -> None:
    cylinder = trimesh.creation.cylinder(radius=0.03, height=0.12, sections=256)
    cylinder.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0, 0, 0]))
    cylinder.apply_translation([0.1, 0.2, 0.3])
    solid = build_solid(mesh_from_trimesh(cylinder, torch.float64))
    volume = np.pi * 0.03**2 * 0.12
    assert solid.volume == pytest.approx(volume, rel=1e-3)
    np.testing.assert_allclose(solid.T_body_inertial[:3, 3], [0.1, 0.2, 0.3], atol=1e-6)
    across = volume * (3 * 0.03**2 + 0.12**2) / 12
    np.testing.assert_allclose(np.sort(solid.unit_inertia), np.sort([volume * 0.03**2 / 2, across, across]), rtol=2e-3)
    assert np.linalg.det(solid.T_body_inertial[:3, :3]) == pytest.approx(1)


def test_an_open_surface_is_refused() -> None:
    box = make_box(0.1, 0.1, 0.1)
    with pytest.raises(InputError, match="not a closed surface"):
        build_solid(Mesh(box.vertices, box.faces[:-1]))


def test_scene_objects_without_a_mesh_are_their_ellipsoids() -> None:
    grey = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([0.1, 0.2, 0.05])
    item = SceneObject("egg", pose, torch.tensor([0.02, 0.03, 0.05]), grey)
    placed = place_scene(Scene((item,), (), Plane(grey), Camera(torch.eye(3), 2, 2, torch.eye(4))))[0]
    assert placed.name == "egg"
    assert placed.solid.volume == pytest.approx(4 / 3 * np.pi * 0.02 * 0.03 * 0.05, rel=0.02)
    np.testing.assert_allclose(placed.T_world_body[:3, 3], [0.1, 0.2, 0.05], atol=1e-7)
    torch.testing.assert_close(object_surface(item).vertices.abs().max(0).values, torch.tensor([0.02, 0.03, 0.05]), rtol=1e-5, atol=0)


def test_shape_samples_become_the_solids_that_trials_vary_over() -> None:
    grey = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))
    shapes = tuple(make_box(0.04, 0.05, height) for height in (0.06, 0.08, 0.1))
    item = SceneObject("box", torch.eye(4), torch.tensor([0.02, 0.025, 0.03]), grey, shapes[0])
    (placed,) = place_scene(Scene((item,), (), Plane(grey), Camera(torch.eye(3), 2, 2, torch.eye(4))), (shapes,))
    heights = [np.ptp(placed.with_sample(number).solid.vertices[:, 2]) for number in range(4)]
    np.testing.assert_allclose(heights, [0.06, 0.08, 0.1, 0.06], atol=1e-6)


def test_a_scaled_solid_is_the_solid_of_the_scaled_mesh() -> None:
    mesh = make_box(0.04, 0.06, 0.09)
    scaled, built = build_solid(mesh).scaled(0.8), build_solid(make_box(0.032, 0.048, 0.072))
    assert scaled.volume == pytest.approx(built.volume)
    np.testing.assert_allclose(scaled.unit_inertia, built.unit_inertia, rtol=1e-5)
    np.testing.assert_allclose(np.ptp(scaled.vertices, axis=0), np.ptp(built.vertices, axis=0))
    for one, other in zip(scaled.pieces, built.pieces, strict=True):
        np.testing.assert_allclose(np.ptp(one.vertices, axis=0), np.ptp(other.vertices, axis=0), atol=5e-4)


def test_corners_nearly_in_one_plane_have_a_hull() -> None:
    """Those of a piece of the demo's teddy, of which Qhull's usual options make an error and `export --format mjcf` made a traceback."""
    points = np.load(Path(__file__).parent / "nearly_flat_corners.npy")
    hull = find_hull(points)
    assert (points @ hull.equations[:, :3].T + hull.equations[:, 3]).max() < 1e-11
    assert hull.volume == pytest.approx(trimesh.convex.convex_hull(points, qhull_options="QJ").volume, rel=1e-6)
