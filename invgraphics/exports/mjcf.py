"""MJCF: the scene as a MuJoCo model, free bodies on the support plane, textured, with the camera and the lights."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.exports.bodies import GRAVITY, PLANE_HALF_SIZE, PLANE_NAME, RigidBody, SimulatedScene, quaternion_wxyz, spaced
from invgraphics.exports.mesh_files import write_body_meshes
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.geometry.spherical_harmonics import mean_radiance
from invgraphics.scene import AmbientLight, DirectionalLight, Plane, PointLight
from invgraphics.surfaces import as_metallic_roughness

_MESHES = "meshes"
_SEEN_GROUP, _COLLISION_GROUP = "2", "3"
"""Geom groups: MuJoCo's viewer shows 2 and hides 3 at first."""
_TIME_STEP = 0.002
_LIGHT_WIDTH = 0.02
"""Metres: radius of the bulb that soft shadows are drawn with."""


def write_mjcf(simulated: SimulatedScene, folder: Path) -> None:
    """Writes `scene.xml`, which names the files in `meshes/` relative to itself."""
    root = Element("mujoco", model="scene")
    SubElement(root, "compiler", angle="radian", meshdir=_MESHES, texturedir=_MESHES, autolimits="true")
    SubElement(
        root,
        "option",
        timestep=f"{_TIME_STEP:g}",
        gravity=spaced([0.0, 0.0, -GRAVITY]),
        integrator="implicitfast",
        cone="elliptic",
        impratio="10",
    )
    assets, world = SubElement(root, "asset"), SubElement(root, "worldbody")
    if simulated.scene.plane is not None:
        _add_plane(assets, world, simulated.scene.plane, simulated.plane_friction)
    for body in simulated.bodies:
        _add_body(assets, world, body, folder)
    _add_lights(root, world, simulated)
    _add_camera(world, simulated.scene.camera)
    ElementTree.indent(root)
    (folder / "scene.xml").write_text(ElementTree.tostring(root, encoding="unicode") + "\n")


def _add_body(assets: Element, world: Element, body: RigidBody, folder: Path) -> None:
    surface, pieces = write_body_meshes(body, folder / _MESHES)
    T = body.T_world_body
    element = SubElement(world, "body", name=body.name, pos=spaced(T[:3, 3]), quat=spaced(quaternion_wxyz(T)))
    SubElement(element, "freejoint", name=body.name)
    SubElement(
        element,
        "inertial",
        pos=spaced(body.T_body_inertial[:3, 3]),
        quat=spaced(quaternion_wxyz(body.T_body_inertial)),
        mass=f"{body.mass:.9g}",
        diaginertia=spaced(body.moments),
    )
    SubElement(assets, "mesh", name=body.name, file=surface, inertia="shell")
    look = {"metallic": f"{body.metallic:.4g}", "roughness": f"{body.roughness:.4g}", "specular": f"{(1 - body.roughness) / 2:.4g}"}
    material = {"name": body.name, **look}
    if body.plain_colour is None:
        SubElement(assets, "texture", name=body.name, type="2d", file=f"{body.name}.png")
        SubElement(assets, "material", **material, texture=body.name)
    else:
        SubElement(assets, "material", **material, rgba=spaced([*body.plain_colour, 1.0]))
    seen = {"contype": "0", "conaffinity": "0", "group": _SEEN_GROUP, "density": "0"}
    SubElement(element, "geom", name=body.name, type="mesh", mesh=body.name, material=body.name, **seen)
    for k, piece in enumerate(pieces):
        name = f"{body.name}_{k:02d}"
        SubElement(assets, "mesh", name=name, file=piece, inertia="shell")
        # The object decides the friction (priority): MuJoCo would take the larger of two coefficients, and the plane's is 1.
        contact = {"friction": f"{body.friction:.9g}", "condim": "4", "priority": "1"}
        SubElement(element, "geom", name=name, type="mesh", mesh=name, group=_COLLISION_GROUP, **contact)


def _add_plane(assets: Element, world: Element, plane: Plane, friction: float) -> None:
    colour = _spaced_srgb(as_metallic_roughness(plane.material).base_colour)
    SubElement(assets, "material", name=PLANE_NAME, rgba=f"{colour} 1", specular="0")
    size = spaced([PLANE_HALF_SIZE, PLANE_HALF_SIZE, 0.1])
    SubElement(world, "geom", name=PLANE_NAME, type="plane", size=size, material=PLANE_NAME, friction=f"{friction:.9g}")


def _add_lights(root: Element, world: Element, simulated: SimulatedScene) -> None:
    """Ambient light with MuJoCo's headlight, which is off otherwise; the other lights as they are at the middle of the objects.

    MuJoCo computes with sRGB values. A white surface sends back ambient + irradiance / pi (linear): each light adds what takes the sRGB
    value of the sum before it to that of the sum with it, so that shadowed and fully lit surfaces come out right.
    """
    lights = simulated.scene.lights
    sky = [mean_radiance(light.sh.detach().cpu()) for light in lights if isinstance(light, AmbientLight)]
    total = torch.stack([torch.zeros(3), *sky]).sum(0)
    SubElement(SubElement(root, "visual"), "headlight", ambient=_spaced_srgb(total), diffuse="0 0 0", specular="0 0 0")
    middle = np.mean([body.T_world_body[:3, 3] for body in simulated.bodies], axis=0)
    for k, light in enumerate(lights):
        if isinstance(light, AmbientLight):
            continue
        position, direction, irradiance = _light_at(light, middle)
        before, total = total, total + irradiance / torch.pi
        kind = "point" if isinstance(light, PointLight) else "directional"
        place = {"pos": spaced(position), "dir": spaced(direction), "bulbradius": f"{_LIGHT_WIDTH:g}"}
        diffuse = spaced((srgb_from_linear(total) - srgb_from_linear(before)).tolist())
        SubElement(world, "light", name=f"light_{k}", type=kind, **place, diffuse=diffuse)


def _light_at(
    light: PointLight | DirectionalLight, point: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], Float[Tensor, "3"]]:
    """Where it is (a directional light: somewhere on its way), the unit direction from there to a point, its irradiance at the point."""
    if isinstance(light, DirectionalLight):
        direction = light.direction.detach().cpu().double().numpy()
        return point - 2 * direction, direction, light.irradiance.detach().cpu()
    position = light.position.detach().cpu().double().numpy()
    distance = float(np.linalg.norm(point - position))
    return position, (point - position) / distance, light.intensity.detach().cpu() / distance**2


def _add_camera(world: Element, camera: Camera) -> None:
    """The camera of the photograph: MuJoCo's looks along -z with y up; its principal point is measured from the image's middle."""
    T = camera.T_world_camera.detach().cpu().double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])
    K = camera.K.detach().cpu().double().numpy()
    size = np.array([camera.width, camera.height], dtype=float)
    SubElement(
        world,
        "camera",
        name="camera",
        pos=spaced(T[:3, 3]),
        quat=spaced(quaternion_wxyz(T)),
        resolution=f"{camera.width} {camera.height}",
        sensorsize=spaced(size / size.max() * 0.01),
        focalpixel=spaced(K[[0, 1], [0, 1]]),
        principalpixel=spaced((size - 1) / 2 - K[:2, 2]),
    )


def _spaced_srgb(linear: Float[Tensor, "3"]) -> str:
    return spaced(srgb_from_linear(linear.detach().cpu()).tolist())
