"""Stage 0: each object's visible points to an ellipsoid with a covariance, by maximum a posteriori.

Nine unknowns an object: centre, rotation, log radii. Evidence: distances of the measured points to the surface (Sampson, heavy-tailed),
and where the outline falls on the mask. Priors: sizes, the extent along the view, rest on the support plane, nothing below it, nothing
nearer to the camera than what was measured. All objects and several starts each are solved together by Levenberg-Marquardt; the start
that ends with the lowest cost counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import project
from invgraphics.geometry.ellipsoid import (
    TANGENT,
    extreme_unit_points,
    half_extents,
    limb_unit_points,
    sampson_distance,
    surface_jacobian,
    surface_points,
)
from invgraphics.transforms import rigid, so3_exp, so3_left_jacobian, transform_points
from optim.evidence import ObjectEvidence, sample_fields, silhouette_fields
from optim.minimize import Callback, Limits, Minimum, Outcome, minimize
from optim.steppers import (
    LevenbergMarquardt,
    NormalEquations,
    Parameters,
    Stepper,
    accumulate_residuals,
    combine_terms,
    quadratic,
    student_t,
)

_LIMB_POINTS = 32
_FRONT_MARGIN = 0.05
"""Share of the visible points that may stand nearer than the ellipsoid's front: flying pixels."""


@dataclass(frozen=True)
class EllipsoidPriors:
    """What is believed before the image is seen, and how much the evidence counts. Sizes are relative to the visible half extent."""

    misfit: float = 0.12
    """Standard deviation of true surfaces about their ellipsoid, as a share of the size; added to the sensor's noise."""
    tail: float = 8.0
    """Degrees of freedom of the Student-t of point and outline residuals."""
    effective_points: float = 60.0
    """How many independent points the visible surface is worth: misfits of neighbouring points go together."""
    outline_pixels: float = 1.5
    """Standard deviation of the mask's border, pixels; the misfit adds to it."""
    effective_outline: float = 12.0
    """How many independent points the outline is worth."""
    depth_ratio: float = 0.9
    """Half extent along the view over the lesser of the two across it: median."""
    depth_ratio_spread: float = 0.8
    """The same: standard deviation of its logarithm."""
    radius_spread: float = 1.0
    """Standard deviation of the logarithm of a radius over the size."""
    rotation_spread: float = 1.5
    """Standard deviation of the rotation from the start, radians: holds still what nothing else determines."""
    contact: float = 0.003
    """Scale of the lowest point's height over the support plane, metres; heavy-tailed, since objects may lie on others."""
    barrier: float = 0.002
    """Standard deviation of what may not be: reaching below the plane, metres."""
    axis_aligned: bool = False
    """Whether every start has the world's axes, to which a small `rotation_spread` then holds the ellipsoids."""


@dataclass(frozen=True)
class EllipsoidPosterior:
    """n ellipsoids and how well each is known."""

    T_world_object: Float[Tensor, "n 4 4"]
    """Object frame to world frame, metres."""
    radii: Float[Tensor, "n 3"]
    """Semi-axes along the object's x, y, z, metres."""
    covariance: Float[Tensor, "n 9 9"]
    """Of (centre in world axes, metres; rotation about object axes, radians; logarithms of the radii): the Laplace approximation."""
    cost: Float[Tensor, " n"]
    """Negative logarithm of the posterior, up to a constant."""
    iterations: int
    """Levenberg-Marquardt steps made."""
    outcome: Outcome

    def extent_deviation(self, directions: Float[Tensor, "k 3"]) -> Float[Tensor, "n k"]:
        """Standard deviation, metres, of where the surface ends along each unit world direction: large where the view could not see."""
        along = directions.to(self.radii).expand(len(self.radii), -1, 3)
        unit = extreme_unit_points(self.T_world_object, self.radii, along)
        jacobian = (along[..., None, :] @ surface_jacobian(self.T_world_object, self.radii, unit))[..., 0, :]
        return (jacobian @ self.covariance * jacobian).sum(-1).clamp(min=0).sqrt()


SilhouetteTerm = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Poses (b 4 4) and radii (b 3) to the silhouettes' cost (b), gradient (b 9) and Gauss-Newton Hessian (b 9 9) in the tangent."""


def fit_ellipsoids(
    evidence: ObjectEvidence,
    priors: EllipsoidPriors | None = None,
    limits: Limits = Limits(iterations=40),  # noqa: B008 (frozen)
    callbacks: Sequence[Callback] = (),
    stepper: Stepper = LevenbergMarquardt(tolerance=1e-4),  # noqa: B008 (frozen)
) -> EllipsoidPosterior:
    """Fits an ellipsoid to every object. Deterministic.

    Returns:
        Poses, radii and covariances, in float64.
    """
    priors = priors or EllipsoidPriors()
    starts = build_starts(evidence, priors.axis_aligned)
    count, repeated = len(starts), repeat_evidence(evidence, len(starts))
    rotations, centres, radii = (torch.cat([start[k] for start in starts]) for k in range(3))
    energy = EllipsoidEnergy(repeated, rotations, priors, OutlineTerm(repeated, priors))
    start = {"centre": centres, "rotation": torch.zeros_like(centres), "log_radii": radii.log()}
    return find_posterior(energy, minimize(energy, start, stepper, limits, callbacks), count)


def find_posterior(energy: "EllipsoidEnergy", minimum: Minimum, starts: int) -> EllipsoidPosterior:
    """The best of several starts of every object, and its covariance: the inverse of the Gauss-Newton Hessian."""
    T_world_object, radii = energy.place(minimum.parameters)
    equations = energy.linearize_at(T_world_object, radii, minimum.parameters["rotation"])
    cost = equations.cost.reshape(starts, -1)
    n = cost.shape[1]
    chosen = cost.argmin(0) * n + torch.arange(n, device=cost.device)
    covariance = torch.linalg.inv(equations.hessian[chosen])
    shape = (T_world_object[chosen], radii[chosen], covariance)
    return EllipsoidPosterior(*shape, equations.cost[chosen], minimum.iterations, minimum.outcome)


class OutlineTerm:
    """The silhouette as stage 0 sees it: signed distances of the projected limb to the mask's border, in pixels, over their tolerance."""

    def __init__(self, evidence: ObjectEvidence, priors: EllipsoidPriors):
        self.evidence = evidence
        self.priors = priors
        self._fields = silhouette_fields(evidence)

    def __call__(self, T_world_object: Float[Tensor, "b 4 4"], radii: Float[Tensor, "b 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Cost, gradient and Hessian in the tangent."""
        evidence, camera = self.evidence, self.evidence.camera
        unit = limb_unit_points(T_world_object, radii, evidence.eye, _LIMB_POINTS)
        points = transform_points(camera.T_camera_world.expand(len(radii), 4, 4), surface_points(T_world_object, radii, unit))
        z = points[..., 2:].clamp(min=1e-3)
        pixels = project(camera.K, torch.cat([points[..., :2], z], dim=-1))
        value, slope = sample_fields(self._fields, evidence, pixels)
        focal = torch.stack([camera.K[0, 0], camera.K[1, 1]])
        by_xy = slope * focal / z
        by_z = -(slope * (pixels - camera.K[:2, 2])).sum(-1, keepdim=True) / z
        by_world = torch.cat([by_xy, by_z], dim=-1) @ camera.T_camera_world[:3, :3]
        jacobian = (by_world[..., None, :] @ surface_jacobian(T_world_object, radii, unit))[..., 0, :]
        tolerance = (
            self.priors.outline_pixels**2 + (self.priors.misfit * evidence.size[:, None] * focal[0] / z[..., 0].detach()) ** 2
        ).sqrt()
        share = radii.new_full((1, 1), self.priors.effective_outline / _LIMB_POINTS)
        return accumulate_residuals(value / tolerance, jacobian / tolerance[..., None], student_t(self.priors.tail), share)


def repeat_evidence(evidence: ObjectEvidence, count: int) -> ObjectEvidence:
    """The same objects `count` times over: all, then all again."""
    fields = ("points", "present", "noise", "view", "lateral", "labels", "depth", "crop_origin", "crop_step")
    repeated = {}
    for name in fields:
        value = getattr(evidence, name)
        repeated[name] = value.repeat(count, *[1] * (value.ndim - 1))
    return replace(evidence, **repeated)


def build_starts(
    evidence: ObjectEvidence, axis_aligned: bool = False
) -> list[tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"], Float[Tensor, "n 3"]]]:
    """Rotations, centres and radii to start from: an upright box round the points and their shadow on the plane (where there is one),
    an upright one and one along the points' principal axes round the points and their continuation along the view. All of them along
    the world's axes where `axis_aligned`."""
    world = torch.eye(3).to(evidence.points).expand(len(evidence.points), 3, 3)
    upright, principal = (world, world) if axis_aligned else _build_axes(evidence)
    behind = evidence.points + (evidence.view * evidence.lateral[:, 1:])[:, None]
    continued = torch.cat([evidence.points, behind], dim=1)
    present = torch.cat([evidence.present, evidence.present], dim=1)
    starts = [_enclose(upright, continued, present), _enclose(principal, continued, present)]
    if evidence.on_plane:
        shadow = evidence.points * evidence.points.new_tensor([1.0, 1.0, 0.0])
        starts.append(_enclose(upright, torch.cat([evidence.points, shadow], dim=1), present))
    return starts


def _build_axes(evidence: ObjectEvidence) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3 3"]]:
    """Two rotations: z up and x along the points' horizontal principal axis; and the points' principal axes."""
    weights = (evidence.present / evidence.present.sum(-1, keepdim=True))[..., None].to(evidence.points)
    offset = evidence.points - (evidence.points * weights).sum(1, keepdim=True)
    covariance = (offset * weights).transpose(-1, -2) @ offset
    principal = torch.linalg.eigh(covariance).eigenvectors.flip(-1)
    principal = principal * torch.linalg.det(principal)[:, None, None]
    x, y = torch.linalg.eigh(covariance[:, :2, :2]).eigenvectors[..., 1].unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    upright = torch.stack([x, -y, zero, y, x, zero, zero, zero, one], dim=-1).reshape(-1, 3, 3)
    return upright, principal


def _enclose(
    rotation: Float[Tensor, "n 3 3"], points: Float[Tensor, "n m 3"], present: Tensor
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """The ellipsoid along given axes in the box that holds all but 1 % of the points at each side."""
    spread = (points @ rotation).masked_fill(~present[..., None], torch.nan)
    low, high = (torch.nanquantile(spread, q, dim=1) for q in (0.01, 0.99))
    centre = (rotation @ ((low + high) / 2)[..., None])[..., 0]
    radii = ((high - low) / 2).clamp(min=2e-3)
    return rotation, centre, radii


class EllipsoidEnergy:
    """The negative log posterior of b ellipsoids, as normal equations with analytic derivatives.

    Args:
        evidence: of b objects.
        base: rotations at which the rotation parameters are zero.
        priors: what is believed beforehand.
        silhouette: how outline and mask are compared.
    """

    def __init__(self, evidence: ObjectEvidence, base: Float[Tensor, "b 3 3"], priors: EllipsoidPriors, silhouette: SilhouetteTerm):
        self.evidence = evidence
        self.base = base
        self.priors = priors
        self.silhouette = silhouette
        self._scale = (evidence.noise**2 + (priors.misfit * evidence.size[:, None]) ** 2).sqrt()
        self._weights = evidence.present * (priors.effective_points / evidence.present.sum(-1, keepdim=True)).clamp(max=1.0)
        nearest = (evidence.points * evidence.view[:, None]).sum(-1).masked_fill(~evidence.present, torch.nan)
        self._front = torch.nanquantile(nearest, _FRONT_MARGIN, dim=-1)

    def __call__(self, parameters: Parameters) -> NormalEquations:
        """Normal equations in the parameters centre, rotation (tangent at `base`) and log_radii."""
        equations = self.linearize_at(*self.place(parameters), parameters["rotation"])
        chart = torch.eye(9, dtype=self.base.dtype, device=self.base.device).repeat(len(self.base), 1, 1)
        turn = TANGENT["rotation"]
        chart[:, turn, turn] = so3_left_jacobian(-parameters["rotation"])
        gradient = (chart.transpose(-1, -2) @ equations.gradient[..., None])[..., 0]
        return NormalEquations(equations.terms, gradient, chart.transpose(-1, -2) @ equations.hessian @ chart)

    def place(self, parameters: Parameters) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b 3"]]:
        """Poses and radii."""
        return rigid(self.base @ so3_exp(parameters["rotation"]), parameters["centre"]), parameters["log_radii"].exp()

    def linearize_at(
        self, T_world_object: Float[Tensor, "b 4 4"], radii: Float[Tensor, "b 3"], turned: Float[Tensor, "b 3"]
    ) -> NormalEquations:
        """Normal equations in the tangent at given ellipsoids; `turned` is how far they are turned from `base`."""
        shape = (T_world_object, radii)
        parts = {
            "points": self._points(*shape),
            "silhouette": self.silhouette(*shape),
            "front": self._front_gap(*shape),
            "depth extent": self._depth_extent(*shape),
            "sizes": self._sizes(radii),
            "turn": self._turn(turned),
        }
        if self.evidence.on_plane:
            parts |= self._support(*shape)
        return combine_terms(parts)

    def _points(self, T_world_object: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        distance, jacobian = sampson_distance(self.evidence.points, T_world_object, radii)
        residuals, jacobian = distance / self._scale, jacobian / self._scale[..., None]
        return accumulate_residuals(residuals, jacobian, student_t(self.priors.tail), self._weights)

    def _front_gap(self, T_world_object: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far the ellipsoid's front stands before the nearest measured points."""
        view = self.evidence.view[:, None]
        height, jacobian = _extreme_height(T_world_object, radii, -view)
        residuals, jacobian = -self._front[:, None] - height, -jacobian
        return self._one_sided(residuals, jacobian, self._scale.mean(-1, keepdim=True))

    def _depth_extent(self, T_world_object: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The hidden half: logarithm of the half extent along the view over that expected from the extents across it."""
        view = self.evidence.view[:, None]
        extent = half_extents(T_world_object, radii, view)
        unit = extreme_unit_points(T_world_object, radii, view)
        jacobian = (view[..., None, :] @ surface_jacobian(T_world_object, radii, unit))[..., 0, :].clone()
        jacobian[..., TANGENT["centre"]] = 0.0
        expected = self.priors.depth_ratio * self.evidence.lateral[:, 1:]
        spread = self.priors.depth_ratio_spread
        return accumulate_residuals((extent / expected).log() / spread, jacobian / extent[..., None] / spread, quadratic)

    def _sizes(self, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        residuals = (radii / self.evidence.size[:, None]).log() / self.priors.radius_spread
        return accumulate_residuals(residuals, self._selector("log_radii") / self.priors.radius_spread, quadratic)

    def _turn(self, turned: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        spread = self.priors.rotation_spread
        return accumulate_residuals(turned / spread, self._selector("rotation") / spread, quadratic)

    def _support(self, T_world_object: Tensor, radii: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """The lowest point: on the plane, or else on something; never below the plane."""
        down = radii.new_tensor([0.0, 0.0, -1.0]).expand(len(radii), 1, 3)
        depth, jacobian = _extreme_height(T_world_object, radii, down)
        contact = self.priors.contact
        barrier = self._one_sided(-depth, -jacobian, radii.new_full((1, 1), self.priors.barrier))
        return {"contact": accumulate_residuals(depth / contact, jacobian / contact, student_t(1.0)), "below plane": barrier}

    def _one_sided(self, residuals: Tensor, jacobian: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals that count where they are negative."""
        wrong = residuals < 0
        return accumulate_residuals(residuals.clamp(max=0.0) / scale, jacobian * wrong[..., None] / scale[..., None], quadratic)

    def _selector(self, kind: str) -> Float[Tensor, "b 3 9"]:
        return torch.eye(9, dtype=self.base.dtype, device=self.base.device)[TANGENT[kind]].expand(len(self.base), 3, 9)


def _extreme_height(T_world_object: Tensor, radii: Tensor, directions: Float[Tensor, "b 1 3"]) -> tuple[Tensor, Tensor]:
    """How far the surface reaches along directions from the world's origin, (b, 1), and its derivative, (b, 1, 9)."""
    unit = extreme_unit_points(T_world_object, radii, directions)
    reach = (surface_points(T_world_object, radii, unit) * directions).sum(-1)
    return reach, (directions[..., None, :] @ surface_jacobian(T_world_object, radii, unit))[..., 0, :]
