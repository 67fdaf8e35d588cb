"""Where the light comes from: a point light and an environment, found from shading and cast shadows, whatever the surfaces' colours.

Works on the logarithm of luminance, where albedo is a constant of each group of pixels (an object, the table), light a factor, and texture
a residual with heavy tails. Lights are grey here; what is coloured is left to the materials.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.geometry.spherical_harmonics import CONSTANT
from invgraphics.scene import Light, PointLight
from optim.minimize import Limits, minimize
from optim.steppers import LevenbergMarquardt, NormalEquations, Parameters, accumulate_residuals, combine_terms, student_t
from renderers.shading import compute_ellipsoid_shadows, irradiance_basis

CANDIDATES = 64
"""Directions over the upper hemisphere from which the light is first tried."""
REFINED = 3
"""How many of the best are refined."""
LOWEST_ELEVATION = 0.2
"""Sine of the lowest elevation at which a light is sought."""
TYPICAL_DISTANCE = 1.3
"""Metres from the objects to the light, a priori."""
DISTANCE_SPREAD = 0.6
"""Standard deviation of the logarithm of that distance, a priori."""
AMBIENT_SPREAD = (0.3, 0.1)
"""Standard deviations a priori of the environment's coefficients of bands 1 and 2, in units of that of band 0."""
TEXTURE = 0.1
"""Scale of the residuals' Student distribution: relative deviations of pixels from their group's colour under the right light."""
INDEPENDENT_SAMPLES = 300.0
"""How many independent observations the samples count as, against the priors: texture and false shadows make neighbours err alike."""
DARKEST = 0.02
"""Luminance about which pixels weigh half: below, noise and interreflections rule."""

_DARKEST_ENVIRONMENT = 0.05
"""Least shading by the environment, in units of its mean: coefficients may make it negative, no environment is."""
_PRIOR_MEANS = {"strength": [0.7]}
_PRIOR_SPREADS = {"place": [3.0, 3.0, 3.0, 1.0], "strength": [1.0], "ambient": [AMBIENT_SPREAD[0]] * 3 + [AMBIENT_SPREAD[1]] * 5}
"""A-priori means (0 else) and standard deviations (infinite else). The direction's is there only to fix its length."""


@dataclass(frozen=True)
class SurfaceSamples:
    """n pixels that show objects or the support plane."""

    colour: Float[Tensor, "n 3"]
    """Linear RGB as observed."""
    positions: Float[Tensor, "n 3"]
    """World frame, metres."""
    normals: Float[Tensor, "n 3"]
    """Unit, world frame."""
    groups: Int[Tensor, " n"]
    """Index of the object that a pixel shows; the number of objects for the plane."""
    n_groups: int
    """Number of objects, plus one for the plane."""

    def select(self, keep: Tensor) -> "SurfaceSamples":
        """Those that a mask or index picks."""
        return replace(self, colour=self.colour[keep], positions=self.positions[keep], normals=self.normals[keep], groups=self.groups[keep])


@dataclass(frozen=True)
class ShadowCasters:
    """The ellipsoids that stand in the light."""

    T_world_object: Float[Tensor, "m 4 4"]
    radii: Float[Tensor, "m 3"]
    light_radius: float
    """Half angle of the light in radians, for the penumbrae."""


@dataclass(frozen=True)
class Illumination:
    """A grey light and environment, up to a common factor."""

    position: Float[Tensor, "3"]
    """Of the point light, world frame, metres."""
    centre: Float[Tensor, "3"]
    """The point for which `irradiance` is stated: the mean of the objects' centres."""
    irradiance: Float[Tensor, ""]
    """Of the point light at `centre`."""
    sh: Float[Tensor, "9"]
    """Radiance of the environment."""
    cost: float
    """Of the fit; lower is better. Comparable between illuminations of the same samples."""


def estimate_illumination(samples: SurfaceSamples, casters: ShadowCasters) -> Illumination:
    """The light and the environment that explain the samples' luminances best.

    A coarse search over the direction of the light, a damped Gauss-Newton fit for each, then a fit of everything, its position included,
    from the best few. The environment's mean radiance is 1: the scale is for the caller to fix.
    """
    centre = casters.T_world_object[:, :3, 3].mean(0)
    directions = _spread_over_sky(CANDIDATES, centre)
    problem = _LogLuminance(samples, casters, centre)
    start = problem.start(directions)
    places = start.pop("place")
    fixed = problem.linearize_at(places)
    coarse = minimize(fixed, start, LevenbergMarquardt(), Limits(5)).parameters
    best = _best_apart(directions, fixed(coarse).cost, REFINED)
    refined = {"place": places[best], **{name: value[best] for name, value in coarse.items()}}
    fine = minimize(problem.linearize, refined, LevenbergMarquardt(), Limits(12)).parameters
    costs = problem.linearize(fine).cost
    return problem.unpack({name: value[costs.argmin()] for name, value in fine.items()}, float(costs.min()))


def _spread_over_sky(count: int, like: Tensor) -> Float[Tensor, "k 3"]:
    """Unit vectors spread evenly over the sky above `LOWEST_ELEVATION` (a Fibonacci lattice)."""
    index = torch.arange(count, dtype=like.dtype, device=like.device)
    z = 1 - (1 - LOWEST_ELEVATION) * (index + 0.5) / count
    angle = index * torch.pi * (3 - 5**0.5)
    radius = (1 - z**2).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)


def _best_apart(directions: Tensor, costs: Tensor, count: int) -> Tensor:
    """Indices of the lowest costs whose directions are at least 20 degrees apart."""
    chosen: list[int] = []
    for index in costs.argsort().tolist():
        if all(float(directions[index] @ directions[other]) < 0.94 for other in chosen):
            chosen.append(index)
        if len(chosen) == count:
            break
    return torch.tensor(chosen, device=costs.device)


def cast_shadows(samples: SurfaceSamples, casters: ShadowCasters, lights: tuple[Light, ...]) -> Float[Tensor, "k n"]:
    """Share of each direct light that the samples see; an object's own ellipsoid does not shadow it."""
    owners = torch.where(samples.groups < len(casters.radii), samples.groups, -1)
    return compute_ellipsoid_shadows(samples.positions, lights, casters.T_world_object, casters.radii, owners, casters.light_radius)


class _LogLuminance:
    """The least-squares problem: log luminance = log albedo of the group + log shading, for b lights side by side."""

    def __init__(self, samples: SurfaceSamples, casters: ShadowCasters, centre: Tensor):
        self.samples = samples
        self.casters = casters
        self.centre = centre
        luminance = samples.colour.mean(-1)
        self.log_luminance = luminance.clamp(min=DARKEST / 4).log()
        self.weights = luminance**2 / (luminance**2 + DARKEST**2) * min(1.0, INDEPENDENT_SAMPLES / len(luminance))
        self.ambient = irradiance_basis(samples.normals)[:, 1:] / irradiance_basis(samples.normals)[:, :1]
        self.one_hot = torch.nn.functional.one_hot(samples.groups, samples.n_groups).to(luminance)

    def start(self, directions: Float[Tensor, "b 3"]) -> Parameters:
        """Light at the typical distance, as strong as the environment; albedos that explain the groups' mean luminance."""
        b = len(directions)
        mean = (self.one_hot * self.log_luminance[:, None]).sum(0) / self.one_hot.sum(0).clamp(min=1)
        place = torch.cat([directions, directions.new_zeros(b, 1)], dim=-1)
        return {
            "place": place,
            "strength": directions.new_zeros(b, 1),
            "ambient": directions.new_zeros(b, 8),
            "albedo": (mean - 0.5).expand(b, -1).contiguous(),
        }

    def _lights(self, place: Float[Tensor, "b 4"]) -> tuple[Tensor, Tensor]:
        """Positions (b, 3) and distances from the centre (b, 1)."""
        distance = TYPICAL_DISTANCE * torch.exp(DISTANCE_SPREAD * place[:, 3:])
        return self.centre + distance * place[:, :3] / place[:, :3].norm(dim=-1, keepdim=True), distance

    def _direct(self, place: Float[Tensor, "b 4"]) -> Float[Tensor, "b n"]:
        """What the lights give the samples, in units of their irradiance at the centre."""
        positions, distance = self._lights(place)
        offset = positions[:, None] - self.samples.positions
        squared = (offset**2).sum(-1)
        cosine = ((offset * self.samples.normals).sum(-1) / squared.sqrt()).clamp(min=0)
        lights = tuple(PointLight(position, position) for position in positions.unbind(0))
        return cast_shadows(self.samples, self.casters, lights) * cosine * distance**2 / squared

    def linearize_at(self, places: Float[Tensor, "b 4"]) -> Callable[[Parameters], NormalEquations]:
        """The problem with the lights held in place."""
        direct = self._direct(places)
        return lambda parameters: self._equations(parameters, direct, None)

    def linearize(self, parameters: Parameters) -> NormalEquations:
        """The whole problem. Automatic differentiation serves only what the lights give; the rest is by hand."""
        return self._equations(parameters, *self._direct_and_slopes(parameters["place"]))

    def _direct_and_slopes(self, places: Float[Tensor, "b 4"]) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 4"]]:
        """What the lights give the samples, and its derivatives in the lights' places.

        The derivative along each axis is that of the vector-Jacobian product in its vector, for all axes side by side.
        """
        b, axes = places.shape
        repeated = places.detach().repeat_interleave(axes, dim=0).requires_grad_(True)
        direct = self._direct(repeated)
        vector = torch.zeros_like(direct, requires_grad=True)
        (product,) = torch.autograd.grad(direct, repeated, vector, create_graph=True)
        tangents = torch.eye(axes, dtype=places.dtype, device=places.device).repeat(b, 1)
        (slopes,) = torch.autograd.grad(product, vector, tangents)
        return direct.detach()[::axes], slopes.reshape(b, axes, -1).transpose(1, 2)

    def _equations(self, parameters: Parameters, direct: Float[Tensor, "b n"], slopes: Float[Tensor, "b n 4"] | None) -> NormalEquations:
        """Normal equations of data and priors. Unknowns: place (where `slopes` are given), strength, ambient, albedo."""
        ambient, strength = parameters["ambient"], parameters["strength"].exp()
        environment = 1 + ambient @ self.ambient.T
        lit = environment > _DARKEST_ENVIRONMENT
        shading = environment.clamp(min=_DARKEST_ENVIRONMENT) + strength * direct
        residuals = (self.log_luminance - parameters["albedo"] @ self.one_hot.T - shading.log()) / TEXTURE
        columns = [(strength * direct)[..., None], self.ambient * lit[..., None]]
        if slopes is not None:
            columns.insert(0, strength[..., None] * slopes)
        by_shading = torch.cat(columns, dim=-1) / shading[..., None]
        jacobian = torch.cat([by_shading, self.one_hot.expand(len(ambient), -1, -1)], dim=-1) / -TEXTURE
        data = accumulate_residuals(residuals, jacobian, student_t(3.0), self.weights[None])
        return combine_terms({"data": data, "prior": self._prior(parameters)})

    def _prior(self, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussian priors, diagonal, of all unknowns but the albedos; cost, gradient and Hessian."""
        values, means, spreads = [], [], []
        for name, value in parameters.items():
            values.append(value)
            means += _PRIOR_MEANS.get(name, [0.0] * value.shape[-1])
            spreads += _PRIOR_SPREADS.get(name, [torch.inf] * value.shape[-1])
        flat = torch.cat(values, dim=-1)
        precision = flat.new_tensor(spreads) ** -2
        offset = flat - flat.new_tensor(means)
        return (precision * offset**2).sum(-1) / 2, precision * offset, torch.diag_embed(precision).expand(len(flat), -1, -1)

    def unpack(self, parameters: Parameters, cost: float) -> Illumination:
        """One of the solutions (parameters without the leading b) as an illumination."""
        position, _ = self._lights(parameters["place"][None])
        irradiance = torch.pi * parameters["strength"][0].exp()
        sh = torch.cat([torch.ones_like(parameters["ambient"][:1]), parameters["ambient"]]) / CONSTANT
        return Illumination(position[0], self.centre, irradiance, sh, cost)
