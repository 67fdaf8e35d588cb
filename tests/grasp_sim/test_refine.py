"""Refinement: grasps that were put askew meet a box's and a ball's surface squarely again, and stay near where they were."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from grasp_sim.hands import load_hand
from grasp_sim.refine import Held, Surface, measure_squareness, refine
from grasp_sim.solids import Polyhedron
from invgraphics.geometry.mesh import Mesh, mesh_from_trimesh
from tests.grasp_sim.shapes import make_box

JAW = load_hand("parallel_jaw")
CLOSURE = JAW.closure(JAW.templates[0])


def surface_of(mesh: Mesh) -> Surface:
    return Surface(Polyhedron(mesh.vertices.double().numpy(), mesh.faces.numpy()))


def hold(width: float, turn: tuple[float, float, float], shift: tuple[float, float, float]) -> Held:
    """The jaw about the origin, closing along y, from above, then turned and shifted."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    _, centre, _ = CLOSURE.at_width(width)
    T[:3, 3] = np.array(shift) - T[:3, :3] @ centre
    return Held(T[None], np.array([width]))


def test_distances_are_signed_and_normals_point_outward() -> None:
    surface = surface_of(make_box(0.04, 0.05, 0.08))
    distances, normals = surface.measure(np.array([[0.0, 0.03, 0.0], [0.0, -0.02, 0.0]]))
    np.testing.assert_allclose(distances, [0.005, -0.005], atol=1e-4)
    np.testing.assert_allclose(normals, [[0, 1, 0], [0, -1, 0]], atol=1e-6)


def test_an_askew_grasp_of_a_box_meets_its_faces() -> None:
    surface = surface_of(make_box(0.04, 0.05, 0.08))
    askew = hold(0.056, (0.12, 0.05, 0.15), (0.004, 0.003, 0.005))
    better = refine(askew, CLOSURE, surface)
    assert measure_squareness(askew, CLOSURE, surface)[0] < 0.985
    assert measure_squareness(better, CLOSURE, surface)[0] > 0.998
    a, b, _ = better.contacts(CLOSURE)
    np.testing.assert_allclose(np.abs(np.concatenate([a, b])[:, 1]), 0.025, atol=5e-4)
    assert better.width[0] == pytest.approx(0.05, abs=1e-3)
    assert np.linalg.norm(0.5 * (a + b) - 0.5 * sum(askew.contacts(CLOSURE)[:2])) < 0.006


def test_a_grasp_beside_a_balls_middle_moves_towards_it() -> None:
    surface = surface_of(mesh_from_trimesh(trimesh.creation.icosphere(subdivisions=4, radius=0.03)))
    beside = hold(0.052, (0.0, 0.0, 0.0), (0.012, 0.0, 0.0))
    better = refine(beside, CLOSURE, surface)
    before, after = (measure_squareness(each, CLOSURE, surface)[0] for each in (beside, better))
    assert after > before + 0.02
    distances = np.concatenate([surface.measure(points)[0] for points in better.contacts(CLOSURE)[:2]])
    assert np.abs(distances).max() < 1e-3


def test_a_square_grasp_stays_where_it_is_and_none_stay_none() -> None:
    surface = surface_of(make_box(0.04, 0.05, 0.08))
    square = hold(0.05, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    better = refine(square, CLOSURE, surface)
    np.testing.assert_allclose(better.T_world_hand, square.T_world_hand, atol=1e-4)
    assert refine(Held(np.zeros((0, 4, 4)), np.zeros(0)), CLOSURE, surface).width.shape == (0,)
