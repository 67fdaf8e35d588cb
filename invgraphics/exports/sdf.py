"""SDFormat 1.9: one world with a free model for each object, the support plane, the lights (Gazebo; PyBullet reads it, too)."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from jaxtyping import Float
from torch import Tensor

from invgraphics.exports.bodies import GRAVITY, PLANE_HALF_SIZE, PLANE_NAME, RigidBody, SimulatedScene, roll_pitch_yaw, spaced
from invgraphics.exports.mesh_files import write_body_meshes
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.scene import DirectionalLight, Light, Plane, PointLight
from invgraphics.surfaces import as_metallic_roughness

_MESHES = "meshes"
_POINT_LIGHT_RANGE = 20.0
"""Metres beyond which a point light is not looked for."""


def write_sdf(simulated: SimulatedScene, folder: Path) -> None:
    """Writes `scene.sdf`, which names the files in `meshes/` relative to itself."""
    root = Element("sdf", version="1.9")
    world = SubElement(root, "world", name="scene")
    _add(world, "gravity", spaced([0.0, 0.0, -GRAVITY]))
    for body in simulated.bodies:
        world.append(_build_model(body, folder))
    if simulated.scene.plane is not None:
        world.append(_build_plane(simulated.scene.plane, simulated.plane_friction))
    for k, light in enumerate(simulated.scene.lights):
        if isinstance(light, PointLight | DirectionalLight):
            world.append(_build_light(k, light))
    ElementTree.indent(root)
    (folder / "scene.sdf").write_text(ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n")


def _build_model(body: RigidBody, folder: Path) -> Element:
    surface, pieces = write_body_meshes(body, folder / _MESHES)
    model = Element("model", name=body.name)
    _add_pose(model, body.T_world_body)
    link = SubElement(model, "link", name="body")
    inertial = SubElement(link, "inertial")
    _add_pose(inertial, body.T_body_inertial)
    _add(inertial, "mass", f"{body.mass:.9g}")
    inertia = SubElement(inertial, "inertia")
    moments = zip(("ixx", "iyy", "izz"), body.moments, strict=True)
    for name, value in (*moments, ("ixy", 0.0), ("ixz", 0.0), ("iyz", 0.0)):
        _add(inertia, name, f"{value:.9g}")
    visual = SubElement(link, "visual", name="surface")
    _add_mesh(visual, surface)
    if body.plain_colour is not None:
        _add_colour(visual, body.plain_colour)
    for k, piece in enumerate(pieces):
        collision = SubElement(link, "collision", name=f"piece_{k:02d}")
        _add_mesh(collision, piece)
        _add_friction(collision, body.friction)
    return model


def _build_plane(plane: Plane, friction: float) -> Element:
    model = Element("model", name=PLANE_NAME)
    _add(model, "static", "1")
    link = SubElement(model, "link", name="body")
    for kind in ("visual", "collision"):
        part = SubElement(link, kind, name=kind)
        shape = SubElement(SubElement(part, "geometry"), "plane")
        _add(shape, "normal", "0 0 1")
        _add(shape, "size", spaced([2 * PLANE_HALF_SIZE] * 2))
        if kind == "visual":
            _add_colour(part, srgb_from_linear(as_metallic_roughness(plane.material).base_colour.detach().cpu()).tolist())
        else:
            _add_friction(part, friction)
    return model


def _build_light(number: int, light: Light) -> Element:
    point = isinstance(light, PointLight)
    element = Element("light", name=f"light_{number}", type="point" if point else "directional")
    strength = (light.intensity if point else light.irradiance).detach().cpu()
    brightness = max(float(strength.max()), 1e-12)
    if point:
        _add(element, "pose", spaced([*light.position.detach().cpu().tolist(), 0.0, 0.0, 0.0]))
        _add_falloff(element)
    else:
        _add(element, "direction", _spaced_tensor(light.direction))
    _add(element, "diffuse", spaced([*(strength / brightness).tolist(), 1.0]))
    _add(element, "specular", spaced([*(strength / brightness).tolist(), 1.0]))
    _add(element, "intensity", f"{brightness:.9g}")
    return element


def _add_falloff(light: Element) -> None:
    """With the squared distance."""
    attenuation = SubElement(light, "attenuation")
    for name, value in (("range", _POINT_LIGHT_RANGE), ("constant", 0.0), ("linear", 0.0), ("quadratic", 1.0)):
        _add(attenuation, name, f"{value:g}")


def _add_mesh(part: Element, name: str) -> None:
    _add(SubElement(SubElement(part, "geometry"), "mesh"), "uri", f"{_MESHES}/{name}")


def _add_colour(visual: Element, srgb: list[float]) -> None:
    material = SubElement(visual, "material")
    for kind in ("ambient", "diffuse"):
        _add(material, kind, spaced([*srgb, 1.0]))


def _add_friction(collision: Element, friction: float) -> None:
    """The engines take the smaller of two bodies' coefficients (ODE, DART) or their product (Bullet): with a plane of 1 the object's."""
    surface = SubElement(SubElement(collision, "surface"), "friction")
    ode = SubElement(surface, "ode")
    _add(ode, "mu", f"{friction:.9g}")
    _add(ode, "mu2", f"{friction:.9g}")
    bullet = SubElement(surface, "bullet")
    _add(bullet, "friction", f"{friction:.9g}")
    _add(bullet, "friction2", f"{friction:.9g}")


def _add_pose(parent: Element, T_a_b: Float[np.ndarray, "4 4"]) -> None:
    _add(parent, "pose", spaced([*T_a_b[:3, 3], *roll_pitch_yaw(T_a_b)]))


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text


def _spaced_tensor(values: Tensor) -> str:
    return spaced(values.detach().cpu().tolist())
