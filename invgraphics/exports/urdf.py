"""URDF: every object as a file of its own, for a simulator that places them, and the scene in one, everything fixed, for a planner.

URDF knows no world of free bodies: where each one stands is in `placement.json`.
"""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from jaxtyping import Float

from invgraphics.exports.bodies import (
    PLANE_HALF_SIZE,
    PLANE_NAME,
    PLANE_THICKNESS,
    RigidBody,
    SimulatedScene,
    quaternion_xyzw,
    roll_pitch_yaw,
    spaced,
)
from invgraphics.exports.mesh_files import write_body_meshes
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.output import write_json
from invgraphics.scene import Plane
from invgraphics.surfaces import as_metallic_roughness

_MESHES = "meshes"


def write_urdf(simulated: SimulatedScene, folder: Path) -> None:
    """Writes `object_KK.urdf` (root link frame: object frame), `support_plane.urdf`, `placement.json`, `scene.urdf` and `meshes/`."""
    links = [_build_link(body, folder) for body in simulated.bodies]
    poses = [body.T_world_body for body in simulated.bodies]
    if simulated.scene.plane is not None:
        links.append(_build_plane_link(simulated.scene.plane, simulated.plane_friction))
        poses.append(np.eye(4))
    for link in links:
        _save(_build_robot(link.get("name", ""), [link]), folder)
    _save(_build_fixed_scene(links, poses), folder)
    write_json(folder / "placement.json", _describe_placement(simulated))


def _build_robot(name: str, links: list[Element]) -> Element:
    robot = Element("robot", name=name)
    robot.extend(links)
    return robot


def _build_fixed_scene(links: list[Element], poses: list[Float[np.ndarray, "4 4"]]) -> Element:
    """All links on fixed joints of the link `world`."""
    robot = _build_robot("scene", [Element("link", name="world"), *links])
    for link, T_world_link in zip(links, poses, strict=True):
        name = link.get("name", "")
        joint = SubElement(robot, "joint", name=f"world_{name}", type="fixed")
        SubElement(joint, "parent", link="world")
        SubElement(joint, "child", link=name)
        _add_origin(joint, T_world_link)
    return robot


def _build_link(body: RigidBody, folder: Path) -> Element:
    surface, pieces = write_body_meshes(body, folder / _MESHES)
    link = Element("link", name=body.name)
    _add_friction(link, body.friction)
    inertial = SubElement(link, "inertial")
    _add_origin(inertial, body.T_body_inertial)
    SubElement(inertial, "mass", value=f"{body.mass:.9g}")
    ixx, iyy, izz = (f"{moment:.9g}" for moment in body.moments)
    SubElement(inertial, "inertia", ixx=ixx, ixy="0", ixz="0", iyy=iyy, iyz="0", izz=izz)
    visual = SubElement(link, "visual")
    _add_mesh(visual, surface)
    if body.plain_colour is not None:
        _add_colour(visual, body.name, body.plain_colour)
    for piece in pieces:
        _add_mesh(SubElement(link, "collision"), piece)
    return link


def _build_plane_link(plane: Plane, friction: float) -> Element:
    """A box whose top is the plane: URDF itself has no planes."""
    link = Element("link", name=PLANE_NAME)
    _add_friction(link, friction)
    T_link_box = np.eye(4)
    T_link_box[2, 3] = -PLANE_THICKNESS / 2
    for kind in ("visual", "collision"):
        part = SubElement(link, kind)
        _add_origin(part, T_link_box)
        size = [2 * PLANE_HALF_SIZE, 2 * PLANE_HALF_SIZE, PLANE_THICKNESS]
        SubElement(SubElement(part, "geometry"), "box", size=spaced(size))
        if kind == "visual":
            _add_colour(part, PLANE_NAME, srgb_from_linear(as_metallic_roughness(plane.material).base_colour.detach().cpu()).tolist())
    return link


def _add_mesh(part: Element, name: str) -> None:
    SubElement(SubElement(part, "geometry"), "mesh", filename=f"{_MESHES}/{name}")


def _add_colour(visual: Element, name: str, srgb: list[float]) -> None:
    SubElement(SubElement(visual, "material", name=name), "color", rgba=spaced([*srgb, 1.0]))


def _add_friction(link: Element, friction: float) -> None:
    """Bullet's extension, which other programs leave unread; Bullet multiplies the two bodies' coefficients."""
    SubElement(SubElement(link, "contact"), "lateral_friction", value=f"{friction:.9g}")


def _add_origin(parent: Element, T_a_b: Float[np.ndarray, "4 4"]) -> None:
    SubElement(parent, "origin", xyz=spaced(T_a_b[:3, 3]), rpy=spaced(roll_pitch_yaw(T_a_b)))


def _save(robot: Element, folder: Path) -> None:
    ElementTree.indent(robot)
    text = ElementTree.tostring(robot, encoding="unicode", xml_declaration=True)
    (folder / f"{robot.get('name')}.urdf").write_text(text + "\n")


def _describe_placement(simulated: SimulatedScene) -> dict[str, object]:
    return {
        "frame": "world: z up, the support plane at z = 0; metres",
        "bodies": [
            {
                "name": body.name,
                "label": body.label,
                "urdf": f"{body.name}.urdf",
                "T_world_body": body.T_world_body.tolist(),
                "position": body.T_world_body[:3, 3].tolist(),
                "quaternion_xyzw": quaternion_xyzw(body.T_world_body),
                "mass_kg": body.mass,
                "friction": body.friction,
            }
            for body in simulated.bodies
        ],
        "fixed": [f"{PLANE_NAME}.urdf"] if simulated.scene.plane is not None else [],
    }
