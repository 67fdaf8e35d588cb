"""Materials and lights: what radiance a surface point sends to the camera. Shared by every renderer.

Everything works on flat lists of surface points, so that only covered pixels cost, is vectorised over the lights, and is differentiable
with respect to every tensor that goes in. Colours are linear RGB; a pixel's value is the radiance that leaves the surface, so that a white
diffuse surface that faces a light of irradiance pi (and sees nothing else) has the value 1.

Two materials: metallic-roughness (`shade_ggx`, the equations of glTF 2.0, appendix B) and Phong (`shade_phong`). Three kinds of light,
those of `invgraphics.scene`: point, directional, and a distant environment in nine spherical-harmonic coefficients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.geometry.spherical_harmonics import evaluate_spherical_harmonics
from invgraphics.scene import AmbientLight, DirectionalLight, Light, PointLight

DIELECTRIC_REFLECTANCE = 0.04
"""Reflectance of a dielectric at normal incidence (glTF 2.0, appendix B; index of refraction 1.5)."""

SMALLEST_ROUGHNESS = 0.03
"""What is smoother is shaded as if it were this rough: a point light's highlight on a mirror would have no finite radiance."""

_LAMBERT_BANDS = (torch.pi, 2 * torch.pi / 3, torch.pi / 4)
"""Spherical-harmonic factors of the clamped cosine, bands 0, 1, 2 (Ramamoorthi and Hanrahan 2001, eq. 8)."""

_GGX_BAND_POLYNOMIALS = ((-0.081, 2.816, -4.001, 1.600), (0.027, 6.679, -10.294, 4.338))
"""What a GGX lobe takes from bands 1 and 2: coefficients of roughness^2 ... roughness^5, fitted to the integral for light, view and normal
aligned (maximal errors 0.002 and 0.006). At roughness 1 the lobe is the clamped cosine: factors 2/3 and 1/4."""

_GGX_REFLECTANCE_FITS = (
    (0.0, 0.0, 1.842, -3.115, 1.718),
    (0.0, 0.0, -3.145, 7.808, -4.397),
    (1.243, -2.930, 1.763, 0.0, 0.0),
    (6.257, -6.832, 6.632, 0.0, 0.0),
)
"""Coefficients of roughness^0 ... roughness^4 of the four functions in `environment_reflectance`."""


@dataclass(frozen=True)
class IncidentLight:
    """What the k point and directional lights of a scene send to n points, nothing being in the way."""

    directions: Float[Tensor, "k n 3"]
    """Unit vectors from the points towards the lights, world frame."""
    irradiance: Float[Tensor, "k n 3"]
    """Linear RGB on a surface that faces the light."""
    distances: Float[Tensor, "k n"]
    """From the points to the lights, metres; infinite for directional lights."""


def direct_lights(lights: Sequence[Light]) -> tuple[PointLight | DirectionalLight, ...]:
    """The lights that come from one direction and cast shadows, in their order."""
    return tuple(light for light in lights if not isinstance(light, AmbientLight))


def build_light_vector(light: PointLight | DirectionalLight) -> Float[Tensor, "4"]:
    """A point light's position and 1, or the unit vector towards a directional light and 0; world frame, metres."""
    if isinstance(light, PointLight):
        return torch.cat([light.position, torch.ones_like(light.position[:1])])
    towards = -torch.nn.functional.normalize(light.direction, dim=0)
    return torch.cat([towards, torch.zeros_like(towards[:1])])


def compute_incident_light(positions: Float[Tensor, "n 3"], lights: Sequence[Light]) -> IncidentLight:
    """Direction, irradiance and distance of the point and directional lights at world points; environments are passed over."""
    arriving = [_arriving_from(light, positions) for light in direct_lights(lights)]
    if not arriving:
        empty = positions.new_zeros(0, len(positions), 3)
        return IncidentLight(empty, empty, empty[..., 0])
    directions, irradiance, distances = (torch.stack(parts) for parts in zip(*arriving, strict=True))
    return IncidentLight(directions, irradiance, distances)


def _arriving_from(light: PointLight | DirectionalLight, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(light, PointLight):
        offset = light.position - positions
        squared = (offset**2).sum(-1, keepdim=True).clamp(min=1e-12)
        distance = squared.sqrt()
        return offset / distance, light.intensity / squared, distance[:, 0]
    towards = -torch.nn.functional.normalize(light.direction, dim=0)
    infinite = positions.new_full((len(positions),), torch.inf)
    return towards.expand_as(positions), light.irradiance.expand_as(positions), infinite


def ambient_coefficients(lights: Sequence[Light]) -> Float[Tensor, "9 3"] | None:
    """Sum of the spherical-harmonic coefficients of all environments, None where there is none."""
    coefficients = [light.sh for light in lights if isinstance(light, AmbientLight)]
    return torch.stack(coefficients).sum(0) if coefficients else None


def _spread_bands(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """One factor a band as one factor a coefficient: (..., 1) each to (..., 9)."""
    return torch.cat([first, second.expand(*second.shape[:-1], 3), third.expand(*third.shape[:-1], 5)], dim=-1)


def irradiance_basis(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """Rows B with `B @ sh` the irradiance on surfaces of these unit normals (Ramamoorthi and Hanrahan 2001, eq. 9)."""
    bands = [normals.new_tensor([factor]) for factor in _LAMBERT_BANDS]
    return evaluate_spherical_harmonics(normals) * _spread_bands(*bands)


def compute_irradiance(normals: Float[Tensor, "n 3"], sh: Float[Tensor, "9 3"]) -> Float[Tensor, "n 3"]:
    """Irradiance of the environment on surfaces with these unit normals. Linear in `sh`; negative where `sh` is no physical light."""
    return irradiance_basis(normals) @ sh


def compute_lobe_radiance(
    directions: Float[Tensor, "n 3"], roughness: Float[Tensor, "n 1"], sh: Float[Tensor, "9 3"]
) -> Float[Tensor, "n 3"]:
    """Environment radiance averaged over a GGX lobe around unit directions."""
    powers = torch.cat([roughness**exponent for exponent in (2, 3, 4, 5)], dim=-1)
    factors = [1 - (powers * powers.new_tensor(polynomial)).sum(-1, keepdim=True) for polynomial in _GGX_BAND_POLYNOMIALS]
    return (evaluate_spherical_harmonics(directions) * _spread_bands(torch.ones_like(roughness), *factors)) @ sh


def shade_ggx(
    positions: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    view_directions: Float[Tensor, "n 3"],
    base_colour: Float[Tensor, "n 3"],
    metallic: Float[Tensor, "n 1"],
    roughness: Float[Tensor, "n 1"],
    lights: Sequence[Light],
    light_visibility: Float[Tensor, "k n"] | None = None,
) -> Float[Tensor, "n 3"]:
    """Radiance (linear RGB, not clipped) that metallic-roughness surfaces send along `view_directions`.

    Positions are world points in metres, normals and view directions (from the surface towards the camera) unit vectors in the world frame.
    `light_visibility` says how much of each of the k direct lights (`direct_lights(lights)`) each point sees, 1 where it is not given.

    A direct light of irradiance E from direction l adds `E (n.l) ((1 - F) c_diff / pi + F V D)` (glTF 2.0, appendix B): `c_diff =
    base (1 - metallic)`, `F0 = lerp(0.04, base, metallic)`, Schlick's F, separable Smith's V and Trowbridge-Reitz' D, with alpha =
    roughness^2. The environment adds `c_diff (1 - S) irradiance(n) / pi + S_rgb lobe_radiance(reflected view)`, S being the lobe's
    reflectance over the hemisphere (`environment_reflectance`).
    """
    roughness = roughness.clamp(SMALLEST_ROUGHNESS, 1.0)
    diffuse = base_colour * (1 - metallic)
    reflectance = DIELECTRIC_REFLECTANCE * (1 - metallic) + base_colour * metallic
    incident = compute_incident_light(positions, lights)
    colour = _direct_ggx(normals, view_directions, diffuse, reflectance, roughness, incident, light_visibility)
    sh = ambient_coefficients(lights)
    if sh is None:
        return colour
    return colour + _ambient_ggx(normals, view_directions, diffuse, reflectance, roughness, sh)


def _direct_ggx(
    normals: Tensor,
    views: Tensor,
    diffuse: Tensor,
    reflectance: Tensor,
    roughness: Tensor,
    incident: IncidentLight,
    visibility: Tensor | None,
) -> Tensor:
    """Radiance (n, 3) due to the k direct lights."""
    n_dot_l = (normals * incident.directions).sum(-1, keepdim=True).clamp(min=0)
    n_dot_v = (normals * views).sum(-1, keepdim=True).clamp(min=1e-4)
    halves = torch.nn.functional.normalize(incident.directions + views, dim=-1, eps=1e-6)
    v_dot_h = (views * halves).sum(-1, keepdim=True).clamp(0, 1)
    fresnel = reflectance + (1 - reflectance) * (1 - v_dot_h) ** 5
    specular = _ggx_distribution(normals, halves, roughness) * _smith_visibility(n_dot_l, n_dot_v, roughness)
    received = incident.irradiance * n_dot_l
    if visibility is not None:
        received = received * visibility[..., None]
    return (received * ((1 - fresnel) * (diffuse / torch.pi) + fresnel * specular)).sum(0)


def _ggx_distribution(normals: Tensor, halves: Tensor, roughness: Tensor) -> Tensor:
    """Trowbridge-Reitz' density of facets along the half vectors, through 1 - n.h, which loses no digits in a narrow highlight."""
    alpha_squared = roughness**4
    gap = ((normals - halves) ** 2).sum(-1, keepdim=True) / 2
    denominator = (1 - gap) ** 2 * alpha_squared + gap * (2 - gap)
    return torch.where(gap < 1, alpha_squared / (torch.pi * denominator**2), 0.0)


def _smith_visibility(n_dot_l: Tensor, n_dot_v: Tensor, roughness: Tensor) -> Tensor:
    """Separable Smith masking-shadowing over `4 (n.l) (n.v)`."""
    alpha_squared = roughness**4
    towards_light = n_dot_l + (alpha_squared + (1 - alpha_squared) * n_dot_l**2).sqrt()
    towards_view = n_dot_v + (alpha_squared + (1 - alpha_squared) * n_dot_v**2).sqrt()
    return 1 / (towards_light * towards_view)


def environment_reflectance(
    reflectance: Float[Tensor, "n 3"], roughness: Float[Tensor, "n 1"], n_dot_v: Float[Tensor, "n 1"]
) -> Float[Tensor, "n 3"]:
    """Share of a uniform environment that the GGX lobe reflects: `F0 (whole - fresnel) + fresnel`, as Karis 2013 splits it.

    `whole`, what a lobe of reflectance 1 reflects in one bounce, and `fresnel`, its part under Schlick's fifth power, are fits to
    the integral of the direct term's lobe (root mean square errors 0.017 and 0.013, largest 0.07 at grazing views).
    """
    powers = torch.cat([roughness**exponent for exponent in range(5)], dim=-1)
    constant, slope, amplitude, decay = ((powers * powers.new_tensor(row)).sum(-1, keepdim=True) for row in _GGX_REFLECTANCE_FITS)
    whole = 1 - constant - n_dot_v * slope
    fresnel = torch.minimum(amplitude * torch.exp(-n_dot_v * decay), whole)
    return reflectance * (whole - fresnel) + fresnel


def _ambient_ggx(normals: Tensor, views: Tensor, diffuse: Tensor, reflectance: Tensor, roughness: Tensor, sh: Tensor) -> Tensor:
    """Radiance (n, 3) due to the environment."""
    n_dot_v = (normals * views).sum(-1, keepdim=True)
    mirrored = 2 * n_dot_v * normals - views
    reflected = environment_reflectance(reflectance, roughness, n_dot_v.clamp(1e-4, 1.0))
    diffuse_part = diffuse * (1 - reflected) * compute_irradiance(normals, sh) / torch.pi
    return diffuse_part + reflected * compute_lobe_radiance(mirrored, roughness, sh)


def shade_phong(
    positions: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    view_directions: Float[Tensor, "n 3"],
    base_colour: Float[Tensor, "n 3"],
    ambient: Float[Tensor, "n 1"],
    diffuse: Float[Tensor, "n 1"],
    specular: Float[Tensor, "n 1"],
    shininess: Float[Tensor, "n 1"],
    lights: Sequence[Light],
    light_visibility: Float[Tensor, "k n"] | None = None,
) -> Float[Tensor, "n 3"]:
    """Radiance (linear RGB, not clipped) of Phong surfaces (Phong 1975): the material of Differentiable Neuro-Graphics.

    A direct light of irradiance E from direction l adds `E (ambient base + visible (diffuse base (n.l) + specular (r.v)^shininess))`, r
    being l mirrored at the normal; there is no factor 1/pi, as is the custom with this model. The environment adds `ambient base
    irradiance(n)`. Frames, units and `light_visibility` as in `shade_ggx`; light_visibility does not dim the ambient term.
    """
    incident = compute_incident_light(positions, lights)
    cosine = (normals * incident.directions).sum(-1, keepdim=True)
    mirrored = 2 * cosine * normals - incident.directions
    # The lower bound keeps the derivative of the power finite; its highlight is beyond notice.
    alignment = (mirrored * view_directions).sum(-1, keepdim=True).clamp(min=1e-6)
    highlight = torch.where(cosine > 0, specular * alignment**shininess, 0.0)
    lit = base_colour * diffuse * cosine.clamp(min=0) + highlight
    if light_visibility is not None:
        lit = lit * light_visibility[..., None]
    colour = (incident.irradiance * (base_colour * ambient + lit)).sum(0)
    sh = ambient_coefficients(lights)
    if sh is None:
        return colour
    return colour + base_colour * ambient * compute_irradiance(normals, sh)


def compute_ellipsoid_shadows(
    positions: Float[Tensor, "n 3"],
    lights: Sequence[Light],
    T_world_object: Float[Tensor, "m 4 4"],
    radii: Float[Tensor, "m 3"],
    owner: Int[Tensor, " n"] | None = None,
    light_radius: float = 0.05,
    edge: float = 1e-3,
) -> Float[Tensor, "k n"]:
    """Share of each direct light that n world points see past m ellipsoids, differentiable in light, points, poses and radii.

    A point sees half the light where its ray touches an ellipsoid; across the shadow's border the share follows a sigmoid in the
    (first-order) distance between ray and ellipsoid. Its width is that of the penumbra of a light which the blocker sees under the half
    angle `light_radius` (radians), and at least `edge` (metres). An ellipsoid does not shadow the points it owns (`owner`: index per
    point, -1 for none): there n.l says it all, as it is convex.
    """
    incident = compute_incident_light(positions, lights)
    rotation, centre = T_world_object[:, :3, :3], T_world_object[:, None, :3, 3]
    start = (positions - centre) @ rotation / radii[:, None]
    step = torch.einsum("knj,mji->mkni", incident.directions, rotation) / radii[:, None, None]
    start = start[:, None]
    closest = (-(start * step).sum(-1) / (step**2).sum(-1)).clamp(min=0)
    closest = torch.minimum(closest, incident.distances)
    distance = _distance_to_ellipsoid(start + closest[..., None] * step, radii[:, None, None])
    # A straight edge in front of a disc uncovers it at a rate of 2 / (pi radius) at its middle; so does this sigmoid.
    visible = torch.sigmoid(8 / torch.pi * distance / (edge + light_radius * closest))
    if owner is not None:
        owned = owner == torch.arange(len(radii), device=owner.device)[:, None]
        visible = torch.where(owned[:, None], 1.0, visible)
    return visible.prod(dim=0)


def _distance_to_ellipsoid(scaled: Tensor, radii: Tensor) -> Tensor:
    """Signed distance in metres, to first order, of points given in units of the radii; positive outside."""
    level = ((scaled**2).sum(-1) + 1e-12).sqrt()
    slope_squared = ((scaled / radii) ** 2).sum(-1) / level**2
    # Below this bound only at the centre itself, where the slope is undefined.
    slope = torch.maximum(slope_squared, radii.amax(-1) ** -2).sqrt()
    return (level - 1) / slope
