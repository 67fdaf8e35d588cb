"""Stage 0 against ellipsoids whose truth is known, its derivatives, its covariance, and the shared data."""

import numpy as np
import pytest
import torch
from torch import Tensor

from invgraphics.datasets import load_ground_truth, load_observation
from invgraphics.errors import InputError
from invgraphics.geometry.ellipsoid import ellipsoid_mesh, half_extents, move_ellipsoids
from invgraphics.metrics import score_mesh
from invgraphics.plane import find_support_plane
from optim.ellipsoids import EllipsoidEnergy, EllipsoidPriors, OutlineTerm, build_starts, fit_ellipsoids
from optim.evidence import OWN, SEEN_THROUGH, UNKNOWN, gather_evidence, sample_fields, silhouette_fields
from optim.minimize import Outcome
from tests.helpers import SHARED_DATA, needs_shared_data
from tests.optim.ellipsoid_scenes import photograph, pose

SPHERE = (pose(0.05, 0.02, 0.04), [0.04, 0.04, 0.04])
LYING = (pose(-0.1, 0.0, 0.025, (0.0, 0.0, 0.6)), [0.07, 0.03, 0.025])
UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def surface_error(found_pose: Tensor, found_radii: Tensor, truth: tuple[Tensor, list[float]]) -> float:
    """Chamfer distance in millimetres."""
    found = ellipsoid_mesh(found_radii.float(), 4).transformed(found_pose.float())
    true = ellipsoid_mesh(torch.tensor(truth[1]), 4).transformed(truth[0])
    return score_mesh(found, true, torch.Generator().manual_seed(0)).cd_l1_mm


def test_finds_ellipsoids_whatever_their_rotation() -> None:
    truths = [SPHERE, LYING]
    posterior = fit_ellipsoids(gather_evidence(photograph(*zip(*truths, strict=True)), on_plane=True))
    assert posterior.outcome is Outcome.CONVERGED
    for k, truth in enumerate(truths):
        assert surface_error(posterior.T_world_object[k], posterior.radii[k], truth) < 2.0
        lowest = posterior.T_world_object[k, 2, 3] - half_extents(posterior.T_world_object, posterior.radii, UP.expand(2, 1, 3))[k, 0]
        assert abs(float(lowest)) < 2e-3


def test_finds_a_tilted_one_that_lies_on_something() -> None:
    """Its lowest point is 6 cm over the plane: the contact prior must give way, the rotation must be found."""
    truth = (pose(0.0, 0.0, 0.11, (0.0, 0.7, 0.3)), [0.07, 0.035, 0.03])
    posterior = fit_ellipsoids(gather_evidence(photograph([truth[0]], [truth[1]]), on_plane=True))
    assert surface_error(posterior.T_world_object[0], posterior.radii[0], truth) < 4.0
    cosine = (posterior.T_world_object[0, :3, posterior.radii[0].argmax()] * truth[0][:3, 0].double()).sum().abs()
    assert cosine > np.cos(np.radians(12))


def test_outliers_hardly_matter() -> None:
    posterior = fit_ellipsoids(gather_evidence(photograph([SPHERE[0]], [SPHERE[1]], outliers=0.1), on_plane=True))
    assert surface_error(posterior.T_world_object[0], posterior.radii[0], SPHERE) < 3.0


def test_works_without_a_plane() -> None:
    evidence = gather_evidence(photograph([SPHERE[0]], [SPHERE[1]]), on_plane=False)
    posterior = fit_ellipsoids(evidence)
    assert surface_error(posterior.T_world_object[0], posterior.radii[0], SPHERE) < 5.0


def test_an_object_with_few_pixels_and_one_half_hidden() -> None:
    """The sphere in front hides a third of the one behind; a third is as small as a dozen pixels."""
    behind = (pose(0.0, 0.1, 0.04), [0.04, 0.04, 0.04])
    front = (pose(-0.045, 0.0, 0.03), [0.03, 0.03, 0.03])
    small = (pose(0.15, 0.0, 0.006), [0.006, 0.006, 0.006])
    truths = [behind, front, small]
    observation = photograph(*zip(*truths, strict=True))
    assert int(observation.masks[2].sum()) < 50
    evidence = gather_evidence(observation, on_plane=True)
    assert int(evidence.present[2].sum()) < evidence.present.shape[1]
    posterior = fit_ellipsoids(evidence)
    for k, limit in enumerate((4.0, 3.0, 3.0)):
        assert surface_error(posterior.T_world_object[k], posterior.radii[k], truths[k]) < limit


@pytest.mark.parametrize(("on_plane", "ratio"), [(True, 1.0), (False, 1.5)])
def test_what_the_view_could_not_see_is_least_certain(on_plane: bool, ratio: float) -> None:
    """Along the view the far side is hidden: the extent there varies more than across, even where the plane limits it from below."""
    evidence = gather_evidence(photograph([SPHERE[0]], [SPHERE[1]]), on_plane)
    posterior = fit_ellipsoids(evidence)
    view = evidence.view[0]
    sideways = torch.nn.functional.normalize(torch.linalg.cross(view, UP), dim=0)
    upwards = torch.linalg.cross(sideways, view)
    back, front, side, top = posterior.extent_deviation(torch.stack([view, -view, sideways, upwards]))[0].tolist()
    assert back > ratio * max(front, side, top)


def test_covariance_is_symmetric_positive_and_predicts_errors() -> None:
    """The true extents lie within three deviations, over several noise seeds."""
    errors = []
    directions = torch.eye(3, dtype=torch.float64)
    for seed in range(3):
        posterior = fit_ellipsoids(gather_evidence(photograph([SPHERE[0]], [SPHERE[1]], seed=seed), on_plane=True))
        covariance = posterior.covariance[0]
        torch.testing.assert_close(covariance, covariance.T)
        assert torch.linalg.eigvalsh(covariance).min() > 0
        centre = posterior.T_world_object[:, :3, 3]
        reach = centre @ directions.T + half_extents(posterior.T_world_object, posterior.radii, directions[None])
        truth = SPHERE[0][:3, 3].double() @ directions.T + 0.04
        errors.append((reach - truth).abs() / posterior.extent_deviation(directions))
    assert torch.cat(errors).max() < 3


def test_is_deterministic_and_independent_of_the_other_objects() -> None:
    both = gather_evidence(photograph(*zip(SPHERE, LYING, strict=True)), on_plane=True)
    first, second = fit_ellipsoids(both), fit_ellipsoids(both)
    assert torch.equal(first.T_world_object, second.T_world_object)
    assert torch.equal(first.radii, second.radii)
    alone = fit_ellipsoids(gather_evidence(photograph([SPHERE[0]], [SPHERE[1]]), on_plane=True))
    torch.testing.assert_close(first.radii[0], alone.radii[0], rtol=0.05, atol=0)


def test_an_image_without_masks_is_refused() -> None:
    observation = photograph([SPHERE[0]], [SPHERE[1]])
    with pytest.raises(InputError, match="no objects"):
        gather_evidence(observation.with_masks(observation.masks[:0]), on_plane=True)


def test_a_mask_without_depth_is_refused() -> None:
    observation = photograph([SPHERE[0]], [SPHERE[1]])
    blind = torch.zeros_like(observation.valid)
    with pytest.raises(InputError, match="mask 0"):
        gather_evidence(type(observation)(**{**vars(observation), "valid": blind}), on_plane=True)


@pytest.mark.parametrize("on_plane", [True, False])
def test_gradient_of_the_energy_agrees_with_finite_differences(on_plane: bool) -> None:
    """In the free parameters, away from where they start."""
    evidence = gather_evidence(photograph(*zip(SPHERE, LYING, strict=True)), on_plane)
    rotation, centre, radii = build_starts(evidence)[0]
    energy = EllipsoidEnergy(evidence, rotation, EllipsoidPriors(), OutlineTerm(evidence, EllipsoidPriors()))
    generator = torch.Generator().manual_seed(1)
    offset = 0.2 * torch.randn(2, 3, generator=generator, dtype=torch.float64)
    parameters = {"centre": centre + 0.02 * offset, "rotation": 3 * offset, "log_radii": radii.log() - offset}
    expected, step = torch.zeros(2, 9, dtype=torch.float64), 1e-6
    for k in range(9):
        name, column = list(parameters)[k // 3], k % 3
        shift = torch.zeros(2, 3, dtype=torch.float64)
        shift[:, column] = step
        ahead, behind = (energy(parameters | {name: parameters[name] + sign * shift}).terms for sign in (1, -1))
        # The limb's samples move along the limb as the shape changes: their term is checked by itself below.
        expected[:, k] = sum((ahead[term] - behind[term]) / (2 * step) for term in ahead if term != "silhouette")
    equations = energy(parameters)
    silhouette = OutlineTerm(evidence, EllipsoidPriors())(*energy.place(parameters))[1]
    torch.testing.assert_close(_without_silhouette(energy, parameters), expected, atol=1e-3, rtol=1e-5)
    assert torch.isfinite(silhouette).all()
    assert torch.linalg.eigvalsh(equations.hessian).min() > -1e-6


def _without_silhouette(energy: EllipsoidEnergy, parameters: dict[str, Tensor]) -> Tensor:
    def nothing(pose: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return radii.new_zeros(len(radii)), radii.new_zeros(len(radii), 9), radii.new_zeros(len(radii), 9, 9)

    return EllipsoidEnergy(energy.evidence, energy.base, energy.priors, nothing)(parameters).gradient


def test_outline_term_pulls_the_outline_on_to_the_mask() -> None:
    """Shifted sideways or shrunk, one Newton step on the outline alone undoes most of it."""
    evidence = gather_evidence(photograph([SPHERE[0]], [SPHERE[1]]), on_plane=True)
    term = OutlineTerm(evidence, EllipsoidPriors())
    true_pose, true_radii = SPHERE[0][None].double(), torch.tensor([SPHERE[1]], dtype=torch.float64)
    least = float(term(true_pose, true_radii)[0])
    for k, size in ((0, 0.01), (0, -0.01), (8, 0.2), (8, -0.2)):
        tangent = torch.zeros(1, 9, dtype=torch.float64)
        tangent[0, k if k == 0 else slice(6, 9)] = size
        cost, gradient, hessian = term(*move_ellipsoids(true_pose, true_radii, tangent))
        assert float(cost) > 3 * least
        step = -torch.linalg.lstsq(hessian + 1e-6 * torch.eye(9, dtype=torch.float64), gradient[..., None]).solution[..., 0]
        improved = term(*move_ellipsoids(*move_ellipsoids(true_pose, true_radii, tangent), step))[0]
        assert float(improved) - least < 0.5 * (float(cost) - least)


def test_labels_know_who_is_in_front() -> None:
    """Beside the far object the near one hides the answer; beside the near object the far one does not."""
    far, near = (pose(0.0, 0.08, 0.04), [0.04, 0.04, 0.04]), (pose(0.05, -0.02, 0.03), [0.03, 0.03, 0.03])
    observation = photograph(*zip(far, near, strict=True))
    evidence = gather_evidence(observation, on_plane=True)
    index = torch.arange(evidence.labels.shape[-1])
    for k, expected in ((0, UNKNOWN), (1, SEEN_THROUGH)):
        pixels = (
            (evidence.crop_origin[k] + torch.stack(torch.meshgrid(index, index, indexing="xy"), -1) * evidence.crop_step[k]).round().long()
        )
        u, v = pixels.unbind(-1)
        inside = (u >= 0) & (v >= 0) & (u < observation.camera.width) & (v < observation.camera.height)
        other = torch.zeros_like(inside)
        other[inside] = observation.masks[1 - k][v[inside], u[inside]]
        own = torch.zeros_like(inside)
        own[inside] = observation.masks[k][v[inside], u[inside]]
        assert other.sum() > 20
        assert (evidence.labels[k][other] == expected).all()
        assert (evidence.labels[k][own] == OWN).all()
        assert (evidence.labels[k][~inside] == UNKNOWN).all()
        plane = inside & ~other & ~own
        assert (evidence.labels[k][plane] == SEEN_THROUGH).all()


def test_silhouette_field_is_the_signed_distance_to_the_mask() -> None:
    observation = photograph([SPHERE[0]], [SPHERE[1]])
    evidence = gather_evidence(observation, on_plane=True)
    v, u = observation.masks[0].nonzero().unbind(-1)
    pixels = torch.stack([u, v], -1).double()
    queries = torch.tensor([[160.0, 120.0], [pixels[:, 0].max() + 8, pixels[:, 1].mean()]], dtype=torch.float64)
    queries[0] = pixels.mean(0)
    values, gradients = sample_fields(silhouette_fields(evidence), evidence, queries[None])
    outside = (torch.cdist(queries, pixels)).amin(1)
    assert float(values[0, 1]) == pytest.approx(float(outside[1]), abs=2.0)
    radius = float((observation.masks[0].sum() / torch.pi) ** 0.5)
    assert float(values[0, 0]) == pytest.approx(-radius, abs=3.0)
    torch.testing.assert_close(gradients[0, 1], torch.tensor([1.0, 0.0], dtype=torch.float64), atol=0.15, rtol=0)


@needs_shared_data
def test_beats_the_published_fit_on_the_shared_scenes() -> None:
    """A few scenes of each set; the notes' figures for the system we build on are 8.3 mm, F@10 77 (tabletop) and 8.2 mm, 66 (CLEVR)."""
    scores = {"tabletop_dev": [], "clevr_dev": []}
    for dataset, rows in scores.items():
        for scene in ("000002", "000007"):
            name = f"{SHARED_DATA / dataset}:{scene}/0"
            observation = load_observation(name)
            plane = find_support_plane(observation, torch.Generator().manual_seed(0))
            observation = observation.with_camera_pose(plane.T_world_camera)
            posterior = fit_ellipsoids(gather_evidence(observation, on_plane=True))
            for truth in load_ground_truth(name):
                k = truth.mask_index
                found = ellipsoid_mesh(posterior.radii[k].float()).transformed(posterior.T_world_object[k].float())
                shape = score_mesh(found, truth.mesh.transformed(plane.T_world_camera), torch.Generator().manual_seed(0), samples=3000)
                rows.append((shape.cd_l1_mm, shape.f10))
    means = {dataset: np.mean(rows, axis=0) for dataset, rows in scores.items()}
    assert means["tabletop_dev"][0] < 7.8
    assert means["tabletop_dev"][1] > 79
    assert means["clevr_dev"][0] < 6.5
    assert means["clevr_dev"][1] > 85
