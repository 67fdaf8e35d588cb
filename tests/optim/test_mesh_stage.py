from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from invgraphics.geometry.mesh import Mesh, icosphere, is_closed
from invgraphics.transforms import rigid
from optim.mesh_stage import CROP_PIXELS, CropTarget, build_crop_target, fit_cage
from optim.object_view import view_objects
from renderers.rasterize import make_rasterizer
from tests.optim.views import ball, box, photograph

RASTERIZER = make_rasterizer("cpu", threads=1)
STANDING = rigid(torch.eye(3), torch.tensor([0.0, 0.0, 0.035]))


def target_of(solid: trimesh.Trimesh) -> CropTarget:
    observation = photograph([solid], noise=5e-4)
    return build_crop_target(view_objects(observation, has_plane=True)[0], observation.camera)


def sphere(radius: float) -> Mesh:
    vertices, faces = icosphere(3)
    return Mesh(vertices * radius, faces)


def test_crop_shows_the_object_where_its_camera_says():
    observation = photograph([ball(0.035)])
    target = build_crop_target(view_objects(observation, has_plane=True)[0], observation.camera)
    assert max(target.depth.shape) <= CROP_PIXELS + 1
    points = target.camera.unproject(target.depth)[target.measured]
    world = points @ target.camera.T_world_camera[:3, :3].T + target.camera.T_world_camera[:3, 3]
    assert float(((world - torch.tensor([0.0, 0.0, 0.035])).norm(dim=-1) - 0.035).abs().mean()) < 1e-3
    assert float(target.share.sum()) == pytest.approx(float(observation.masks.sum()), rel=1e-4)


def test_large_objects_are_averaged_over_cells():
    observation = photograph([box((0.2, 0.12, 0.05))])
    target = build_crop_target(view_objects(observation, has_plane=True)[0], observation.camera)
    assert max(target.depth.shape) <= CROP_PIXELS
    cell = observation.camera.K[0, 0] / target.camera.K[0, 0]
    assert float(target.share.sum() * cell**2) == pytest.approx(float(observation.masks.sum()), rel=1e-3)


def test_pixels_of_an_occluder_and_beyond_the_image_say_nothing():
    observation = photograph([box((0.1, 0.03, 0.08), y=0.05), box((0.04, 0.03, 0.04), y=-0.03)])
    view = view_objects(observation, has_plane=True)[0]
    target = build_crop_target(view, observation.camera)
    assert (~target.informative).any()
    assert not (target.share[~target.informative] == 1).any()


@pytest.mark.parametrize("wrong", [0.8, 1.2])
def test_ball_of_the_wrong_size_grows_or_shrinks_to_its_image(wrong):
    mesh, result = fit_cage(sphere(0.035 * wrong), STANDING, [target_of(ball(0.035))], RASTERIZER, has_plane=True)
    offset = mesh.vertices @ STANDING[:3, :3].T + STANDING[:3, 3] - torch.tensor([0.0, 0.0, 0.035])
    towards_camera = torch.nn.functional.normalize(torch.tensor([0.0, -0.32, 0.245]), dim=0)
    seen = (torch.nn.functional.normalize(offset, dim=-1) @ towards_camera) > 0.3
    assert float((offset.norm(dim=-1)[seen] - 0.035).abs().mean()) < 0.0012
    assert result.history.loss["total"][-1] < result.history.loss["total"][0] / 3


def test_dtype_follows_the_mesh_and_the_camera():
    observation = photograph([ball(0.035)], noise=5e-4)
    view, start = view_objects(observation, has_plane=True)[0], sphere(0.03)
    double = build_crop_target(view, observation.camera.to(dtype=torch.float64))
    mesh, _ = fit_cage(Mesh(start.vertices.double(), start.faces), STANDING.double(), [double], RASTERIZER, has_plane=True)
    single, _ = fit_cage(start, STANDING, [build_crop_target(view, observation.camera)], RASTERIZER, has_plane=True)
    assert mesh.vertices.dtype == torch.float64
    torch.testing.assert_close(mesh.vertices.float(), single.vertices, atol=1e-3, rtol=0)


def test_silhouette_alone_moves_what_depth_does_not_see():
    target = target_of(ball(0.035))
    blind = replace(target, measured=torch.zeros_like(target.measured))
    mesh, _ = fit_cage(sphere(0.028), STANDING, [blind], RASTERIZER, has_plane=True)
    sideways = mesh.vertices[:, 0].abs().max()
    assert float(sideways) == pytest.approx(0.035, abs=0.0025)


def test_mesh_stays_closed_and_above_the_plane():
    flat = photograph([box((0.07, 0.05, 0.03))], noise=5e-4)
    target = build_crop_target(view_objects(flat, has_plane=True)[0], flat.camera)
    standing = rigid(torch.eye(3), torch.tensor([0.0, 0.0, 0.015]))
    solid = trimesh.creation.box((0.07, 0.05, 0.03)).subdivide().subdivide().subdivide()
    start = Mesh(torch.as_tensor(np.array(solid.vertices), dtype=torch.float32), torch.as_tensor(np.array(solid.faces)))
    mesh, _ = fit_cage(start, standing, [target], RASTERIZER, has_plane=True)
    assert is_closed(mesh.faces)
    assert float(mesh.vertices[:, 2].min()) + 0.015 > -1.5e-3
