import numpy as np
import pytest
import torch
import trimesh

from invgraphics.geometry.mesh import Mesh, icosphere, is_closed, volume
from invgraphics.transforms import rigid
from optim.hypotheses import Hypothesis
from optim.mesh_stage import build_crop_target, fit_cage
from optim.neighbours import separate
from optim.object_view import view_objects
from optim.obstacles import build_obstacle, find_obstacles
from renderers.rasterize import make_rasterizer
from tests.optim.views import ball, box, photograph


def as_hypothesis(name: str, solid: trimesh.Trimesh) -> Hypothesis:
    return Hypothesis(name, np.array(solid.vertices, dtype=np.float64), np.array(solid.faces, dtype=np.int64))


def volume_of(hypothesis: Hypothesis) -> float:
    return float(volume(torch.as_tensor(hypothesis.vertices), torch.as_tensor(hypothesis.faces)))


def test_what_lies_on_another_object_is_not_filled_down_through_it():
    book, pen = box((0.16, 0.12, 0.04)), box((0.1, 0.012, 0.012))
    pen.apply_translation([0, 0, 0.04])
    views = view_objects(photograph([book, pen]), has_plane=True)
    filled = box((0.1, 0.012, 0.052))
    for order, firm in (([0, 1], "superquadric"), ([1, 0], "shadow")):
        completions = [as_hypothesis(firm, book), as_hypothesis("shadow", filled)]
        kept_book, kept_pen = (separate([completions[k] for k in order], [views[k] for k in order])[order.index(k)] for k in (0, 1))
        assert volume_of(kept_book) == pytest.approx(0.16 * 0.12 * 0.04, rel=1e-3)
        assert volume_of(kept_pen) == pytest.approx(0.1 * 0.012 * 0.012, rel=1e-2)
        assert is_closed(torch.as_tensor(kept_pen.faces))
        assert kept_pen.vertices[:, 2].min() > 0.0399


def test_object_that_would_lose_what_was_seen_of_it_keeps_its_room():
    small, large = box((0.05, 0.05, 0.05)), box((0.2, 0.2, 0.1))
    views = view_objects(photograph([small]), has_plane=True) * 2
    kept, _ = separate([as_hypothesis("shadow", small), as_hypothesis("superquadric", large)], views)
    assert volume_of(kept) == pytest.approx(0.05**3, rel=1e-3)


def test_obstacle_tells_how_deep_a_point_lies_and_which_way_out():
    vertices, faces = icosphere(4)
    obstacle = build_obstacle(Mesh(0.05 * vertices + torch.tensor([0.3, 0.1, 0.05]), faces))
    points = torch.tensor([[0.3, 0.1, 0.09], [0.335, 0.1, 0.05], [0.3, 0.1, 0.103], [1.0, 1.0, 1.0]], requires_grad=True)
    depth = obstacle.measure_depth(points)
    torch.testing.assert_close(depth, torch.tensor([0.01, 0.015, 0.0, 0.0]), atol=1e-3, rtol=0)
    depth.sum().backward()
    torch.testing.assert_close(points.grad[0], torch.tensor([0.0, 0.0, -1.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(points.grad[2:], torch.zeros(2, 3))


def test_only_what_is_near_is_an_obstacle():
    vertices, faces = icosphere(1)
    meshes = [Mesh(0.05 * vertices + torch.tensor([x, 0.0, 0.0]), faces) for x in (0.0, 0.09, 0.2)]
    assert len(find_obstacles(meshes[0], meshes[1:])) == 1


def test_cage_moves_out_of_a_neighbour_and_lies_flat_on_the_table():
    observation = photograph([ball(0.035)], noise=5e-4)
    target = build_crop_target(view_objects(observation, has_plane=True)[0], observation.camera)
    vertices, faces = icosphere(3)
    pose = rigid(torch.eye(3), torch.tensor([0.0, 0.0, 0.033]))
    wall = box((0.06, 0.06, 0.1), y=0.055)
    obstacle = build_obstacle(Mesh(torch.as_tensor(np.array(wall.vertices)).float(), torch.as_tensor(np.array(wall.faces))))
    rasterizer = make_rasterizer("cpu", threads=1)
    deepest = []
    for obstacles in ([], [obstacle]):
        mesh, _ = fit_cage(Mesh(0.035 * vertices, faces), pose, [target], rasterizer, True, obstacles=obstacles)
        world = mesh.transformed(pose).vertices
        assert float(world[:, 2].min()) >= 0
        assert int((world[:, 2] < 1e-6).sum()) >= 4
        deepest.append(float(obstacle.measure_depth(world).max()))
    assert deepest[0] > 0.007
    assert deepest[1] < 0.4 * deepest[0]
