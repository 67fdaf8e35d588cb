import numpy as np
import pytest
import torch
import trimesh

from invgraphics.geometry.distances import compute_winding_number
from invgraphics.geometry.mesh import Mesh, is_closed, volume
from invgraphics.metrics import ShapeScores, score_mesh
from optim.completion import build_hull, choose_hypothesis, complete_object, measure_violation
from optim.object_view import view_objects
from tests.optim.views import ball, bowl, box, photograph


def score(vertices: np.ndarray, faces: np.ndarray, truth: trimesh.Trimesh) -> ShapeScores:
    predicted = Mesh(torch.as_tensor(vertices), torch.as_tensor(faces))
    true_mesh = Mesh(torch.as_tensor(np.array(truth.vertices)), torch.as_tensor(np.array(truth.faces)))
    return score_mesh(predicted, true_mesh, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("solid", "worst_mm"), [(box((0.07, 0.05, 0.06), turn=0.6), 1.5), (ball(0.035), 1.5)])
def test_primitives_explain_boxes_and_balls_unseen_side_and_all(solid, worst_mm):
    view = view_objects(photograph([solid], noise=5e-4), has_plane=True)[0]
    hypothesis = choose_hypothesis(view, np.random.default_rng(0))
    assert hypothesis.name == "superquadric"
    scores = score(hypothesis.vertices, hypothesis.faces, solid)
    assert scores.completeness_mm < worst_mm
    assert scores.accuracy_mm < worst_mm


def test_bowl_keeps_the_hollow_that_was_seen():
    solid = bowl()
    view = view_objects(photograph([solid], noise=5e-4, eye=(0.0, -0.2, 0.36)), has_plane=True)[0]
    hypothesis = choose_hypothesis(view, np.random.default_rng(0))
    assert hypothesis.name == "revolution"
    assert score(hypothesis.vertices, hypothesis.faces, solid).completeness_mm < 2.5
    assert measure_violation(view, hypothesis, np.random.default_rng(0)) < 5e-4
    hollow = torch.tensor([[0.0, 0.0, 0.03], [0.0, 0.0, 0.02]], dtype=torch.float64)
    winding = compute_winding_number(hollow, torch.as_tensor(hypothesis.vertices), torch.as_tensor(hypothesis.faces))
    assert (winding.abs() < 0.5).all()


def test_what_no_primitive_explains_is_filled_down_to_the_table_and_carved():
    corner = trimesh.util.concatenate([box((0.08, 0.03, 0.03)), box((0.03, 0.03, 0.07), x=0.025)])
    view = view_objects(photograph([corner], noise=5e-4), has_plane=True)[0]
    hypothesis = choose_hypothesis(view, np.random.default_rng(0))
    assert hypothesis.name == "shadow"
    scores = score(hypothesis.vertices, hypothesis.faces, corner)
    assert scores.accuracy_mm < 4
    assert scores.completeness_mm < 4


def test_mesh_is_closed_outward_and_above_the_table():
    view = view_objects(photograph([bowl()], noise=5e-4), has_plane=True)[0]
    completed = complete_object(view, np.random.default_rng(0))
    vertices, faces = completed.vertices, completed.faces
    assert is_closed(torch.as_tensor(faces))
    assert float(volume(torch.as_tensor(vertices), torch.as_tensor(faces))) > 0
    assert vertices[:, 2].min() > -2e-3
    assert len(faces) < 20_000


def test_works_without_a_plane():
    view = view_objects(photograph([ball(0.035)]), has_plane=False)[0]
    completed = complete_object(view, np.random.default_rng(0))
    vertices, faces = completed.vertices, completed.faces
    assert is_closed(torch.as_tensor(faces))
    assert np.linalg.norm(np.median(vertices, axis=0) - [0, 0, 0.035]) < 0.02


def test_hull_of_points_is_closed_and_holds_them():
    points = np.random.default_rng(0).standard_normal((60, 3)) * [0.05, 0.05, 0.001]
    hull = build_hull(points)
    assert is_closed(torch.as_tensor(hull.faces))
    assert float(volume(torch.as_tensor(hull.vertices), torch.as_tensor(hull.faces))) > 0
