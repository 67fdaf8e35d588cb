"""Every renderer's gradient of every input against central finite differences in float64.

Inside the objects, of what pixels show there; at the silhouettes, of coverage. (`test_mesh_renderer.py` compares gradients of coverage
with how far it changes along a path.) Renderers of float32 are held to the differences that the CPU backend's images have.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from invgraphics.scene import Scene
from invgraphics.transforms import se3_exp
from renderers.protocol import Rendered, Renderer
from tests.renderers.available import available_renderers, device_of, fit_scene
from tests.renderers.matrix_scenes import SCENES, is_drawable
from tests.renderers.scenes import moved, with_object

RENDERERS = available_renderers()
STEP = 1e-6


def direction_like(value: Tensor, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(value.numel())
    return (scale * torch.randn(value.shape, dtype=torch.float64, generator=generator)).to(value)


def along(value: Tensor, t: Tensor, scale: float = 1.0) -> Tensor:
    """The value moved in a fixed random direction."""
    return value + t * direction_like(value, scale)


def along_pose(pose: Tensor, t: Tensor) -> Tensor:
    return se3_exp(t * direction_like(pose[0].new_zeros(6), 0.1)) @ pose


def change_material(scene: Scene, index: int, name: str, t: Tensor, scale: float = 0.1) -> Scene:
    material = scene.objects[index].material
    return with_object(scene, index, material=replace(material, **{name: along(getattr(material, name), t, scale)}))


def change_mesh(scene: Scene, index: int, name: str, t: Tensor, scale: float) -> Scene:
    mesh = scene.objects[index].mesh
    return with_object(scene, index, mesh=replace(mesh, **{name: along(getattr(mesh, name), t, scale)}))


def change_texture(scene: Scene, name: str, t: Tensor) -> Scene:
    mesh = scene.objects[0].mesh
    texture = replace(mesh.texture, **{name: along(getattr(mesh.texture, name), t, 0.05)})
    return with_object(scene, 0, mesh=replace(mesh, texture=texture))


def change_light(scene: Scene, index: int, name: str, t: Tensor) -> Scene:
    lights = list(scene.lights)
    lights[index] = replace(lights[index], **{name: along(getattr(lights[index], name), t, 0.2)})
    return replace(scene, lights=tuple(lights))


def change_camera(scene: Scene, name: str, t: Tensor) -> Scene:
    camera = scene.camera
    if name == "T_world_camera":
        return replace(scene, camera=replace(camera, T_world_camera=along_pose(camera.T_world_camera, t)))
    slope = camera.K.new_tensor([[1.0, 0.0, 0.7], [0.0, -0.8, 0.4], [0.0, 0.0, 0.0]])
    return replace(scene, camera=replace(camera, K=camera.K + t * slope))


def change_plane(scene: Scene, t: Tensor) -> Scene:
    material = scene.plane.material
    return replace(scene, plane=replace(scene.plane, material=replace(material, base_colour=along(material.base_colour, t))))


Change = Callable[[Scene, Tensor], Scene]
INPUTS: dict[str, tuple[str, Change]] = {
    "pose": ("meshes", lambda scene, t: with_object(scene, 1, T_world_object=along_pose(scene.objects[1].T_world_object, t))),
    "radii": ("ellipsoids", lambda scene, t: with_object(scene, 1, radii=along(scene.objects[1].radii, t, 0.02))),
    "ellipsoid pose": ("ellipsoids", lambda scene, t: with_object(scene, 0, T_world_object=along_pose(scene.objects[0].T_world_object, t))),
    "vertices": ("meshes", lambda scene, t: change_mesh(scene, 1, "vertices", t, 0.002)),
    "pose of a box": (
        "box_on_plane",
        lambda scene, t: with_object(scene, 0, T_world_object=along_pose(scene.objects[0].T_world_object, t)),
    ),
    "pose across the near plane": (
        "near_plane",
        lambda scene, t: with_object(scene, 2, T_world_object=along_pose(scene.objects[2].T_world_object, t)),
    ),
    "vertices partly outside": ("partly_outside", lambda scene, t: change_mesh(scene, 1, "vertices", t, 0.002)),
    "small triangles": ("small_triangles", lambda scene, t: change_mesh(scene, 1, "vertices", t, 0.0002)),
    "vertex colours": ("vertex_colours", lambda scene, t: change_mesh(scene, 0, "colours", t, 0.1)),
    "texels": ("textured", lambda scene, t: change_texture(scene, "image", t)),
    "texture coordinates": ("textured", lambda scene, t: change_texture(scene, "uv", t)),
    "camera pose": ("ellipsoids", lambda scene, t: change_camera(scene, "T_world_camera", t)),
    "camera pose, meshes": ("meshes", lambda scene, t: change_camera(scene, "T_world_camera", t)),
    "intrinsics": ("ellipsoids", lambda scene, t: change_camera(scene, "K", t)),
    "intrinsics, meshes": ("meshes", lambda scene, t: change_camera(scene, "K", t)),
    "base colour": ("ellipsoids", lambda scene, t: change_material(scene, 1, "base_colour", t)),
    "metallic": ("ellipsoids", lambda scene, t: change_material(scene, 1, "metallic", t)),
    "roughness": ("ellipsoids", lambda scene, t: change_material(scene, 1, "roughness", t)),
    "Phong's ambient": ("phong", lambda scene, t: change_material(scene, 1, "ambient", t)),
    "Phong's diffuse": ("phong", lambda scene, t: change_material(scene, 1, "diffuse", t)),
    "Phong's specular": ("phong", lambda scene, t: change_material(scene, 1, "specular", t)),
    "Phong's shininess": ("phong", lambda scene, t: change_material(scene, 1, "shininess", t, 1.0)),
    "light position": ("ellipsoids", lambda scene, t: change_light(scene, 0, "position", t)),
    "light intensity": ("ellipsoids", lambda scene, t: change_light(scene, 0, "intensity", t)),
    "light direction": ("ellipsoids", lambda scene, t: change_light(scene, 1, "direction", t)),
    "light irradiance": ("ellipsoids", lambda scene, t: change_light(scene, 1, "irradiance", t)),
    "spherical harmonics": ("ellipsoids", lambda scene, t: change_light(scene, 2, "sh", t)),
    "plane colour": ("ellipsoids", change_plane),
}
CASES = [
    (name, what)
    for name, renderer in RENDERERS.items()
    for what, (scene, _) in INPUTS.items()
    if is_drawable(SCENES[scene](), renderer.capabilities)
]


def render(renderer: Renderer, scene: Scene) -> Rendered:
    return moved(renderer(scene, scene.camera), "cpu", torch.float64)


def find_smooth_pixels(rendered: Rendered) -> Tensor:
    """Pixels whose neighbours, too, show the same surface: nothing is blended there, and nothing pops in or out."""
    ids = rendered.object_ids[None, None].double()
    return (torch.nn.functional.max_pool2d(ids, 3, 1, 1) == -torch.nn.functional.max_pool2d(-ids, 3, 1, 1))[0, 0]


def weigh(rendered: Rendered, smooth: Tensor) -> Tensor:
    """A smooth function of what the smooth pixels show."""
    height, width = rendered.depth.shape
    ramp = torch.linspace(0.5, 1.5, width, dtype=torch.float64) * torch.linspace(1.5, 0.5, height, dtype=torch.float64)[:, None]
    colour = (rendered.colour.square().sum(-1) * ramp)[smooth].mean()
    shape = ((rendered.depth.square() + rendered.normals[..., 0]) * ramp)[smooth].mean()
    return 10 * (colour + shape)


def differentiate(renderer: Renderer, scene: Scene, change: Change, measure: Callable[[Rendered], Tensor]) -> float:
    """What autograd says of the measure along the change."""
    t = torch.zeros((), dtype=scene.camera.K.dtype, device=scene.camera.K.device, requires_grad=True)
    (gradient,) = torch.autograd.grad(measure(render(renderer, change(scene, t))), t)
    return float(gradient)


def difference(renderer: Renderer, scene: Scene, change: Change, measure: Callable[[Rendered], Tensor], step: float = STEP) -> float:
    """The measure's central finite difference."""
    ends = [float(measure(render(renderer, change(scene, scene.camera.K.new_tensor(t))))) for t in (step, -step)]
    return (ends[0] - ends[1]) / (2 * step)


def oracle(renderer: Renderer) -> Renderer:
    """Whose finite differences a renderer's gradient is compared with: its own, or those of its kind in float64."""
    return renderer if renderer.capabilities.float64 else RENDERERS["cpu"]


@cache
def expected_slope(name: str, what: str) -> tuple[Tensor, float]:
    """The pixels that are compared, and the slope of their measure."""
    scene_name, change = INPUTS[what]
    renderer = RENDERERS[name]
    scene = fit_scene(SCENES[scene_name](), renderer)
    smooth = find_smooth_pixels(render(renderer, scene))
    return smooth, difference(renderer, scene, change, lambda rendered: weigh(rendered, smooth))


@pytest.mark.parametrize(("name", "what"), CASES)
def test_gradient_inside_objects(name, what):
    renderer = RENDERERS[name]
    scene_name, change = INPUTS[what]
    smooth, expected = expected_slope(oracle(renderer).name, what)
    assert smooth.double().mean() > 0.5
    assert abs(expected) > 1e-3
    found = differentiate(renderer, fit_scene(SCENES[scene_name](), renderer), change, lambda rendered: weigh(rendered, smooth))
    assert found == pytest.approx(expected, rel=1e-5 if renderer.capabilities.float64 else 1e-2)


@pytest.mark.parametrize(("name", "what"), [case for case in CASES if RENDERERS[case[0]].capabilities.float64])
def test_gradient_inside_objects_in_float32(name, what):
    renderer = RENDERERS[name]
    scene_name, change = INPUTS[what]
    smooth, expected = expected_slope(name, what)
    scene = moved(SCENES[scene_name](), device_of(renderer), torch.float32)
    found = differentiate(renderer, scene, change, lambda rendered: weigh(rendered, smooth))
    assert found == pytest.approx(expected, rel=1e-2)


MOVES = (
    "pose",
    "pose of a box",
    "pose across the near plane",
    "ellipsoid pose",
    "radii",
    "vertices",
    "vertices partly outside",
    "camera pose",
    "camera pose, meshes",
    "intrinsics",
    "intrinsics, meshes",
)


@pytest.mark.parametrize(("name", "what"), [case for case in CASES if case[1] in MOVES])
def test_gradient_of_silhouettes(name, what):
    """Of each object's coverage, weighed by place, as it is: nearly all that changes is how far edges reach into pixels."""
    renderer = RENDERERS[name]
    scene_name, change = INPUTS[what]
    scene = fit_scene(SCENES[scene_name](), renderer)

    def measure(rendered: Rendered) -> Tensor:
        row, column = torch.meshgrid(*(torch.linspace(0.5, 1.5, side) for side in rendered.depth.shape), indexing="ij")
        return (rendered.coverage * (row * column)).sum()

    own = oracle(renderer)
    expected = difference(own, fit_scene(SCENES[scene_name](), own), change, measure)
    found = differentiate(renderer, scene, change, measure)
    assert abs(expected) > 0.1
    # nvdiffrast misses parts of silhouettes; see its adapter.
    tolerance = 1e-5 if renderer.capabilities.float64 else 0.15 if name == "nvdiffrast" else 1e-2
    assert found == pytest.approx(expected, rel=tolerance)
