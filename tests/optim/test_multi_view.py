import numpy as np
import pytest
import torch
import trimesh

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, mesh_from_trimesh
from invgraphics.metrics import score_mesh
from invgraphics.observation import Observation
from invgraphics.reconstruction import Reconstruction
from invgraphics.transforms import invert, transform_points
from optim.association import associate_objects, merge_objects
from optim.object_view import view_objects
from optim.reconstruct import reconstruct_views
from optim.registration import register_observations, register_scan, scan_observation
from tests.optim.views import ball, box, photograph

FRONT, ASIDE, RIGHT, BACK = (0.0, -0.32, 0.28), (0.27, -0.17, 0.28), (0.3, 0.14, 0.28), (0.05, 0.32, 0.28)


def wedge() -> trimesh.Trimesh:
    """A step, low in front and high behind, as no primitive is."""
    low, high = box((0.06, 0.04, 0.03), y=-0.02), box((0.06, 0.04, 0.07), y=0.02)
    return trimesh.boolean.union([low, high], engine="manifold")


SOLIDS = [box((0.06, 0.03, 0.07), x=-0.06, turn=0.4), ball(0.03, x=0.05), box((0.03, 0.05, 0.05), x=0.0, y=0.08, turn=0.2)]


def photograph_from(eyes: list[tuple[float, float, float]], solids: list[trimesh.Trimesh], noise: float = 5e-4) -> list[Observation]:
    """Images of which each is in its own camera's frame, but for the first, which is placed in the world."""
    return [photograph(solids, noise, eye) for eye in eyes]


def unplace(observation: Observation) -> Observation:
    return observation.with_camera_pose(torch.eye(4))


def relate(observations: list[Observation]) -> torch.Tensor:
    """Each camera's coordinates to the first one's."""
    first = observations[0].camera.T_camera_world
    return torch.stack([first @ item.camera.T_world_camera for item in observations])


def measure_error(result: Reconstruction, observation: Observation, solids: list[trimesh.Trimesh]) -> float:
    """Mean Chamfer distance of the objects, millimetres."""
    errors = []
    for index, item in zip(result.mask_indices, result.scene.objects, strict=True):
        truth = mesh_from_trimesh(solids[index]).transformed(observation.camera.T_camera_world)
        mesh: Mesh = item.mesh.transformed(result.scene.camera.T_camera_world @ item.T_world_object)
        errors.append(score_mesh(mesh, truth, torch.Generator().manual_seed(0)).cd_l1_mm)
    return sum(errors) / len(errors)


def test_a_second_view_shows_the_hidden_side():
    # From behind, the step's front is hidden: one image takes the object for a block.
    images = photograph_from([BACK, FRONT], [wedge()])
    bare = [unplace(item) for item in images]
    one, both = (reconstruct_views(bare[:count], relate(images)[:count]) for count in (1, 2))
    errors = [measure_error(result, images[0], [wedge()]) for result in (one, both)]
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 1.5


def test_space_is_empty_where_any_image_saw_through_it_and_points_are_those_of_all():
    images = photograph_from([FRONT, BACK], [box((0.06, 0.06, 0.06))], noise=0.0)
    views = [view_objects(item, has_plane=True) for item in images]
    merged = merge_objects(views)[0]
    behind = np.array([[0.0, 0.05, 0.03]])
    assert views[0][0].free_space(behind) < 0
    assert merged.free_space(behind)[0] == pytest.approx(views[1][0].free_space(behind)[0])
    assert merged.free_space(behind)[0] > 0.01
    near = views[0][0].points[::20]
    assert (merged.free_space(near) <= np.maximum(*(view[0].free_space(near) for view in views)) + 1e-6).all()
    assert len(merged.points) == len(views[0][0].points) + len(views[1][0].points)
    np.testing.assert_allclose(np.linalg.norm(merged.sight_lines, axis=1), 1.0)
    assert ((merged.sight_lines * merged.normals).sum(1) < 0).mean() > 0.99


def test_turning_agrees_with_the_kernel_where_there_is_one_image_twice():
    image = photograph([ball(0.03)])
    view = view_objects(image, has_plane=True)[0]
    merged = merge_objects([[view], [view]])[0]
    angles = np.linspace(0.3, 6.0, 7)
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    axis = np.array([0.01, 0.0, 0.0]), np.array([0.0, 0.6, 0.8])
    kernel = view.turn(view.points[::20], *axis, turns, 0.002, 0.005)
    np.testing.assert_allclose(merged.turn(view.points[::20], *axis, turns, 0.002, 0.005), kernel, atol=1e-6)


def test_objects_are_told_apart_whatever_their_order():
    order = [2, 0, 1]
    front, back = photograph_from([FRONT, BACK], SOLIDS)
    shuffled = back.with_masks(back.masks[order])
    first, other = (view_objects(item, has_plane=True) for item in (front, shuffled))
    assert sorted(associate_objects([[view] for view in first], other)) == [(k, order.index(k)) for k in range(3)]
    assert associate_objects([[first[0]]], [view for k, view in enumerate(other) if order[k] != 0]) == []


@pytest.mark.parametrize(("eye", "within"), [(ASIDE, 0.0015), (RIGHT, 0.003), (BACK, 0.008)])
def test_cameras_are_found_from_what_they_saw(eye, within):
    # From behind, only the upper faces are in common: along the line of sight little holds them.
    first, other = photograph_from([FRONT, eye], SOLIDS)
    placed, history = register_observations(first, [unplace(other)], torch.Generator().manual_seed(0))
    error = placed[0].camera.T_world_camera @ invert(other.camera.T_world_camera)
    corners = torch.tensor([[x, y, 0.03] for x in (-0.08, 0.08) for y in (-0.08, 0.1)])
    assert float((transform_points(error, corners) - corners).norm(dim=-1).mean()) < within
    assert "registered" in history[0].outcome


def test_estimated_poses_do_nearly_as_well_as_true_ones():
    images = photograph_from([FRONT, ASIDE], SOLIDS[:2])
    bare = [unplace(item) for item in images]
    known, estimated = (measure_error(reconstruct_views(bare, T), images[0], SOLIDS) for T in (relate(images), None))
    assert estimated < 1.25 * known


@pytest.mark.parametrize(
    ("choose", "message"),
    [(lambda poses: poses[:1], "number of camera poses is 1; 2 images need as many"), (lambda poses: poses.flip(0), "is not the identity")],
)
def test_poses_that_do_not_go_with_the_images_are_refused(choose, message):
    images = photograph_from([FRONT, ASIDE], SOLIDS[1:2])
    with pytest.raises(InputError, match=message):
        reconstruct_views([unplace(item) for item in images], choose(relate(images)))


def test_images_of_different_scenes_are_refused():
    first = photograph(SOLIDS)
    other = photograph([box((0.12, 0.02, 0.02)), ball(0.015, x=0.08, y=0.05)])
    with pytest.raises(InputError, match="does not register"):
        register_observations(first, [unplace(other)], torch.Generator().manual_seed(0))


def test_registration_undoes_a_turn_exactly():
    first = photograph(SOLIDS, noise=0.0)
    angle, cosine, sine = 2.0, np.cos(2.0), np.sin(2.0)
    moved = torch.tensor([[cosine, -sine, 0, 0.03], [sine, cosine, 0, -0.02], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float32)
    other = first.with_camera_pose(moved @ first.camera.T_world_camera)
    T, agreement, _ = register_scan(scan_observation(other), [scan_observation(first)], np.random.default_rng(0))
    np.testing.assert_allclose(T, np.linalg.inv(moved.double().numpy()), atol=5e-4)
    assert agreement.agreeing > 0.95
    assert np.arctan2(T[0, 1], T[0, 0]) == pytest.approx(angle, abs=1e-3)
