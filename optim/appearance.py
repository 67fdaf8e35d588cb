"""Materials and lights of a scene whose geometry is known, from one image.

Colour is albedo times light, so a common factor is free, one for each colour channel. Two stated priors fix it: lights are grey, and 95 %
of the pixels have an albedo (largest channel) below `WHITE`. Metallic and roughness stay near their a-priori values where no highlight
tells.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from invgraphics.reconstruction import StageHistory
from invgraphics.scene import Light, Material, Scene
from invgraphics.transforms import transform_points
from optim.appearance_fit import AppearanceFit, normalise_scale
from optim.illumination import ShadowCasters, SurfaceSamples, estimate_illumination
from optim.minimize import Limits, minimize
from optim.steppers import LBFGS, Parameters
from optim.threads import one_thread
from renderers.protocol import PLANE_ID, Rendered

LIGHT_RADIUS = 0.07
"""Half angle of the light in radians, for the penumbrae."""
SAMPLES = 1400
"""Pixels that lights and colours are fitted to: half of them on the plane, half shared between the objects."""
REFLECTANCE_SAMPLES = 12000
"""Pixels that roughness and metallic are chosen by, shared likewise: highlights are small."""
STEPS = 25
"""Steps of the fit of lights and colours."""
_NEITHER = -1
_CLIPPED = 0.99
_NEARBY = 2.5
_PLANE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Appearance:
    """What the surfaces are made of and what shines on them."""

    materials: tuple[Material, ...]
    """One an object. The base colour is that of most of its visible surface."""
    plane_material: Material | None
    """None where no pixel shows the plane."""
    lights: tuple[Light, ...]
    """A point or directional light, and the environment."""
    albedo: Float[Tensor, "h w 3"]
    """Base colour of each pixel with a label, shading, shadow and highlight removed, in [0, 1]; 0 at other pixels."""
    labels: Int[Tensor, "h w"]
    """Index of the object that the pixel shows, away from silhouettes; -1 at others."""
    history: StageHistory
    """How the final fit went."""


def estimate_appearance(observation: Observation, rendered: Rendered, scene: Scene, generator: torch.Generator) -> Appearance:
    """Materials of the objects and the plane, lights, and albedo of the objects' pixels.

    First the light, from shading and shadows (`estimate_illumination`); then lights and base colours together by gradient to colour, with
    glTF's reflectance and the ellipsoids' shadows, under a heavy-tailed likelihood that lets texture be; then roughness and metallic.

    Args:
        observation: the image; its masks in the order of `scene.objects`.
        rendered: the scene's geometry as the observation's camera sees it, from any renderer; its colours are not used.
        scene: objects (their ellipsoids cast the shadows) and camera.
        generator: draws the pixels that are fitted.

    Raises:
        ValueError: the scene has no objects, there is not one mask for each, or no pixel shows in `rendered` what its mask says.
    """
    if not scene.objects or len(scene.objects) != len(observation.masks):
        raise ValueError(
            f"{len(scene.objects)} objects and {len(observation.masks)} masks: one mask is needed for each of at least one object"
        )
    n = len(scene.objects)
    with one_thread():
        labels = label_pixels(observation, rendered)
        surface = _SurfacePixels(observation.colour, rendered, observation.camera, labels, n)
        samples = surface.draw(SAMPLES, generator, brightest=_CLIPPED, reach=_NEARBY)
        casters = ShadowCasters(
            torch.stack([item.T_world_object for item in scene.objects]).detach(),
            torch.stack([item.radii for item in scene.objects]).detach(),
            LIGHT_RADIUS,
        )
        start = normalise_scale(estimate_illumination(samples, casters), samples, casters)
        fit = AppearanceFit(samples, casters, observation.camera, start)
        minimum = minimize(fit.loss, fit.start(), LBFGS(), Limits(STEPS, patience=5, tolerance=1e-3))
        materials = fit.choose_materials(minimum.parameters, surface.draw(REFLECTANCE_SAMPLES, generator))
        albedo = _separate_albedo(surface, fit, minimum.parameters, materials)
    return Appearance(
        materials=materials[:-1],
        plane_material=materials[-1] if bool((labels == n).any()) else None,
        lights=fit.lights(minimum.parameters),
        albedo=albedo,
        labels=torch.where(labels < n, labels, _NEITHER),
        history=minimum.history("appearance"),
    )


def label_pixels(observation: Observation, rendered: Rendered) -> Int[Tensor, "h w"]:
    """What a pixel and its eight neighbours show beyond doubt: index of the object, number of objects for the plane, else -1.

    Beyond doubt: where mask and rendered geometry agree; for the plane, where no mask is and the depth reading, if any, is within 2 cm.
    """
    n = len(observation.masks)
    labels = torch.full_like(rendered.object_ids, _NEITHER)
    for k, mask in enumerate(observation.masks):
        labels[(rendered.object_ids == k) & mask] = k
    agrees = ~observation.valid | ((observation.depth - rendered.depth.detach()).abs() < _PLANE_TOLERANCE)
    labels[(rendered.object_ids == PLANE_ID) & ~observation.masks.any(0) & agrees] = n
    as_image = labels[None, None].to(torch.float32)
    highest = torch.nn.functional.max_pool2d(as_image, 3, 1, 1)[0, 0]
    lowest = -torch.nn.functional.max_pool2d(-as_image, 3, 1, 1)[0, 0]
    return torch.where(highest == lowest, labels, _NEITHER)


class _SurfacePixels:
    """The labelled pixels of the image with the geometry that they show."""

    def __init__(self, colour: Tensor, rendered: Rendered, camera: Camera, labels: Tensor, n_objects: int):
        self.size = colour.shape
        self.n_objects = n_objects
        self.pixels = (labels.reshape(-1) != _NEITHER).nonzero()[:, 0]
        points = camera.unproject(rendered.depth.detach()).reshape(-1, 3)[self.pixels]
        self.all = SurfaceSamples(
            colour=colour.reshape(-1, 3)[self.pixels],
            positions=transform_points(camera.T_world_camera.detach(), points),
            normals=rendered.normals.detach().reshape(-1, 3)[self.pixels],
            groups=labels.reshape(-1)[self.pixels],
            n_groups=n_objects + 1,
        )
        if not (self.all.groups < n_objects).any():
            raise ValueError("no pixel shows in the rendered geometry what its mask says; are they of the same image?")

    def draw(self, count: int, generator: torch.Generator, brightest: float = torch.inf, reach: float = torch.inf) -> SurfaceSamples:
        """About `count` pixels, half of them on the objects, half on the plane within `reach` times the objects' own reach."""
        on_object = self.all.groups < self.n_objects
        across = self.all.positions[:, :2] - self.all.positions[on_object, :2].mean(0)
        near = across.norm(dim=-1) < reach * across[on_object].norm(dim=-1).max()
        usable = (self.all.colour.amax(-1) < brightest) & (on_object | near)
        chosen = []
        for group in range(self.n_objects + 1):
            members = (usable & (self.all.groups == group)).nonzero()[:, 0]
            share = count // 2 if group == self.n_objects else count // (2 * self.n_objects)
            order = torch.randperm(len(members), generator=generator, device=generator.device).to(members.device)
            chosen.append(members[order[:share]])
        return self.all.select(torch.cat(chosen))


def _separate_albedo(
    surface: _SurfacePixels, fit: AppearanceFit, parameters: Parameters, materials: tuple[Material, ...]
) -> Float[Tensor, "h w 3"]:
    """Base colour of the objects' pixels: radiance is affine in it, so two renderings, black and white, tell.

    Where the light hardly depends on the base colour (deep shadow), or less than on a highlight that may lie a little elsewhere, the
    group's base colour takes over.
    """
    keep = surface.all.groups < surface.n_objects
    samples = surface.all.select(keep)
    usual = torch.stack([item.base_colour for item in materials])[samples.groups]
    metallic, roughness = (torch.stack([getattr(item, name) for item in materials]) for name in ("metallic", "roughness"))
    black = fit.shade(parameters, samples, torch.zeros_like(usual), metallic, roughness)
    gain = fit.shade(parameters, samples, torch.ones_like(usual), metallic, roughness) - black
    doubt = (0.1 * gain.median()) ** 2 + black**2
    albedo = (gain * (samples.colour - black) + doubt * usual) / (gain**2 + doubt)
    image = torch.zeros(surface.size, dtype=albedo.dtype, device=albedo.device).reshape(-1, 3)
    return image.index_put((surface.pixels[keep],), albedo.clamp(0, 1)).reshape(surface.size)
