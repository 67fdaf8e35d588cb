"""Materials and lights fitted to colour: lights and base colours by gradient, roughness and metallic by trying each."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.scene import AmbientLight, DirectionalLight, Light, Material, PointLight
from optim.illumination import INDEPENDENT_SAMPLES, TEXTURE, Illumination, ShadowCasters, SurfaceSamples, cast_shadows
from optim.steppers import Parameters
from renderers.materials import shade_materials
from renderers.rasterize.workers import Workers
from renderers.shading import shade_ggx

WHITE = 0.8
"""Albedo below which 95 % of the pixels are taken to lie: what tells a dark surface in bright light from a bright one in dim light."""
FARTHEST_POINT_LIGHT = 5.0
"""Metres. A light found farther away is given as a directional one: nothing in the image tells how far it is."""
METALLIC_PRIOR = 0.02
"""Share of objects that are metal, a priori."""
_ROUGHNESSES = (0.15, 0.2, 0.25, 0.3, 0.37, 0.45, 0.55, 0.7, 0.85, 1.0)
_TYPICAL_ROUGHNESS = (0.6, 0.3)
"""Mean and standard deviation a priori."""
_INDEPENDENT_PIXELS = 20.0
"""How many independent observations an object's pixels count as when its reflectance is chosen: wrong light or shape errs everywhere."""
_PRIOR_SPREADS = {"rough": 1.0, "position": 0.3, "strength": 0.5, "sh": 0.2}
"""Standard deviations of the free parameters about where the fit starts."""


def _grey_lights(position: Tensor, intensity: Tensor, sh: Tensor) -> tuple[PointLight, AmbientLight]:
    return PointLight(position, intensity.expand(3)), AmbientLight(sh[:, None].expand(9, 3))


@dataclass(frozen=True)
class Start:
    """Where the fit to colour begins. The lights are grey."""

    position: Float[Tensor, "3"]
    """Of the point light, world frame, metres."""
    intensity: Float[Tensor, ""]
    """Its radiant intensity."""
    sh: Float[Tensor, "9"]
    """Radiance of the environment."""
    base_colours: Float[Tensor, "g 3"]
    """One a group, the plane's last."""


def normalise_scale(found: Illumination, samples: SurfaceSamples, casters: ShadowCasters) -> Start:
    """The illumination scaled by the prior on albedo, and the groups' median albedos (0.5 for groups without samples)."""
    intensity = found.irradiance * ((found.position - found.centre) ** 2).sum()
    lights = _grey_lights(found.position, intensity, found.sh)
    shading = _shade_white(samples, lights, cast_shadows(samples, casters, lights))
    albedo = samples.colour / shading.clamp(min=1e-3)
    scale = (torch.quantile(albedo.amax(-1), 0.95) / WHITE).clamp(min=1e-6)
    medians = torch.full((samples.n_groups, 3), 0.5, dtype=albedo.dtype, device=albedo.device)
    for group in samples.groups.unique().tolist():
        medians[group] = (albedo[samples.groups == group] / scale).median(0).values
    return Start(found.position, intensity * scale, found.sh * scale, medians.clamp(0.01, 0.95))


def _shade_white(samples: SurfaceSamples, lights: tuple[Light, ...], visible: Tensor) -> Tensor:
    """Radiance of the samples, were they all rough and white, seen along their normals."""
    ones = torch.ones_like(samples.colour)
    column = ones[:, :1]
    return shade_ggx(samples.positions, samples.normals, samples.normals, ones, 0 * column, column, lights, visible)


class AppearanceFit:
    """Base colours and lights as free parameters, the loss in colour, and the choice of materials once the lights are known."""

    def __init__(self, samples: SurfaceSamples, casters: ShadowCasters, camera: Camera, start: Start):
        self.samples = samples
        self.casters = casters
        self.eye = camera.T_world_camera[:3, 3].detach()
        self.begin = start
        self._workers = Workers()
        count = torch.bincount(samples.groups, minlength=samples.n_groups).clamp(min=1)
        level = (_sum_by_group(samples.colour, samples) / count[:, None]).mean(-1, keepdim=True)
        self.tolerances = TEXTURE * (level + 0.03)

    def start(self) -> Parameters:
        """Free parameters at the start."""
        like = self.begin.base_colours
        return {
            "colour": torch.logit(like),
            "rough": torch.zeros_like(like[:, :1]),
            "position": torch.zeros_like(self.begin.position),
            "strength": torch.zeros_like(self.begin.intensity),
            "sh": torch.zeros_like(self.begin.sh),
        }

    def lights(self, parameters: Parameters) -> tuple[Light, ...]:
        """The lights that the parameters stand for; one far away as directional."""
        point, ambient = self._lights(parameters)
        centre = self.casters.T_world_object[:, :3, 3].mean(0)
        towards = point.position - centre
        distance = towards.norm()
        if distance < FARTHEST_POINT_LIGHT:
            return point, ambient
        return DirectionalLight(-towards / distance, point.intensity / distance**2), ambient

    def _lights(self, parameters: Parameters) -> tuple[PointLight, AmbientLight]:
        intensity = self.begin.intensity * parameters["strength"].exp()
        return _grey_lights(self.begin.position + parameters["position"], intensity, self.begin.sh + self.begin.sh[0] * parameters["sh"])

    def shade(
        self,
        parameters: Parameters,
        samples: SurfaceSamples,
        base_colour: Float[Tensor, "n 3"],
        metallic: Float[Tensor, " g"],
        roughness: Float[Tensor, " g"],
        visible: Float[Tensor, "k n"] | None = None,
    ) -> Float[Tensor, "n 3"]:
        """Radiance of samples of g groups; their `visible` share of the light is computed where it is not given."""
        lights = self._lights(parameters)
        if visible is None:
            visible = cast_shadows(samples, self.casters, lights)
        white = base_colour.new_ones(3)
        materials = [Material(white, *values) for values in zip(metallic, roughness, strict=True)]
        points = (samples.positions, samples.normals, self.eye, base_colour, samples.groups)
        return shade_materials(*points, materials, lights, visible, self._workers)

    def loss(self, parameters: Parameters) -> dict[str, Tensor]:
        """Negative log likelihood (Student's t, 3 degrees of freedom) of the colours as dielectrics, and of the priors."""
        groups = self.samples.groups
        odds = torch.tensor(_TYPICAL_ROUGHNESS[0]).logit().item()
        roughness = (parameters["rough"] + odds).sigmoid()[:, 0]
        predicted = self.shade(parameters, self.samples, parameters["colour"].sigmoid()[groups], torch.zeros_like(roughness), roughness)
        residuals = (predicted - self.samples.colour) / self.tolerances[groups]
        terms = {"colour": _student_cost(residuals).sum() * min(1.0, INDEPENDENT_SAMPLES / len(groups))}
        for name, spread in _PRIOR_SPREADS.items():
            terms[name] = ((parameters[name] / spread) ** 2).sum() / 2
        return terms

    def choose_materials(self, parameters: Parameters, samples: SurfaceSamples) -> tuple[Material, ...]:
        """The roughness, metal or not, and base colour of each group that explain `samples` best, the lights given; the plane's last.

        A highlight is a few pixels in a place that one roughness explains and the others do not: no gradient leads there from afar.
        """
        visible = cast_shadows(samples, self.casters, self._lights(parameters))
        usual = parameters["colour"].sigmoid()
        best_cost, best = usual.new_full((samples.n_groups,), torch.inf), usual.new_zeros(samples.n_groups, 5)
        for metallic in (0.0, 1.0):
            for roughness in _ROUGHNESSES:
                colours, data = self._try_reflectance(parameters, samples, visible, metallic, roughness, usual)
                odds = METALLIC_PRIOR if metallic else 1 - METALLIC_PRIOR
                prior = ((roughness - _TYPICAL_ROUGHNESS[0]) / _TYPICAL_ROUGHNESS[1]) ** 2 / 2 - torch.tensor(odds).log().item()
                cost = _INDEPENDENT_PIXELS * data + prior
                candidate = torch.cat([colours, colours.new_tensor([metallic, roughness]).expand(len(colours), 2)], dim=-1)
                best = torch.where((cost < best_cost)[:, None], candidate, best)
                best_cost = torch.minimum(cost, best_cost)
        return tuple(Material(row[:3], row[3], row[4]) for row in best)

    def _try_reflectance(
        self, parameters: Parameters, samples: SurfaceSamples, visible: Tensor, metallic: float, roughness: float, usual: Tensor
    ) -> tuple[Float[Tensor, "g 3"], Float[Tensor, " g"]]:
        """Base colours of the groups with this reflectance by reweighted least squares, and the mean cost of their pixels."""
        ones = torch.ones_like(samples.colour)
        surface = (usual.new_full((len(usual),), metallic), usual.new_full((len(usual),), roughness), visible)
        black = self.shade(parameters, samples, 0 * ones, *surface)
        gain = self.shade(parameters, samples, ones, *surface) - black
        tolerance = self.tolerances[samples.groups]
        colours = usual
        for _ in range(4):
            # What is brighter than the sensor's white shows as white.
            predicted = (black + gain * colours[samples.groups]).clamp(max=1)
            residuals = (predicted - samples.colour) / tolerance
            weight = 1 / (3 + (residuals**2).sum(-1, keepdim=True)) * (predicted < 1)
            above = _sum_by_group(weight * gain * (samples.colour - black), samples)
            below = _sum_by_group(weight * gain**2, samples)
            colours = torch.where(below > 1e-8, above / below.clamp(min=1e-8), usual).clamp(0.0, 1.0)
        predicted = (black + gain * colours[samples.groups]).clamp(max=1)
        cost = _student_cost((predicted - samples.colour) / tolerance).sum(-1, keepdim=True)
        count = torch.bincount(samples.groups, minlength=samples.n_groups).clamp(min=1)
        return colours, _sum_by_group(cost, samples)[:, 0] / count


def _student_cost(residuals: Tensor) -> Tensor:
    return 2 * torch.log1p(residuals**2 / 3)


def _sum_by_group(values: Float[Tensor, "n c"], samples: SurfaceSamples) -> Float[Tensor, "g c"]:
    return values.new_zeros(samples.n_groups, values.shape[-1]).index_add(0, samples.groups, values)
