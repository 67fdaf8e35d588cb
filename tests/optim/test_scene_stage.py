"""Stage one: silhouettes meet masks, shapes stay right, hidden pixels stay silent, derivatives are right."""

import pytest
import torch
from torch import Tensor

from invgraphics.geometry.ellipsoid import ellipsoid_mesh, move_ellipsoids
from invgraphics.metrics import score_mesh
from optim.ellipsoids import EllipsoidPosterior, fit_ellipsoids
from optim.evidence import gather_evidence
from optim.minimize import Outcome
from optim.scene_stage import CROP, CoverageTerm, CoverageWeights, compute_silhouette_iou, fit_scene_shapes
from tests.optim.ellipsoid_scenes import photograph, pose

FAR = (pose(-0.02, 0.1, 0.04, (0.0, 0.0, 0.4)), [0.06, 0.03, 0.04])
NEAR = (pose(0.03, -0.02, 0.025), [0.03, 0.03, 0.025])
POSES, RADII = [FAR[0], NEAR[0]], [FAR[1], NEAR[1]]
TRUE_POSES, TRUE_RADII = torch.stack(POSES).double(), torch.tensor(RADII, dtype=torch.float64)


def disturbed(tangent: Tensor) -> EllipsoidPosterior:
    """A start a tangent vector away from the truth."""
    moved, radii = move_ellipsoids(TRUE_POSES, TRUE_RADII, tangent)
    return EllipsoidPosterior(moved, radii, torch.eye(9, dtype=torch.float64).repeat(2, 1, 1), torch.zeros(2), 0, Outcome.CONVERGED)


def test_recovers_from_a_disturbed_start() -> None:
    evidence = gather_evidence(photograph(POSES, RADII), on_plane=True, crop=CROP)
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.01] * 3 + [0.3] * 3 + [0.25] * 3, dtype=torch.float64)
    start = disturbed(scale * torch.randn(2, 9, generator=generator, dtype=torch.float64))
    before = compute_silhouette_iou(evidence, start.T_world_object, start.radii)
    result = fit_scene_shapes(evidence, start)
    assert (result.silhouette_iou > before + 0.05).all()
    assert result.silhouette_iou.min() > 0.93
    for k in range(2):
        found = ellipsoid_mesh(result.posterior.radii[k].float()).transformed(result.posterior.T_world_object[k].float())
        true = ellipsoid_mesh(TRUE_RADII[k].float()).transformed(POSES[k])
        assert score_mesh(found, true, torch.Generator().manual_seed(0), samples=3000).cd_l1_mm < 3.0
    assert result.history.stage == "ellipsoids"
    assert result.history.loss["total"][-1] < result.history.loss["total"][0]
    assert torch.linalg.eigvalsh(result.posterior.covariance).min() > 0


def test_does_not_lower_the_overlap_that_stage_0_leaves() -> None:
    """A cube is no ellipsoid: stage 0 gives a compromise, stage one trades some of it for the silhouette."""
    observation = photograph(POSES, RADII)
    squares = torch.zeros_like(observation.masks[:1])
    v, u = observation.masks[0].nonzero().unbind(-1)
    squares[0, v.min() : v.max() + 1, u.min() : u.max() + 1] = True
    squares &= ~observation.masks[1]
    evidence = gather_evidence(observation.with_masks(squares), on_plane=True, crop=CROP)
    start = fit_ellipsoids(evidence)
    before = compute_silhouette_iou(evidence, start.T_world_object, start.radii)
    assert float(fit_scene_shapes(evidence, start).silhouette_iou) > float(before) - 0.01


def test_what_is_hidden_says_nothing() -> None:
    """Longer by 1 cm at the end that the near object hides costs little; as much longer at the free end does not."""
    poses, radii = [pose(-0.04, 0.08, 0.03), pose(0.015, 0.02, 0.06)], [[0.06, 0.03, 0.03], [0.04, 0.02, 0.06]]
    evidence = gather_evidence(photograph(poses, radii), on_plane=True, crop=CROP)
    term = CoverageTerm(evidence, CoverageWeights(softness=0.01))
    true_poses, true_radii = torch.stack(poses).double(), torch.tensor(radii, dtype=torch.float64)
    rises = []
    for side in (1, -1):
        longer, longer_radii = true_poses.clone(), true_radii.clone()
        longer[0, 0, 3] += 0.005 * side
        longer_radii[0, 0] += 0.005
        rises.append(float(term(longer, longer_radii)[0][0] - term(true_poses, true_radii)[0][0]))
    assert rises[1] > 1.0
    assert rises[0] < 0.2 * rises[1]


def test_iou_of_the_truth_is_near_one_and_falls_with_size() -> None:
    evidence = gather_evidence(photograph(POSES, RADII), on_plane=True, crop=96)
    assert compute_silhouette_iou(evidence, TRUE_POSES, TRUE_RADII).min() > 0.96
    smaller = compute_silhouette_iou(evidence, TRUE_POSES, 0.8 * TRUE_RADII)
    assert smaller[1] == pytest.approx(0.64, abs=0.04)


def test_gradient_of_the_coverage_agrees_with_finite_differences() -> None:
    evidence = gather_evidence(photograph(POSES, RADII), on_plane=True, crop=CROP)
    term = CoverageTerm(evidence, CoverageWeights())
    tangent = 0.1 * torch.randn(2, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    tangent[:, :3] *= 0.1
    at = move_ellipsoids(TRUE_POSES, TRUE_RADII, tangent)
    _, gradient, hessian = term(*at)
    expected, step = torch.zeros(2, 9, dtype=torch.float64), 1e-6
    for k in range(9):
        shift = torch.zeros(2, 9, dtype=torch.float64)
        shift[:, k] = step
        ahead, behind = term(*move_ellipsoids(*at, shift))[0], term(*move_ellipsoids(*at, -shift))[0]
        expected[:, k] = (ahead - behind) / (2 * step)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)
    assert torch.linalg.eigvalsh(hessian).min() > -1e-8
