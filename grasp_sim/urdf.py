"""What the search needs of a hand's URDF without a physics engine: where its links are, and its primitive collision shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from invgraphics.errors import InputError


@dataclass(frozen=True)
class Primitive:
    """A box, or a cylinder or sphere along its own z, fixed to a link."""

    link: str
    T_link_shape: Float[np.ndarray, "4 4"]
    """Shape frame (at its centre) to link frame, metres."""
    kind: str
    """"box", "cylinder" or "sphere"."""
    size: Float[np.ndarray, "3"]
    """Half extents of a box; (radius, radius, half length) of a cylinder; (radius, radius, radius) of a sphere. Metres."""


@dataclass(frozen=True)
class _Joint:
    name: str
    parent: str
    child: str
    T_parent_joint: Float[np.ndarray, "4 4"]
    axis: Float[np.ndarray, "3"] | None
    """Unit, joint frame; None where the joint is fixed."""
    prismatic: bool


@dataclass(frozen=True)
class KinematicTree:
    """The joints and shapes of a URDF."""

    root: str
    """Name of the root link."""
    joints: tuple[_Joint, ...]
    """Parents before children."""
    shapes: tuple[Primitive, ...]
    """Every collision shape."""

    def link_poses(self, positions: Mapping[str, float]) -> dict[str, Float[np.ndarray, "4 4"]]:
        """`T_root_link` of every link; joints that `positions` (rad, m) leaves out stand at 0."""
        poses = {self.root: np.eye(4)}
        for joint in self.joints:
            T = poses[joint.parent] @ joint.T_parent_joint
            if joint.axis is not None:
                T = T @ _motion(joint, positions.get(joint.name, 0.0))
            poses[joint.child] = T
        return poses


def read_urdf(path: Path) -> KinematicTree:
    """Reads joints and collision shapes. `InputError` for a missing file, bad XML, or collision meshes (only primitives serve)."""
    if not path.is_file():
        raise InputError(f"{path}: no such URDF file")
    try:
        robot = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not a URDF file: {error}") from None
    shapes = tuple(_read_shape(path, link, item) for link in robot.iter("link") for item in link.findall("collision"))
    joints = [_read_joint(item) for item in robot.findall("joint")]
    children = {joint.child for joint in joints}
    roots = [link.get("name") for link in robot.findall("link") if link.get("name") not in children]
    if len(roots) != 1:
        raise InputError(f"{path}: a hand needs one root link, this file has {len(roots)}")
    return KinematicTree(roots[0], _parents_first(roots[0], joints), shapes)


def _parents_first(root: str, joints: list[_Joint]) -> tuple[_Joint, ...]:
    ordered, reached = [], [root]
    for link in reached:
        for joint in joints:
            if joint.parent == link:
                ordered.append(joint)
                reached.append(joint.child)
    return tuple(ordered)


def _read_joint(item: ElementTree.Element) -> _Joint:
    kind = item.get("type")
    axis = None
    if kind != "fixed":
        element = item.find("axis")
        axis = np.array([1.0, 0.0, 0.0]) if element is None else _numbers(element.get("xyz"))
        axis = axis / np.linalg.norm(axis)
    parent, child = item.find("parent").get("link"), item.find("child").get("link")
    return _Joint(item.get("name"), parent, child, _read_origin(item), axis, kind == "prismatic")


def _read_shape(path: Path, link: ElementTree.Element, item: ElementTree.Element) -> Primitive:
    shape = item.find("geometry")[0]
    if shape.tag == "box":
        size = _numbers(shape.get("size")) / 2
    elif shape.tag == "cylinder":
        radius = float(shape.get("radius"))
        size = np.array([radius, radius, float(shape.get("length")) / 2])
    elif shape.tag == "sphere":
        size = np.full(3, float(shape.get("radius")))
    else:
        raise InputError(
            f"{path}: link {link.get('name')} collides as a {shape.tag}; a hand's collision shapes are box, cylinder or sphere"
        )
    return Primitive(link.get("name"), _read_origin(item), shape.tag, size)


def _read_origin(item: ElementTree.Element) -> Float[np.ndarray, "4 4"]:
    T = np.eye(4)
    origin = item.find("origin")
    if origin is not None:
        T[:3, 3] = _numbers(origin.get("xyz", "0 0 0"))
        T[:3, :3] = Rotation.from_euler("xyz", _numbers(origin.get("rpy", "0 0 0"))).as_matrix()
    return T


def _numbers(text: str) -> Float[np.ndarray, "3"]:
    return np.array([float(part) for part in text.split()])


def _motion(joint: _Joint, position: float) -> Float[np.ndarray, "4 4"]:
    T = np.eye(4)
    if joint.prismatic:
        T[:3, 3] = position * joint.axis
    else:
        T[:3, :3] = Rotation.from_rotvec(position * joint.axis).as_matrix()
    return T
