"""Shape samples: closed, true to the image, different where it is blind, the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from invgraphics.errors import InputError
from invgraphics.geometry.distances import find_nearest_faces
from invgraphics.geometry.mesh import Mesh, is_closed, volume
from invgraphics.observation import Observation
from invgraphics.reconstruction import Reconstruction
from invgraphics.scene import AmbientLight, Material, Plane, Scene, SceneObject
from invgraphics.transforms import transform_points
from optim.alternatives import weigh_alternatives
from optim.hypotheses import Hypothesis
from optim.object_view import ObjectView, view_objects
from optim.superquadrics import Superquadric, estimate_covariance
from optim.uncertainty import measure_spread, sample_shapes
from optim.warps import Warper, find_occlusion
from tests.optim.views import photograph

GREY = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))


def make_box(extents: tuple[float, float, float], place: tuple[float, float, float]) -> trimesh.Trimesh:
    box = trimesh.creation.box(extents, transform=trimesh.transformations.translation_matrix(place))
    for _ in range(4):
        box = box.subdivide()
    return box


BOX = make_box((0.06, 0.05, 0.04), (0.0, 0.0, 0.02))
TALL = make_box((0.05, 0.02, 0.12), (-0.045, -0.07, 0.06))


def as_reconstruction(observation: Observation, solids: list[trimesh.Trimesh], name: str = "superquadric") -> Reconstruction:
    """The true solids as if they had been reconstructed, each in a frame of its own."""
    objects = []
    for solid in solids:
        pose = torch.eye(4)
        pose[:3, 3] = torch.as_tensor(solid.vertices.mean(0)).float()
        vertices = torch.as_tensor(np.array(solid.vertices)).float() - pose[:3, 3]
        objects.append(SceneObject("thing", pose, torch.full((3,), 0.03), GREY, Mesh(vertices, torch.as_tensor(np.array(solid.faces)))))
    scene = Scene(tuple(objects), (AmbientLight(torch.zeros(9, 3)),), Plane(GREY), observation.camera)
    return Reconstruction(scene, observation, tuple(range(len(solids))), hypotheses=(name,) * len(solids))


@pytest.fixture(scope="module")
def sampled() -> Reconstruction:
    return sample_shapes(as_reconstruction(photograph([BOX]), [BOX]), 6, seed=1)


@pytest.fixture(scope="module")
def view() -> ObjectView:
    return view_objects(photograph([BOX]), True)[0]


def test_samples_are_solids_that_stand_on_the_plane_and_the_first_is_the_reconstruction(sampled: Reconstruction) -> None:
    ((first, *others),) = sampled.samples
    assert first is sampled.scene.objects[0].mesh
    assert len(others) == 5
    for mesh in others:
        assert is_closed(mesh.faces)
        assert float(volume(mesh.vertices, mesh.faces)) > 0
        assert float(mesh.transformed(sampled.scene.objects[0].T_world_object).vertices[:, 2].min()) > -1e-6


def test_samples_keep_what_was_seen_and_vary_what_was_not(sampled: Reconstruction) -> None:
    item = sampled.scene.objects[0]
    world = transform_points(item.T_world_object, item.mesh.vertices)
    spread = sampled.spread[0]
    front = (world[:, 1] < -0.0249) & ((world[:, 0]).abs() < 0.02) & (world[:, 2] > 0.01)
    top = (world[:, 2] > 0.0399) & ((world[:, 0]).abs() < 0.02) & ((world[:, 1]).abs() < 0.015)
    back = (world[:, 1] > 0.0249) & ((world[:, 0]).abs() < 0.02) & (world[:, 2] < 0.025)
    assert float(spread[front | top].mean()) < 0.002
    assert float(spread[back].mean()) > 2 * float(spread[front | top].mean())


def test_samples_keep_out_of_space_that_was_seen_to_be_empty(sampled: Reconstruction, view: ObjectView) -> None:
    pose = sampled.scene.objects[0].T_world_object
    for mesh in sampled.samples[0]:
        free = view.free_space(transform_points(pose, mesh.vertices).double().numpy())
        assert np.quantile(free, 0.99) < 0.005


def test_the_seed_and_nothing_else_decides(sampled: Reconstruction) -> None:
    bare = replace(sampled, samples=(), spread=())
    again, other = sample_shapes(bare, 6, seed=1), sample_shapes(bare, 6, seed=2)
    for a, b in zip(sampled.samples[0], again.samples[0], strict=True):
        assert torch.equal(a.vertices, b.vertices)
    assert not torch.equal(sampled.spread[0], other.spread[0])


def test_spread_is_the_root_mean_square_distance_to_the_samples(sampled: Reconstruction) -> None:
    first, *others = sampled.samples[0]
    distances = torch.stack([find_nearest_faces(first.vertices, mesh.vertices, mesh.faces)[0] for mesh in others])
    torch.testing.assert_close(sampled.spread[0], (distances**2).mean(0).sqrt())
    lifted = Mesh(first.vertices + torch.tensor([0.0, 0.0, 1.0]), first.faces)
    assert float(measure_spread(first, [lifted]).min()) > 0.9


def test_one_sample_is_refused(sampled: Reconstruction) -> None:
    with pytest.raises(InputError, match="ask for 2"):
        sample_shapes(sampled, 1)


def test_what_fits_outweighs_what_is_contradicted(view: ObjectView) -> None:
    """A box is hardly a shell; a cup whose inside was seen is hardly a superquadric."""
    box = Hypothesis("superquadric", np.array(BOX.vertices), np.array(BOX.faces))
    beliefs = weigh_alternatives(view, box, np.random.default_rng(0))
    weights = {shape.name: weight for shape, weight in zip(beliefs.shapes, beliefs.weights, strict=True)}
    assert np.isclose(beliefs.weights.sum(), 1.0)
    assert weights["superquadric"] == max(weights.values())
    assert weights["shell"] < 0.05
    outer, inner = trimesh.creation.cylinder(0.03, 0.06, sections=48), trimesh.creation.cylinder(0.026, 0.06, sections=48)
    cup = trimesh.boolean.difference([outer, inner.apply_translation([0, 0, 0.005])], engine="manifold").apply_translation([0, 0, 0.03])
    cup_view = view_objects(photograph([cup]), True)[0]
    turned = Hypothesis("revolution", np.array(cup.vertices), np.array(cup.faces))
    beliefs = weigh_alternatives(cup_view, turned, np.random.default_rng(0))
    weights = {shape.name: weight for shape, weight in zip(beliefs.shapes, beliefs.weights, strict=True)}
    assert weights.get("superquadric", 0.0) < 0.5 * weights["revolution"]


def test_what_something_nearer_cuts_off_goes_on_behind_it(view: ObjectView) -> None:
    assert find_occlusion(view) is None
    cut_view = view_objects(photograph([BOX, TALL]), True)[0]
    cut = find_occlusion(cut_view)
    assert cut is not None
    assert cut.direction[0] < -0.5
    box = Hypothesis("superquadric", np.array(BOX.vertices), np.array(BOX.faces))
    generator = np.random.default_rng(0)
    warper = Warper(cut_view, None, np.zeros((9, 9)))
    left = [warper.warp(box, 0.0, False, generator).vertices[:, 0].min() for _ in range(12)]
    right = [warper.warp(box, 0.0, False, generator).vertices[:, 0].max() for _ in range(12)]
    assert np.std(left) > 3 * np.std(right)


def test_covariance_says_which_side_the_view_could_not_see(view: ObjectView) -> None:
    """From ahead and above, the depth of a box is less certain than its width."""
    fit = Superquadric(np.eye(3), np.array([0.0, 0.0, 0.02]), np.array([0.03, 0.025, 0.02]), np.array([0.15, 0.15]), 0.0)
    covariance = estimate_covariance(view, fit, np.random.default_rng(0))
    assert np.linalg.eigvalsh(covariance).min() > 0
    width, depth = np.sqrt(np.diag(covariance)[6:8])
    assert depth > width
    noisy = replace(view, noise=0.01)
    assert (np.diag(estimate_covariance(noisy, fit, np.random.default_rng(0)))[6:9] > np.diag(covariance)[6:9]).all()
