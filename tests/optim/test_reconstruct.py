from dataclasses import replace

import pytest
import torch

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import is_closed, volume
from invgraphics.geometry.texture import average_at_vertices
from invgraphics.metrics import score_mesh
from invgraphics.reconstruction import Reconstruction
from optim.reconstruct import reconstruct
from tests.helpers import SHARED_DATA, needs_shared_data
from tests.optim.views import ball, box, photograph


@pytest.fixture(scope="module")
def two_solids() -> Reconstruction:
    observation = photograph([box((0.06, 0.05, 0.05), x=-0.05, turn=0.4), ball(0.03, x=0.05)], noise=5e-4)
    untold = observation.with_camera_pose(torch.eye(4))
    told = []
    result = reconstruct(untold, seed=1, progress=lambda stage, fraction: told.append((stage, fraction)))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    return result


def test_objects_are_closed_and_as_large_as_they_are(two_solids):
    for item, true_volume in zip(two_solids.scene.objects, (0.06 * 0.05 * 0.05, 4 / 3 * torch.pi * 0.03**3), strict=True):
        assert is_closed(item.mesh.faces)
        assert float(volume(item.mesh.vertices, item.mesh.faces)) == pytest.approx(true_volume, rel=0.12)


def test_world_frame_stands_on_the_table(two_solids):
    for item, height in zip(two_solids.scene.objects, (0.05, 0.06), strict=True):
        z = item.mesh.transformed(item.T_world_object).vertices[:, 2]
        assert float(z.min()) == pytest.approx(0.0, abs=0.003)
        assert float(z.max()) == pytest.approx(height, abs=0.004)


def test_history_and_seconds_name_every_stage(two_solids):
    assert [entry.stage for entry in two_solids.history] == [
        "ellipsoids",
        "appearance",
        "cage of object_00",
        "cage of object_01",
        "appearance",
    ]
    assert all(entry.loss["total"][-1] <= entry.loss["total"][0] for entry in two_solids.history)
    assert "cages" in two_solids.seconds
    assert two_solids.peak_memory_bytes > 0


def test_colours_tell_the_objects_apart(two_solids):
    colours = [average_at_vertices(item.mesh.texture, item.mesh) for item in two_solids.scene.objects]
    reds = [float(each[:, 0].mean() / each[:, 1].mean()) for each in colours]
    assert reds[0] == pytest.approx(0.4, abs=0.1)
    assert reds[1] == pytest.approx(0.8, abs=0.15)


def test_same_seed_same_result():
    observation = photograph([ball(0.03)], noise=5e-4).with_camera_pose(torch.eye(4))
    first, second = (reconstruct(observation, seed=4).scene.objects[0] for _ in range(2))
    assert torch.equal(first.mesh.vertices, second.mesh.vertices)
    assert torch.equal(first.mesh.texture.image, second.mesh.texture.image)


def test_mask_without_depth_is_left_out_and_the_rest_goes_on():
    observation = photograph([box((0.06, 0.05, 0.05), x=-0.05), ball(0.03, x=0.05)]).with_camera_pose(torch.eye(4))
    blind = observation.masks[0]
    pierced = replace(observation, depth=torch.where(blind, 0.0, observation.depth), valid=observation.valid & ~blind)
    result = reconstruct(pierced)
    assert result.mask_indices == (1,)
    assert list(result.left_out) == [0]
    assert len(result.scene.objects) == 1


def test_nothing_to_reconstruct_is_an_input_error():
    observation = photograph([ball(0.03)])
    with pytest.raises(InputError, match="no masks"):
        reconstruct(observation.with_masks(observation.masks[:0]))


@needs_shared_data
def test_scanned_objects_are_within_millimetres_of_the_truth():
    from invgraphics.datasets import load_ground_truth, load_observation

    image = f"{SHARED_DATA}/tabletop_dev:000014/0"
    result = reconstruct(load_observation(image))
    truth = {item.mask_index: item.mesh for item in load_ground_truth(image)}
    to_camera = result.scene.camera.T_camera_world
    scores = [
        score_mesh(item.mesh.transformed(to_camera @ item.T_world_object), truth[index], torch.Generator().manual_seed(0))
        for index, item in zip(result.mask_indices, result.scene.objects, strict=True)
    ]
    assert sum(score.cd_l1_mm for score in scores) / len(scores) < 4.5
    assert min(score.f10 for score in scores) > 80
