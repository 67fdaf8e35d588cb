"""Lit meshes against Mitsuba 3, an independent physically based renderer (variant scalar_rgb: no gradients, no LLVM needed).

For one point light this project's surface is `(1 - F) diffuse + F ggx`, F being Schlick's. Mitsuba draws the diffuse surface and the GGX
mirror; F is put together here from the geometry.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.geometry.mesh import Mesh, Texture, icosphere
from invgraphics.scene import Material, Plane, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from renderers.mesh_renderer import MeshRenderer
from renderers.protocol import PLANE_ID
from renderers.rasterize import make_rasterizer
from tests.renderers.scenes import make_camera

mitsuba = pytest.importorskip("mitsuba")
mitsuba.set_variant("scalar_rgb")

ROUGHNESS = 0.45


def sphere_mesh() -> Mesh:
    sphere, faces = icosphere(4)
    return Mesh(sphere * 0.12, faces)


def box_mesh() -> Mesh:
    """Every face with corners of its own, so that it is shaded flat."""
    corners = torch.tensor([[x, y, z] for x in (-0.1, 0.1) for y in (-0.07, 0.07) for z in (-0.08, 0.08)])
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    first = torch.arange(6)[:, None] * 4
    return Mesh(corners[quads.reshape(-1)], torch.cat([first + torch.tensor([0, 1, 2]), first + torch.tensor([0, 2, 3])]))


def coloured_mesh() -> Mesh:
    mesh = sphere_mesh()
    return replace(mesh, colours=0.5 + 0.4 * torch.sin(30 * mesh.vertices))


def textured_mesh() -> Mesh:
    """A picture of 16 x 12 smooth texels projected through the sphere, and repeated."""
    mesh = sphere_mesh()
    row, column = torch.meshgrid(torch.arange(12) * 2 * torch.pi / 12, torch.arange(16) * 2 * torch.pi / 16, indexing="ij")
    image = 0.5 + 0.3 * torch.stack([row.sin(), column.cos(), (row + column).sin()], dim=-1)
    return replace(mesh, texture=Texture((mesh.vertices[:, :2] * 7 + 0.3)[mesh.faces], image))


MESHES = {"sphere": sphere_mesh, "box": box_mesh, "vertex colours": coloured_mesh, "texture": textured_mesh}


def has_own_colours(scene: Scene) -> bool:
    return scene.objects[0].mesh.colours is not None or scene.objects[0].mesh.texture is not None


def describe_colours(scene: Scene) -> dict:
    """The object's reflectance as Mitsuba takes it, the material's base colour left aside where the mesh has its own."""
    item = scene.objects[0]
    if item.mesh.colours is not None:
        return {"type": "mesh_attribute", "name": "vertex_color"}
    if item.mesh.texture is not None:
        bitmap = mitsuba.Bitmap(item.mesh.texture.image.numpy())
        return {"type": "bitmap", "bitmap": bitmap, "raw": True, "filter_type": "bilinear", "wrap_mode": "repeat"}
    return {"type": "rgb", "value": item.material.base_colour.tolist()}


def make_scene(mesh: Mesh, metallic: float) -> Scene:
    camera = make_camera(96, 128, torch.float32)
    pose = rigid(so3_exp(torch.tensor([0.3, 0.2, 0.5])), torch.tensor([0.01, 0.0, 0.06]))
    material = Material(torch.tensor([0.7, 0.5, 0.3]), torch.tensor(metallic), torch.tensor(ROUGHNESS))
    light = PointLight(torch.tensor([0.3, -0.5, 0.8]), torch.tensor([1.0, 1.5, 2.0]))
    return Scene((SceneObject("it", pose, torch.full((3,), 0.1), material, mesh),), (light,), None, camera)


def render_by_mitsuba(scene: Scene, surface: dict, with_object: bool = True) -> Tensor:
    """Direct light of the scene's object with another surface, and of a white support plane where there is one; box-filtered."""
    item, camera, light = scene.objects[0], scene.camera, scene.lights[0]
    T_camera_object = camera.T_camera_world @ item.T_world_object
    vertices = item.mesh.vertices @ T_camera_object[:3, :3].T + T_camera_object[:3, 3]
    flat = len(item.mesh.vertices) == 24
    layout = {"has_vertex_normals": not flat, "has_vertex_texcoords": item.mesh.texture is not None}
    mesh = mitsuba.Mesh("mesh", len(vertices), len(item.mesh.faces), props=_properties(surface, flat), **layout)
    if item.mesh.colours is not None:
        mesh.add_attribute("vertex_color", 3, item.mesh.colours.numpy().ravel())
    parameters = mitsuba.traverse(mesh)
    parameters["vertex_positions"] = vertices.numpy().ravel()
    parameters["faces"] = item.mesh.faces.numpy().astype("uint32").ravel()
    if item.mesh.texture is not None:
        places = torch.zeros(len(vertices), 2).index_put((item.mesh.faces,), item.mesh.texture.uv)
        parameters["vertex_texcoords"] = places.numpy().ravel()
    parameters.update()
    at = camera.T_camera_world[:3, :3] @ light.position + camera.T_camera_world[:3, 3]
    K, width, height = camera.K, camera.width, camera.height
    scene_description = {
        "type": "scene",
        "integrator": {"type": "direct", "hide_emitters": True},
        **({"mesh": mesh} if with_object else {}),
        **({} if scene.plane is None else {"plane": white_plane(scene)}),
        "light": {"type": "point", "position": at.tolist(), "intensity": {"type": "rgb", "value": light.intensity.tolist()}},
        "sensor": {
            "type": "perspective",
            "fov": float(2 * torch.rad2deg(torch.atan(width / 2 / K[0, 0]))),
            "fov_axis": "x",
            "principal_point_offset_x": float(0.5 - (K[0, 2] + 0.5) / width),
            "principal_point_offset_y": float(0.5 - (K[1, 2] + 0.5) / height),
            "to_world": mitsuba.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, 1], up=[0, -1, 0]),
            "near_clip": 0.01,
            "film": {"type": "hdrfilm", "width": width, "height": height, "rfilter": {"type": "box"}, "pixel_format": "rgb"},
            "sampler": {"type": "independent", "sample_count": 16},
        },
    }
    image = mitsuba.render(mitsuba.load_dict(scene_description), seed=0)
    return torch.tensor(image.numpy() if hasattr(image, "numpy") else list(image)).reshape(height, width, 3)


def white_plane(scene: Scene) -> dict:
    """A square of 8 m in place of the support plane."""
    to_camera = mitsuba.ScalarTransform4f(scene.camera.T_camera_world.numpy())
    return {"type": "rectangle", "to_world": to_camera @ mitsuba.ScalarTransform4f().scale(4), "bsdf": {"type": "diffuse"}}


def _properties(surface: dict, flat: bool) -> object:
    properties = mitsuba.Properties()
    properties["bsdf"] = mitsuba.load_dict(surface)
    properties["face_normals"] = flat
    return properties


@pytest.mark.parametrize("metallic", [0.0, 0.8])
@pytest.mark.parametrize("shape", MESHES)
def test_a_lit_mesh_has_the_radiance_that_mitsuba_computes(shape, metallic):
    scene = make_scene(MESHES[shape](), metallic)
    found = MeshRenderer(make_rasterizer("cpu"), shadows="none")(scene, scene.camera)
    tint = scene.objects[0].material.base_colour if has_own_colours(scene) else torch.ones(3)
    diffuse = render_by_mitsuba(scene, {"type": "diffuse", "reflectance": describe_colours(scene)}) * tint
    mirror = {"type": "roughconductor", "material": "none", "distribution": "ggx", "alpha": ROUGHNESS**2}
    glossy = render_by_mitsuba(scene, mirror)
    world = scene.camera.unproject(found.depth) @ scene.camera.T_world_camera[:3, :3].T + scene.camera.T_world_camera[:3, 3]
    to_light, to_eye = (
        torch.nn.functional.normalize(point - world, dim=-1) for point in (scene.lights[0].position, scene.camera.T_world_camera[:3, 3])
    )
    half = torch.nn.functional.normalize(to_light + to_eye, dim=-1)
    received = (found.normals * to_light).sum(-1).clamp(min=1e-3)[..., None] * scene.lights[0].intensity
    received = received / (scene.lights[0].position - world).square().sum(-1, keepdim=True) / torch.pi
    colour = (diffuse / received).clamp(0, 1) if has_own_colours(scene) else scene.objects[0].material.base_colour
    reflectance = 0.04 * (1 - metallic) + metallic * colour
    fresnel = reflectance + (1 - reflectance) * (1 - (to_eye * half).sum(-1, keepdim=True)) ** 5
    expected = (1 - fresnel) * (1 - metallic) * diffuse + fresnel * glossy
    inside = -torch.nn.functional.max_pool2d(-(found.object_ids == 0)[None, None].float(), 5, 1, 2)[0, 0] > 0
    inside &= (found.normals * to_light).sum(-1) > 0.1
    turns = torch.stack([(found.normals - found.normals.roll(1, axis)).norm(dim=-1) for axis in (0, 1)]).amax(0)
    smooth = torch.nn.functional.max_pool2d(turns[None, None], 3, 1, 1)[0, 0] < 0.2
    inside &= smooth
    assert inside.sum() > 500
    assert expected[inside].mean() > 0.02
    ratio = (found.colour / expected)[inside]
    assert (ratio.median(0).values - 1).abs().max() < 0.004
    assert ((ratio - 1).abs() < 0.05).float().mean() > 0.95


@pytest.mark.parametrize(("shape", "caster"), [("sphere", "ellipsoids"), ("sphere", "meshes"), ("box", "meshes")])
def test_a_shadow_on_the_plane_lies_where_mitsuba_casts_it(shape, caster):
    scene = make_scene(MESHES[shape](), 0.0)
    lifted = rigid(so3_exp(torch.tensor([0.3, 0.2, 0.5])), torch.tensor([0.01, 0.0, 0.2]))
    item = replace(scene.objects[0], T_world_object=lifted, radii=torch.full((3,), 0.12))
    scene = replace(scene, objects=(item,), plane=Plane(Material(torch.ones(3), torch.tensor(0.0), torch.tensor(1.0))))
    lit, shaded = (MeshRenderer(make_rasterizer("cpu"), shadows=kind)(scene, scene.camera) for kind in ("none", caster))
    plane = torch.nn.functional.max_pool2d((lit.object_ids != PLANE_ID)[None, None].float(), 3, 1, 1)[0, 0] == 0
    here = (shaded.colour / lit.colour)[plane].mean(-1)
    surface = {"type": "diffuse"}
    there = (render_by_mitsuba(scene, surface) / render_by_mitsuba(scene, surface, with_object=False))[plane].mean(-1)
    assert 0.02 < (there < 0.5).float().mean() < 0.5
    # The light here is seen under a few degrees, there it is a point: half of it is seen where there the shadow begins.
    assert ((here < 0.5) == (there < 0.5)).float().mean() > 0.99
    assert float((1 - here).sum() / (1 - there).sum()) == pytest.approx(1.0, abs=0.06)
