from functools import cache

import pytest
import torch

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import is_closed
from invgraphics.reconstruction import Reconstruction
from optim.options import INGREDIENTS, ReconstructionOptions
from optim.reconstruct import reconstruct
from tests.optim.views import box, photograph


@cache
def _reconstruct(*without: str) -> Reconstruction:
    observation = photograph([box((0.06, 0.03, 0.05), turn=0.4)], noise=5e-4).with_camera_pose(torch.eye(4))
    return reconstruct(observation, options=ReconstructionOptions().without(without))


def _reconstruct_shape(*without: str) -> Reconstruction:
    """Without materials and lights, which take half of the time and change no shape."""
    return _reconstruct(*sorted({*without, "appearance"}))


def test_everything_is_used_unless_named():
    assert ReconstructionOptions().left_out == ()
    assert ReconstructionOptions().without(["support", "cages"]).left_out == ("support", "cages")
    with pytest.raises(InputError, match="no ingredient luck; the ingredients are rotation"):
        ReconstructionOptions().without(["luck"])


@pytest.mark.parametrize("name", INGREDIENTS)
def test_any_one_ingredient_can_be_left_out(name):
    result = _reconstruct(name) if name == "textures" else _reconstruct_shape(name)
    (item,) = result.scene.objects
    assert is_closed(item.mesh.faces)
    assert torch.isfinite(item.mesh.vertices).all()


def test_without_rotation_the_axes_are_the_worlds():
    (item,) = _reconstruct_shape("rotation").scene.objects
    torch.testing.assert_close(item.T_world_object[:3, :3], torch.eye(3), atol=2e-3, rtol=0)
    (turned,) = _reconstruct_shape().scene.objects
    assert float((turned.T_world_object[:3, :3] - torch.eye(3)).norm()) > 0.2


def test_without_superquadrics_another_hypothesis_is_chosen():
    assert _reconstruct_shape().hypotheses == ("superquadric",)
    assert "superquadric" not in _reconstruct_shape("superquadrics").hypotheses


def test_without_cages_no_cage_is_fitted():
    assert not any(stage.stage.startswith("cage") for stage in _reconstruct_shape("cages").history)
    assert any(stage.stage.startswith("cage") for stage in _reconstruct_shape().history)


def test_without_textures_an_object_has_one_colour():
    (item,) = _reconstruct("textures").scene.objects
    assert item.mesh.colours is None
    assert item.mesh.texture is None
    assert _reconstruct().scene.objects[0].mesh.texture is not None


def test_without_appearance_the_shape_is_the_same_in_the_masks_mean_colour():
    bare, dressed = _reconstruct("appearance").scene, _reconstruct("textures").scene
    torch.testing.assert_close(bare.objects[0].mesh.vertices, dressed.objects[0].mesh.vertices, atol=1e-4, rtol=0)
    assert len(bare.lights) == 1
    assert bare.objects[0].mesh.texture is None
