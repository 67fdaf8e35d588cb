"""Shading against closed forms, numerical integrals and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from invgraphics.geometry.spherical_harmonics import evaluate_spherical_harmonics
from invgraphics.scene import AmbientLight, DirectionalLight, PointLight
from invgraphics.transforms import rigid, so3_exp
from renderers.shading import (
    compute_ellipsoid_shadows,
    compute_incident_light,
    compute_irradiance,
    compute_lobe_radiance,
    direct_lights,
    environment_reflectance,
    shade_ggx,
    shade_phong,
)


def random_unit(count: int, generator: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64, generator=generator), dim=-1)


def sphere_directions(count: int = 60_000) -> Tensor:
    """Evenly spread directions (a Fibonacci lattice): the mean over them times 4 pi integrates over the sphere."""
    index = torch.arange(count, dtype=torch.float64)
    z = 1 - (2 * index + 1) / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z**2).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)


def column(value: float, count: int) -> Tensor:
    return torch.full((count, 1), value, dtype=torch.float64)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def brdf(normal: Tensor, view: Tensor, light: Tensor, base: Tensor, metallic: float, roughness: float) -> Tensor:
    """glTF's reflectance, as appendix B spells it, for unit irradiance on a facing surface; written without the module under test."""
    half = torch.nn.functional.normalize(light + view, dim=-1)
    nl, nv, nh, vh = ((a * b).sum(-1, keepdim=True) for a, b in ((normal, light), (normal, view), (normal, half), (view, half)))
    alpha2 = roughness**4
    d = alpha2 * (nh > 0) / (math.pi * (nh**2 * (alpha2 - 1) + 1) ** 2)
    g = 2 * nl / (nl + (alpha2 + (1 - alpha2) * nl**2).sqrt()) * 2 * nv / (nv + (alpha2 + (1 - alpha2) * nv**2).sqrt())
    f0 = 0.04 + (base - 0.04) * metallic
    fresnel = f0 + (1 - f0) * (1 - vh) ** 5
    return ((1 - fresnel) * base * (1 - metallic) / math.pi + fresnel * d * g / (4 * nl * nv)) * nl * (nl > 0)


def test_direct_light_follows_the_equations_of_gltf():
    generator = torch.Generator().manual_seed(0)
    normals, views, light = random_unit(500, generator), random_unit(500, generator), random_unit(1, generator)[0]
    views = torch.where((normals * views).sum(-1, keepdim=True) < 0, -views, views)
    base = torch.rand(500, 3, dtype=torch.float64, generator=generator)
    lights = (DirectionalLight(-light, torch.ones(3, dtype=torch.float64)),)
    for metallic, roughness in ((0.0, 0.5), (1.0, 0.3), (0.4, 1.0)):
        shaded = shade_ggx(torch.zeros_like(normals), normals, views, base, column(metallic, 500), column(roughness, 500), lights)
        torch.testing.assert_close(shaded, brdf(normals, views, light.expand(500, 3), base, metallic, roughness))


def test_rough_dielectric_under_a_facing_light_is_nearly_lambertian():
    normals = double(0, 0, 1).expand(4, 3)
    angles = double(0.0, 0.3, 0.6, 0.9)
    views = torch.stack([angles.sin(), torch.zeros(4, dtype=torch.float64), angles.cos()], dim=-1)
    lights = (DirectionalLight(double(0, 0, -1), math.pi * double(1, 1, 1)),)
    shaded = shade_ggx(torch.zeros_like(normals), normals, views, column(0.5, 4).expand(4, 3), column(0, 4), column(1, 4), lights)
    torch.testing.assert_close(shaded, torch.full_like(shaded, 0.5), atol=0.02, rtol=0)


def test_point_light_falls_with_the_squared_distance_and_shines_from_its_place():
    lights = (PointLight(double(0, 0, 2), double(4, 8, 12)),)
    incident = compute_incident_light(double(0, 0, 0, 0, 0, 1).reshape(2, 3), lights)
    torch.testing.assert_close(incident.irradiance[0], double(1, 2, 3, 4, 8, 12).reshape(2, 3))
    torch.testing.assert_close(incident.directions[0], double(0, 0, 1, 0, 0, 1).reshape(2, 3))
    torch.testing.assert_close(incident.distances[0], double(2, 1))


@pytest.mark.parametrize(("metallic", "roughness", "least"), [(0.0, 0.3, 0.8), (0.0, 1.0, 0.8), (1.0, 0.3, 0.8), (1.0, 1.0, 0.3)])
def test_a_white_surface_reflects_no_more_light_than_arrives(metallic: float, roughness: float, least: float):
    """Hemispherical reflectance for one light direction. A rough metal loses what one bounce between facets cannot carry."""
    views = sphere_directions()
    views = views[views[:, 2] > 0]
    count = len(views)
    normals, white = double(0, 0, 1).expand(count, 3), column(1, count).expand(count, 3)
    lights = (DirectionalLight(-double(0.6, 0, 0.8), double(1, 1, 1) / 0.8),)
    shaded = shade_ggx(torch.zeros_like(normals), normals, views, white, column(metallic, count), column(roughness, count), lights)
    leaving = (shaded * views[:, 2:]).mean(0) * 2 * math.pi
    assert (leaving < 1.02).all()
    assert (leaving > least).all()


def test_irradiance_of_an_environment_is_its_integral_against_the_cosine():
    generator = torch.Generator().manual_seed(1)
    sh = torch.randn(9, 3, dtype=torch.float64, generator=generator)
    directions = sphere_directions()
    radiance = evaluate_spherical_harmonics(directions) @ sh
    normals = random_unit(5, generator)
    integral = torch.stack([(radiance * (directions @ n).clamp(min=0)[:, None]).mean(0) * 4 * math.pi for n in normals])
    torch.testing.assert_close(compute_irradiance(normals, sh), integral, atol=1e-4, rtol=1e-4)


def test_spherical_harmonics_are_orthonormal():
    basis = evaluate_spherical_harmonics(sphere_directions())
    torch.testing.assert_close(basis.T @ basis / len(basis) * 4 * math.pi, torch.eye(9, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.8, 1.0])
def test_lobe_radiance_is_the_average_over_the_ggx_lobe(roughness: float):
    generator = torch.Generator().manual_seed(2)
    sh = torch.randn(9, 3, dtype=torch.float64, generator=generator)
    normal = random_unit(1, generator)[0]
    directions = sphere_directions()
    cosine = (directions @ normal).clamp(min=0)
    half = ((1 + cosine) / 2).sqrt()
    weight = cosine * (1 / (half**2 * (roughness**4 - 1) + 1)) ** 2
    mean = (evaluate_spherical_harmonics(directions) @ sh * weight[:, None]).sum(0) / weight.sum()
    torch.testing.assert_close(compute_lobe_radiance(normal[None], column(roughness, 1), sh)[0], mean, atol=0.03, rtol=0)


@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("n_dot_v", [0.3, 0.9])
def test_environment_reflectance_is_the_integral_of_the_lobe(roughness: float, n_dot_v: float):
    directions = sphere_directions()
    directions = directions[directions[:, 2] > 0]
    view, normal = double(math.sqrt(1 - n_dot_v**2), 0, n_dot_v), double(0, 0, 1)
    reflectance = double(0.04, 0.5, 1.0)
    lobe = brdf(normal.expand_as(directions), view.expand_as(directions), directions, reflectance, 1.0, roughness)
    single_bounce = lobe.mean(0) * 2 * math.pi
    approximate = environment_reflectance(reflectance[None], column(roughness, 1), column(n_dot_v, 1))[0]
    torch.testing.assert_close(approximate, single_bounce, atol=0.03, rtol=0)


def test_phong_by_hand():
    """Light at 60 degrees, view along the mirrored light: n.l = 0.5, r.v = cos 30."""
    normal = double(0, 0, 1)[None]
    light = double(math.sin(math.pi / 3), 0, 0.5)
    view = double(-math.sin(math.pi / 6), 0, math.cos(math.pi / 6))[None]
    lights = (DirectionalLight(-light, double(2, 2, 2)), AmbientLight(torch.zeros(9, 3, dtype=torch.float64)))
    shaded = shade_phong(
        torch.zeros_like(normal),
        normal,
        view,
        double(1, 0.5, 0)[None],
        column(0.1, 1),
        column(0.6, 1),
        column(0.3, 1),
        column(4, 1),
        lights,
    )
    highlight = 0.3 * 0.75**2
    expected = 2 * (double(1, 0.5, 0) * (0.1 + 0.6 * 0.5) + highlight)
    torch.testing.assert_close(shaded[0], expected)


def test_shadowed_light_leaves_the_environment():
    generator = torch.Generator().manual_seed(3)
    normals = random_unit(20, generator)
    lights = (PointLight(double(1, 2, 3), double(1, 1, 1)), AmbientLight(torch.rand(9, 3, dtype=torch.float64)))
    surface = (torch.zeros_like(normals), normals, normals, column(0.7, 20).expand(20, 3), column(0, 20), column(0.5, 20))
    dark = shade_ggx(*surface, lights, torch.zeros(1, 20, dtype=torch.float64))
    torch.testing.assert_close(dark, shade_ggx(*surface, lights[1:]))


def surface_inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    normals, views = random_unit(6, generator), random_unit(6, generator)
    positions = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    base = torch.rand(6, 3, dtype=torch.float64, generator=generator)
    scalars = [0.1 + 0.8 * torch.rand(6, 1, dtype=torch.float64, generator=generator) for _ in range(2)]
    lights = [
        double(1, 2, 4),
        double(9, 8, 7),
        double(0.3, -0.2, -1),
        double(1, 2, 3),
        torch.randn(9, 3, dtype=torch.float64, generator=generator),
    ]
    visibility = torch.rand(2, 6, dtype=torch.float64, generator=generator)
    return [positions, normals, views, base, *scalars, *lights, visibility]


def test_gradients_of_ggx_with_respect_to_every_input():
    def shade(p, n, v, base, metallic, roughness, place, intensity, direction, irradiance, sh, visibility):
        lights = (PointLight(place, intensity), DirectionalLight(direction, irradiance), AmbientLight(sh))
        return shade_ggx(p, n, v, base, metallic, roughness, lights, visibility)

    assert torch.autograd.gradcheck(shade, [x.requires_grad_() for x in surface_inputs()])


def test_gradients_of_phong_with_respect_to_every_input():
    def shade(p, n, v, base, ambient, diffuse, place, intensity, direction, irradiance, sh, visibility, specular, shininess):
        lights = (PointLight(place, intensity), DirectionalLight(direction, irradiance), AmbientLight(sh))
        return shade_phong(p, n, v, base, ambient, diffuse, specular, shininess, lights, visibility)

    inputs = [*surface_inputs(), column(0.4, 6), column(7.5, 6)]
    assert torch.autograd.gradcheck(shade, [x.requires_grad_() for x in inputs])


def test_gradients_stay_finite_where_a_formula_is_singular():
    """Light behind, light along the view, grazing view, view opposite to the light, the smoothest material."""
    normals = double(0, 0, 1).expand(4, 3).clone().requires_grad_()
    views = double(0, 0, 1, 1, 0, 0, 0.6, 0, 0.8, 0, 0, -1).reshape(4, 3).requires_grad_()
    roughness = column(1e-3, 4).requires_grad_()
    direction = double(0, 0, -1).requires_grad_()
    lights = (DirectionalLight(direction, double(1, 1, 1)), DirectionalLight(-direction, double(1, 1, 1)))
    surface = (torch.zeros_like(normals), normals, views, column(0.5, 4).expand(4, 3))
    ggx = shade_ggx(*surface, column(0.5, 4), roughness, lights)
    phong = shade_phong(*surface, column(0.5, 4), column(0.5, 4), column(0.5, 4), column(0.5, 4), lights)
    assert ggx.isfinite().all()
    for gradient in torch.autograd.grad((ggx + phong).sum(), [normals, views, roughness, direction]):
        assert gradient.isfinite().all()


def tilted_ellipsoids() -> tuple[Tensor, Tensor]:
    rotation = so3_exp(double(0.3, -0.8, 0.5, 1.2, 0.1, -0.4).reshape(2, 3))
    poses = rigid(rotation, double(0, 0, 0.2, 0.3, -0.1, 0.15).reshape(2, 3))
    return poses, double(0.05, 0.12, 0.2, 0.1, 0.02, 0.07).reshape(2, 3)


@pytest.mark.parametrize(
    "light", [PointLight(double(0.5, 0.4, 0.9), double(1, 1, 1)), DirectionalLight(double(0.2, -0.4, -1), double(1, 1, 1))]
)
def test_shadow_border_is_where_rays_begin_to_miss(light: PointLight | DirectionalLight):
    """Visibility below one half exactly where a densely sampled ray enters an ellipsoid."""
    poses, radii = tilted_ellipsoids()
    generator = torch.Generator().manual_seed(5)
    points = torch.rand(1500, 3, dtype=torch.float64, generator=generator) * 1.2 - 0.6
    points[:, 2] = 0
    visibility = compute_ellipsoid_shadows(points, (light,), poses, radii)[0]
    incident = compute_incident_light(points, (light,))
    reach = incident.distances[0].clamp(max=2.0)[:, None, None]
    samples = points[:, None] + torch.linspace(0, 1, 800, dtype=torch.float64)[:, None] * reach * incident.directions[0][:, None]
    local = (
        torch.einsum("npj,mji->mnpi", samples, poses[:, :3, :3])
        - torch.einsum("mj,mji->mi", poses[:, :3, 3], poses[:, :3, :3])[:, None, None]
    )
    level = ((local / radii[:, None, None]) ** 2).sum(-1).amin(dim=(0, 2))
    certain = (level - 1).abs() > 0.01
    assert ((level < 1) & certain).sum() > 50
    assert torch.equal((visibility < 0.5)[certain], (level < 1)[certain])


def test_penumbra_widens_with_the_distance_of_the_blocker():
    """The share of a disc light that a sphere leaves visible, against sampling of the disc, on both sides of the border."""
    light_angle, height = 0.05, 0.5
    pose = rigid(torch.eye(3, dtype=torch.float64), double(0, 0, height))[None]
    radii = double(0.1, 0.1, 0.1)[None]
    offsets = torch.linspace(0.05, 0.16, 23, dtype=torch.float64)
    points = torch.stack([offsets, torch.zeros_like(offsets), torch.zeros_like(offsets)], dim=-1)
    lights = (DirectionalLight(double(0, 0, -1), double(1, 1, 1)),)
    visibility = compute_ellipsoid_shadows(points, lights, pose, radii, light_radius=light_angle)[0]
    disc = torch.linspace(-1, 1, 201, dtype=torch.float64)
    disc = torch.cartesian_prod(disc, disc)
    disc = disc[(disc**2).sum(-1) < 1] * light_angle
    rays = torch.nn.functional.normalize(torch.cat([disc, torch.ones(len(disc), 1, dtype=torch.float64)], dim=-1), dim=-1)
    to_centre = double(0, 0, height) - points
    along = to_centre @ rays.T
    seen = ((to_centre**2).sum(-1, keepdim=True) - along**2 > 0.1**2).to(torch.float64).mean(-1)
    torch.testing.assert_close(visibility, seen, atol=0.08, rtol=0)


def test_an_ellipsoid_does_not_shadow_its_own_points_nor_points_in_front_of_it():
    poses, radii = tilted_ellipsoids()
    lights = (DirectionalLight(double(0, 0, -1), double(1, 1, 1)),)
    points = double(0, 0, 0.1, 0, 0, 0.6, 0, 0, 0).reshape(3, 3)
    visibility = compute_ellipsoid_shadows(points, lights, poses, radii, owner=torch.tensor([0, -1, -1]))[0]
    assert visibility[0] > 0.99
    assert visibility[1] > 0.99
    assert visibility[2] < 0.01


def test_gradients_of_shadows_with_respect_to_light_points_and_ellipsoids():
    poses, radii = tilted_ellipsoids()
    points = double(-0.1, -0.1, 0, 0.1, -0.05, 0, -0.3, -0.2, 0, 0.2, -0.2, 0).reshape(4, 3)

    def shadows(points, place, direction, rotation, translation, radii):
        lights = (PointLight(place, double(1, 1, 1)), DirectionalLight(direction, double(1, 1, 1)))
        return compute_ellipsoid_shadows(points, lights, rigid(rotation, translation), radii, light_radius=0.3)

    inputs = [points, double(0.5, 0.4, 0.9), double(0.2, -0.4, -1), poses[:, :3, :3].contiguous(), poses[:, :3, 3].contiguous(), radii]
    assert torch.autograd.gradcheck(shadows, [x.requires_grad_() for x in inputs])


def test_lights_that_cast_shadows_keep_their_order():
    first, second = PointLight(double(0, 0, 1), double(1, 1, 1)), DirectionalLight(double(0, 0, -1), double(1, 1, 1))
    assert direct_lights((first, AmbientLight(torch.zeros(9, 3)), second)) == (first, second)
