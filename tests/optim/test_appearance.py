"""Materials and lights recovered from renders of known scenes with noise and texture."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from invgraphics.scene import AmbientLight, DirectionalLight, Light, Material, Plane, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from optim.appearance import Appearance, estimate_appearance, label_pixels
from optim.appearance_fit import WHITE
from renderers.protocol import PLANE_ID, Rendered
from renderers.raycast.renderer import RaycastRenderer


def material(colour: tuple[float, float, float], roughness: float, metallic: float = 0.0) -> Material:
    return Material(torch.tensor(colour), torch.tensor(metallic), torch.tensor(roughness))


def environment(*first: float) -> AmbientLight:
    sh = torch.zeros(9, 3)
    sh[: len(first)] = torch.tensor(first)[:, None]
    return AmbientLight(sh)


def table_scene(lights: tuple[Light, ...]) -> Scene:
    """Four ellipsoids on a table, from a camera that looks down at them by 40 degrees."""
    camera = Camera(
        torch.tensor([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]]),
        240,
        320,
        rigid(so3_exp(torch.tensor([math.radians(-130.0), 0.0, 0.0])), torch.tensor([0.0, -0.55, 0.52])),
    )
    shapes = [
        ((-0.12, -0.05, 0.05), (0.05, 0.04, 0.05), material((0.7, 0.15, 0.1), 0.25)),
        ((0.02, 0.08, 0.07), (0.04, 0.05, 0.07), material((0.15, 0.5, 0.2), 0.9)),
        ((0.13, -0.02, 0.03), (0.06, 0.04, 0.03), material((0.2, 0.25, 0.75), 0.5)),
        ((0.02, -0.1, 0.025), (0.03, 0.03, 0.025), material((0.75, 0.7, 0.3), 0.7)),
    ]
    turn = so3_exp(torch.tensor([0.0, 0.0, 0.5]))
    objects = tuple(
        SceneObject(f"object_{k:02d}", rigid(turn, torch.tensor(centre)), torch.tensor(radii), stuff)
        for k, (centre, radii, stuff) in enumerate(shapes)
    )
    return Scene(objects, lights, Plane(material((0.55, 0.5, 0.45), 0.9)), camera)


def paint(size: tuple[int, int], texture: float) -> Tensor:
    """Irregular spots (1 - texture on about a third of the image, 1 elsewhere) by which surfaces are darkened."""
    height, width = size
    spots = torch.rand(1, 1, height // 12, width // 12, generator=torch.Generator().manual_seed(7))
    spots = torch.nn.functional.interpolate(spots, size, mode="nearest")[0, 0]
    return torch.where(spots > 0.65, 1 - texture, 1.0)


def photograph(scene: Scene, noise: float, texture: float, seed: int = 0) -> tuple[Observation, Rendered]:
    """A noisy image of the painted scene, and its noise-free geometry."""
    generator = torch.Generator().manual_seed(seed)
    rendered = RaycastRenderer(light_radius=0.07)(scene, scene.camera)
    height, width = rendered.depth.shape
    painted = rendered.colour * paint((height, width), texture)[..., None]
    noisy = painted * (1 + noise * torch.randn(height, width, 1, generator=generator)) + 0.002 * torch.randn(
        height, width, 3, generator=generator
    )
    masks = torch.stack([rendered.object_ids == k for k in range(len(scene.objects))])
    valid = rendered.depth > 0
    observation = Observation(noisy.clamp(0, 1), rendered.depth, valid, masks, scene.camera, "synthetic")
    return observation, rendered


def towards_light(light: Light, centre: Tensor) -> Tensor:
    assert not isinstance(light, AmbientLight)
    return -light.direction if isinstance(light, DirectionalLight) else light.position - centre


def angle_degrees(a: Tensor, b: Tensor) -> float:
    return math.degrees(math.acos(float(torch.nn.functional.cosine_similarity(a, b, dim=0).clamp(-1, 1))))


def scene_centre(scene: Scene) -> Tensor:
    return torch.stack([item.T_world_object[:3, 3] for item in scene.objects]).mean(0)


def recover(scene: Scene, noise: float = 0.015, texture: float = 0.0) -> tuple[Appearance, Observation, Rendered]:
    """The appearance; what the estimate is given of the scene's own materials and lights is wrong on purpose."""
    observation, rendered = photograph(scene, noise, texture)
    blank = replace(
        scene,
        objects=tuple(replace(item, material=material((0.5, 0.5, 0.5), 0.5)) for item in scene.objects),
        lights=(),
    )
    return estimate_appearance(observation, rendered, blank, torch.Generator().manual_seed(1)), observation, rendered


def base_colours(appearance: Appearance) -> Tensor:
    return torch.stack([stuff.base_colour for stuff in appearance.materials])


LIGHTS = {
    "side": PointLight(torch.tensor([-0.6, -0.4, 0.9]), torch.full((3,), 2.5)),
    "behind": PointLight(torch.tensor([0.3, 0.9, 1.1]), torch.full((3,), 3.5)),
    "sun": DirectionalLight(torch.tensor([-0.5, 0.3, -0.81]), torch.full((3,), 1.8)),
}


@pytest.mark.parametrize("name", list(LIGHTS))
@pytest.mark.parametrize(("texture", "degrees", "colour_error"), [(0.0, 3.0, 0.06), (0.5, 5.0, 0.08)])
def test_light_and_colours_are_recovered(name: str, texture: float, degrees: float, colour_error: float):
    """Colours up to the one factor that no image gives, which the prior on the brightest albedos sets."""
    scene = table_scene((LIGHTS[name], environment(1.2, -0.1, 0.35, 0.1)))
    appearance, observation, _ = recover(scene, texture=texture)
    centre = scene_centre(scene)
    assert angle_degrees(towards_light(appearance.lights[0], centre), towards_light(LIGHTS[name], centre)) < degrees
    painted = paint((240, 320), texture)
    shares = [painted[observation.masks[k]].median() for k in range(4)]
    truth = torch.stack([item.material.base_colour * share for item, share in zip(scene.objects, shares, strict=True)])
    found = base_colours(appearance)
    factor = (found * truth).sum() / (found**2).sum()
    assert (factor * found - truth).abs().max() < colour_error
    assert 0.7 < factor < 1.4
    every = torch.stack([item.material.base_colour for item in scene.objects])
    known = appearance.labels >= 0
    albedo_error = factor * appearance.albedo[known] - every[appearance.labels[known]] * painted[known][:, None]
    assert albedo_error.abs().mean() < colour_error / 2


def test_shading_goes_to_the_light_and_texture_to_the_albedo():
    """Albedo is flat over a shaded object (three times flatter than the image), and keeps painted spots."""
    scene = table_scene((LIGHTS["side"], environment(1.2, -0.1, 0.35, 0.1)))
    appearance, observation, _ = recover(scene)
    for k in (1, 3):
        pixels = appearance.labels == k
        spread = [float(image[pixels].mean(-1).std() / image[pixels].mean()) for image in (appearance.albedo, observation.colour)]
        assert spread[0] < spread[1] / 3
    painted, _, _ = recover(scene, texture=0.5)
    values = painted.albedo[painted.labels == 1][:, 1]
    assert float(values.quantile(0.1) / values.quantile(0.9)) == pytest.approx(0.5, abs=0.12)
    assert (painted.albedo[painted.labels < 0] == 0).all()


def test_highlights_tell_rough_from_smooth():
    scene = table_scene((LIGHTS["side"], environment(1.2, -0.1, 0.35, 0.1)))
    appearance, _, _ = recover(scene, noise=0.01)
    smooth, rough = (float(appearance.materials[k].roughness) for k in (0, 1))
    assert smooth == pytest.approx(0.25, abs=0.12)
    assert rough > smooth + 0.2


def test_rendering_what_was_recovered_gives_the_image_back():
    scene = table_scene((LIGHTS["behind"], environment(1.2, -0.1, 0.35, 0.1)))
    appearance, observation, _ = recover(scene)
    objects = tuple(replace(item, material=stuff) for item, stuff in zip(scene.objects, appearance.materials, strict=True))
    assert appearance.plane_material is not None
    again = replace(scene, objects=objects, lights=appearance.lights, plane=Plane(appearance.plane_material))
    error = (RaycastRenderer(light_radius=0.07)(again, scene.camera).colour - observation.colour).abs()
    assert error.mean() < 0.015
    assert error.quantile(0.99) < 0.08


def test_the_scale_of_albedos_follows_the_stated_prior():
    """Twice the light, the same albedos; and 95 % of them lie below `WHITE`."""
    lights = (PointLight(torch.tensor([-0.6, -0.4, 0.9]), torch.full((3,), 1.2)), environment(0.5, 0.0, 0.15))
    doubled = (PointLight(lights[0].position, 2 * lights[0].intensity), AmbientLight(2 * lights[1].sh))
    found = [base_colours(recover(table_scene(each), noise=0.0)[0]) for each in (lights, doubled)]
    torch.testing.assert_close(found[0], found[1], atol=0.05, rtol=0)
    assert found[0].max() < WHITE + 0.1


def test_without_a_plane_the_objects_shading_must_do():
    scene = table_scene((LIGHTS["side"], environment(1.2, -0.1, 0.35, 0.1)))
    floating = replace(scene, plane=None)
    appearance, _, _ = recover(floating)
    assert appearance.plane_material is None
    centre = scene_centre(scene)
    assert angle_degrees(towards_light(appearance.lights[0], centre), towards_light(LIGHTS["side"], centre)) < 12


def test_the_same_generator_gives_the_same_bits():
    scene = table_scene((LIGHTS["side"], environment(1.2)))
    first, second = (recover(scene)[0] for _ in range(2))
    assert torch.equal(first.albedo, second.albedo)
    assert torch.equal(base_colours(first), base_colours(second))


def test_labels_leave_out_silhouettes_and_whatever_stands_on_the_table_unmasked():
    scene = table_scene((LIGHTS["side"], environment(1.2)))
    observation, rendered = photograph(scene, 0.0, 0.0)
    hidden = rendered.object_ids == 2
    clutter = replace(observation, masks=observation.masks & ~hidden)
    blank = replace(rendered, object_ids=torch.where(hidden, PLANE_ID, rendered.object_ids))
    floor = replace(blank, depth=torch.where(hidden, rendered.depth + 0.1, rendered.depth))
    labels = label_pixels(clutter, floor)
    assert (labels[hidden] == -1).all()
    for k in (0, 1, 3):
        inner = labels == k
        grown = torch.nn.functional.max_pool2d(inner[None, None].float(), 3, 1, 1)[0, 0] > 0
        assert inner.any()
        assert (rendered.object_ids[grown] == k).all()


def test_what_cannot_be_estimated_is_refused():
    scene = table_scene((LIGHTS["side"], environment(1.2)))
    observation, rendered = photograph(scene, 0.0, 0.0)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="3 masks"):
        estimate_appearance(replace(observation, masks=observation.masks[:3]), rendered, scene, generator)
    with pytest.raises(ValueError, match="no pixel"):
        estimate_appearance(observation, replace(rendered, object_ids=torch.full_like(rendered.object_ids, PLANE_ID)), scene, generator)
