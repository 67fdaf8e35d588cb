import numpy as np
import pytest
import torch
import trimesh

from invgraphics.geometry.distances import compute_winding_number
from optim.hypotheses import build_workspace
from optim.object_view import view_objects
from optim.revolution import bound_revolution, find_symmetry_axis, measure_radius, propose_axes
from tests.optim.views import bowl, box, photograph


def lying_bottle() -> tuple[trimesh.Trimesh, np.ndarray]:
    """A bottle that lies on the table, and the direction of its axis."""
    profile = [[0, 0], [0.025, 0], [0.025, 0.08], [0.01, 0.1], [0.01, 0.13], [0, 0.13]]
    solid = trimesh.creation.revolve(profile, sections=64)
    turn = trimesh.transformations.rotation_matrix(0.4, [0, 0, 1]) @ trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0])
    solid.apply_transform(turn)
    solid.apply_translation([-0.06, -0.03, 0.025])
    return solid, turn[:3, 2]


def leaning_plate() -> tuple[trimesh.Trimesh, np.ndarray]:
    profile = [[0, 0.004], [0, 0], [0.04, 0], [0.07, 0.012], [0.07, 0.016], [0.04, 0.004], [0, 0.004]]
    solid = trimesh.creation.revolve(profile, sections=96)
    turn = trimesh.transformations.rotation_matrix(0.25, [1, 0.5, 0])
    solid.apply_transform(turn)
    solid.apply_translation([0, 0, -solid.bounds[0, 2]])
    return solid, turn[:3, 2]


@pytest.mark.parametrize("build", [lying_bottle, leaning_plate])
def test_leaning_axis_is_found_where_it_is(build):
    solid, direction = build()
    view = view_objects(photograph([solid], noise=5e-4), has_plane=True)[0]
    axis = find_symmetry_axis(view, np.random.default_rng(0))
    assert axis.is_plausible
    assert not axis.is_upright
    assert abs(axis.direction @ direction) > np.cos(np.deg2rad(4))
    middle = solid.vertices.mean(0)
    assert axis.measure(middle[None])[0][0] < 0.005


def test_bowl_that_stands_has_an_upright_axis_in_its_middle():
    view = view_objects(photograph([bowl()], noise=5e-4, eye=(0.0, -0.2, 0.36)), has_plane=True)[0]
    axis = find_symmetry_axis(view, np.random.default_rng(0))
    assert axis.is_plausible
    assert axis.is_upright
    np.testing.assert_allclose(axis.place[:2], 0, atol=0.003)
    assert measure_radius(view, axis) == pytest.approx(0.05, abs=0.003)


def test_box_contradicts_its_best_axis_and_a_plate_does_not():
    boxed, plated = (
        find_symmetry_axis(view_objects(photograph([solid], noise=5e-4), has_plane=True)[0], np.random.default_rng(0))
        for solid in (box((0.09, 0.03, 0.06), turn=0.5), leaning_plate()[0])
    )
    assert boxed.contradicted > 0.05
    assert plated.contradicted < 0.005
    assert boxed.score < plated.score - 0.3


def test_proposed_axes_meet_the_normals_of_a_cone():
    generator = np.random.default_rng(0)
    angle, along = generator.uniform(0, np.pi, 200), generator.uniform(0.02, 0.1, 200)
    points = np.stack([0.5 * along * np.cos(angle), 0.5 * along * np.sin(angle), along], axis=1)
    normals = np.stack([np.cos(angle), np.sin(angle), np.full(200, -0.5)], axis=1) / np.sqrt(1.25)
    shift = np.array([0.3, -0.2, 0.1])
    for place, direction in propose_axes(points + shift, normals, generator):
        assert abs(direction[2]) > 0.999
        np.testing.assert_allclose((place - shift)[:2], 0, atol=2e-3)


def test_turned_shape_fills_the_hidden_side():
    solid, _ = lying_bottle()
    view = view_objects(photograph([solid], noise=5e-4), has_plane=True)[0]
    axis = find_symmetry_axis(view, np.random.default_rng(0))
    low, high = solid.bounds
    workspace = build_workspace(view, low - 0.005, high + 0.005)
    inside = bound_revolution(workspace, axis) < 0
    vertices, faces = torch.as_tensor(np.array(solid.vertices)), torch.as_tensor(np.array(solid.faces))
    truth = compute_winding_number(torch.as_tensor(workspace.points[::37]), vertices, faces) > 0.5
    assert (torch.as_tensor(inside[::37]) == truth).double().mean() > 0.93
