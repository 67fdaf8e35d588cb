"""Stage one: the ellipsoids' poses, with rotation, and sizes, fitted by gradient to each object's depth and rendered silhouette.

Starts from stage 0 and keeps its priors and its depth term: the distance of the measured points to the surface, on whichever side of it
they were seen. (Comparing with rendered depth instead was tried: it pulls the front of the ellipsoid to the inside of bowls and cups, and
makes shapes worse.) What is new is the silhouette: the coverage of every sample of the crop, rendered with a soft border, against the
mask. Every object is judged on its own crop, so that small ones weigh as much as large ones; samples at which something nearer may hide
it say nothing. Materials and lights are another stage's (`optim.appearance`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.geometry.ellipsoid import move_ellipsoids
from invgraphics.reconstruction import StageHistory
from optim.ellipsoids import EllipsoidEnergy, EllipsoidPosterior, EllipsoidPriors, find_posterior
from optim.evidence import OWN, SEEN_THROUGH, ObjectEvidence
from optim.minimize import Callback, Limits, minimize
from optim.steppers import LevenbergMarquardt, Stepper, accumulate_residuals, quadratic
from renderers.raycast.ellipsoids import differentiate_coverage, ellipsoid_coverage, ellipsoid_depth, project_ellipsoids

CROP = 32
"""Samples along each side of crops that this stage works well with: `gather_evidence(observation, on_plane, crop=CROP)`."""


@dataclass(frozen=True)
class CoverageWeights:
    """How much the silhouette counts, and how sharp it is."""

    effective_samples: float = 10.0
    """How many independent samples an object's border is worth."""
    deviation: float = 0.35
    """Standard deviation of the coverage of a sample on the border."""
    softness: float = 0.08
    """Width of the soft silhouette as a share of the diameter of a disc of the mask's area; at least a pixel."""


@dataclass(frozen=True)
class SceneStageResult:
    """What stage one returns."""

    posterior: EllipsoidPosterior
    """The ellipsoids, with the covariance of this stage's own loss."""
    silhouette_iou: Float[Tensor, " n"]
    """Intersection over union of silhouette and mask, over the samples that say something."""
    history: StageHistory
    """For the record."""


def fit_scene_shapes(
    evidence: ObjectEvidence,
    start: EllipsoidPosterior,
    priors: EllipsoidPriors | None = None,
    weights: CoverageWeights | None = None,
    limits: Limits = Limits(iterations=20),  # noqa: B008 (frozen)
    callbacks: Sequence[Callback] = (),
    stepper: Stepper = LevenbergMarquardt(tolerance=1e-4),  # noqa: B008 (frozen)
) -> SceneStageResult:
    """Refines the ellipsoids of stage 0. Deterministic.

    Args:
        evidence: what the image says about each object; crops of `CROP` samples a side are enough.
        start: stage 0's result.
        priors: as in stage 0.
        weights: of the silhouette.
        limits: when to stop.
        callbacks: called after every step.
        stepper: one that takes normal equations.
    """
    term = CoverageTerm(evidence, weights or CoverageWeights())
    energy = EllipsoidEnergy(evidence, start.T_world_object[:, :3, :3], priors or EllipsoidPriors(), term)
    centre = start.T_world_object[:, :3, 3]
    parameters = {"centre": centre, "rotation": torch.zeros_like(centre), "log_radii": start.radii.log()}
    minimum = minimize(energy, parameters, stepper, limits, callbacks)
    posterior = find_posterior(energy, minimum, starts=1)
    iou = compute_silhouette_iou(evidence, posterior.T_world_object, posterior.radii)
    return SceneStageResult(posterior, iou, minimum.history("ellipsoids"))


class CoverageTerm:
    """The silhouette as stage one sees it: rendered coverage less the mask at the samples of each object's crop."""

    def __init__(self, evidence: ObjectEvidence, weights: CoverageWeights):
        self.camera = evidence.camera
        self.deviation = weights.deviation
        own, through = _split_labels(evidence)
        self._own = own.to(evidence.points)
        perimeter = 2 * (torch.pi * own.sum(-1, keepdim=True)).sqrt()
        self._weights = (own | through) * (weights.effective_samples / perimeter).clamp(max=1.0)
        diameter = 2 * (own.sum(-1, keepdim=True) / torch.pi).sqrt() * evidence.crop_step[:, None]
        self._focal = focal_lengths(evidence) / (weights.softness * diameter).clamp(min=1.0)
        self._rays = crop_rays(evidence)

    def __call__(self, T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Cost, gradient and Hessian in the tangent."""
        pose = self.camera.T_camera_world @ T_world_object
        # Focal lengths over the softness make a pixel of each object's border as wide as it is soft.
        coverage = ellipsoid_coverage(pose, radii, self._rays, self._focal)
        slopes = differentiate_coverage(project_ellipsoids(pose, radii), self._rays, self._focal)
        jacobian = slopes @ self._ellipse_jacobian(T_world_object, radii)
        return accumulate_residuals((coverage - self._own) / self.deviation, jacobian / self.deviation, quadratic, self._weights)

    def _ellipse_jacobian(self, T_world_object: Tensor, radii: Tensor) -> Float[Tensor, "n 5 9"]:
        """Derivative of the projected ellipses' centres (x, y) and covariances (xx, xy, yy) by the tangent.

        Five copies of each ellipsoid, one for each number, so that one reverse pass finds all derivatives.
        """
        copies = (tensor.detach().repeat_interleave(5, dim=0) for tensor in (T_world_object, radii))
        with torch.enable_grad():
            tangent = radii.new_zeros(5 * len(radii), 9).requires_grad_()
            moved, sizes = move_ellipsoids(*copies, tangent)
            ellipses = project_ellipsoids(self.camera.T_camera_world @ moved, sizes)
            numbers = torch.cat([ellipses.centre, ellipses.covariance[:, 0], ellipses.covariance[:, 1, 1:]], dim=-1)
            chosen = torch.eye(5, dtype=radii.dtype, device=radii.device).repeat(len(radii), 1)
            (jacobian,) = torch.autograd.grad((numbers * chosen).sum(), tangent)
        return jacobian.reshape(-1, 5, 9)


def compute_silhouette_iou(
    evidence: ObjectEvidence, T_world_object: Float[Tensor, "n 4 4"], radii: Float[Tensor, "n 3"]
) -> Float[Tensor, " n"]:
    """Intersection over union of the ellipsoids' silhouettes and the masks, over the samples of the crops that say something."""
    hit = ellipsoid_depth(evidence.camera.T_camera_world @ T_world_object, radii, crop_rays(evidence)).hit
    own, through = _split_labels(evidence)
    return (hit & own).sum(-1) / (own | (hit & through)).sum(-1)


def crop_rays(evidence: ObjectEvidence) -> Float[Tensor, "n p 3"]:
    """Rays (camera frame, z = 1) through the pixels that the samples of the crops were read from."""
    index = torch.arange(evidence.labels.shape[-1], device=evidence.labels.device).to(evidence.crop_step)
    v, u = torch.meshgrid(index, index, indexing="ij")
    pixels = evidence.crop_origin[:, None] + torch.stack([u, v], dim=-1).reshape(1, -1, 2) * evidence.crop_step[:, None, None]
    xy = (pixels.round() - evidence.camera.K[:2, 2]) / focal_lengths(evidence)
    return torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)


def focal_lengths(evidence: ObjectEvidence) -> Float[Tensor, "1 2"]:
    """Horizontal and vertical focal length, pixels."""
    return evidence.camera.K.diagonal()[None, :2]


def _split_labels(evidence: ObjectEvidence) -> tuple[Tensor, Tensor]:
    """(n, p) bool each: where the object is seen, and where it is seen not to be."""
    labels = evidence.labels.flatten(1)
    return labels == OWN, labels == SEEN_THROUGH
