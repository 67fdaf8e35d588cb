"""An arm with a hand on its flange: the mount's description, and one URDF of the two, so that physics sees one articulated body."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from invgraphics.errors import InputError

ASSETS = Path(__file__).parent / "assets"
UR5_URDF = ASSETS / "ur5.urdf"
MIA_RIGHT_MOUNT = ASSETS / "mia_right_mount.json"
MOUNTS = {"mia_right": MIA_RIGHT_MOUNT, "mia_left": ASSETS / "mia_left_mount.json"}
"""How a hand sits on the flange, by its name."""
ADAPTER_LINK = "hand_adapter"


@dataclass(frozen=True)
class HandMount:
    """How a hand sits on the flange, and the cylinder between the two."""

    flange_link: str
    """Link of the arm that carries the hand."""
    hand_link: str
    """Root link of the hand."""
    T_flange_hand: Float[np.ndarray, "4 4"]
    """Hand root link frame to flange frame, metres."""
    adapter_radius: float
    """Metres."""
    adapter_length: float
    """Metres, along the flange's z from the flange."""
    adapter_mass: float
    """Kilograms."""


def load_mount(path: Path) -> HandMount:
    """Reads a mount's JSON description; `InputError` names the entry that is missing."""
    entries = json.loads(path.read_text())
    try:
        T_flange_hand = np.eye(4)
        T_flange_hand[:3, :3] = Rotation.from_euler("xyz", entries["rpy_rad"]).as_matrix()
        T_flange_hand[:3, 3] = entries["xyz_m"]
        return HandMount(
            entries["flange_link"],
            entries["hand_link"],
            T_flange_hand,
            entries["adapter_radius_m"],
            entries["adapter_length_m"],
            entries["adapter_mass_kg"],
        )
    except KeyError as missing:
        raise InputError(f"{path}: the mount's description lacks {missing}") from None


def build_arm_with_hand(arm_urdf: Path, hand_urdf: Path, mount: HandMount) -> str:
    """The URDF text of the arm carrying the hand. Mesh paths become absolute.

    Raises `InputError` where a link of the mount is not in its file, or where the two files share a link or joint name.
    """
    arm, hand = _parsed(arm_urdf), _parsed(hand_urdf)
    _require_link(arm, mount.flange_link, arm_urdf)
    _require_link(hand, mount.hand_link, hand_urdf)
    _require_distinct_names(arm, hand, arm_urdf, hand_urdf)
    robot = ElementTree.Element("robot", name=f"{arm.get('name')}_with_{hand.get('name')}")
    robot.extend(_unique_materials(arm, hand))
    robot.extend(deepcopy(element) for tree in (arm, hand) for element in tree if element.tag in ("link", "joint"))
    robot.extend(_adapter(mount))
    robot.append(_fixed_joint("hand_mount", mount.flange_link, mount.hand_link, mount.T_flange_hand))
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode")


def _parsed(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not a URDF file: {error}") from None
    for mesh in root.iter("mesh"):
        mesh.set("filename", str((path.parent / mesh.get("filename", "")).resolve()))
    return root


def _names(root: ElementTree.Element, tag: str) -> set[str]:
    return {element.get("name", "") for element in root.findall(tag)}


def _require_link(root: ElementTree.Element, link: str, path: Path) -> None:
    if link not in _names(root, "link"):
        raise InputError(f"{path}: has no link {link!r}; it has {', '.join(sorted(_names(root, 'link')))}")


def _require_distinct_names(arm: ElementTree.Element, hand: ElementTree.Element, arm_urdf: Path, hand_urdf: Path) -> None:
    for tag in ("link", "joint"):
        shared = _names(arm, tag) & _names(hand, tag)
        if shared:
            raise InputError(f"{hand_urdf}: {tag} {sorted(shared)[0]!r} is also in {arm_urdf}; rename it in one of them")


def _unique_materials(arm: ElementTree.Element, hand: ElementTree.Element) -> list[ElementTree.Element]:
    materials = {element.get("name"): element for tree in (hand, arm) for element in tree.findall("material")}
    return [deepcopy(element) for element in materials.values()]


def _adapter(mount: HandMount) -> list[ElementTree.Element]:
    """The cylinder between flange and hand, and the joint that fixes it."""
    mass, radius, length = mount.adapter_mass, mount.adapter_radius, mount.adapter_length
    across, along = mass * (3 * radius**2 + length**2) / 12, mass * radius**2 / 2
    shape = f'<origin xyz="0 0 {length / 2}"/><geometry><cylinder radius="{radius}" length="{length}"/></geometry>'
    link = f"""
    <link name="{ADAPTER_LINK}">
      <inertial>
        <origin xyz="0 0 {length / 2}"/><mass value="{mass}"/>
        <inertia ixx="{across}" ixy="0" ixz="0" iyy="{across}" iyz="0" izz="{along}"/>
      </inertial>
      <visual>{shape}</visual>
      <collision>{shape}</collision>
    </link>"""
    return [ElementTree.fromstring(link), _fixed_joint("hand_adapter_mount", mount.flange_link, ADAPTER_LINK, np.eye(4))]


def _fixed_joint(name: str, parent: str, child: str, T_parent_child: np.ndarray) -> ElementTree.Element:
    joint = ElementTree.Element("joint", name=name, type="fixed")
    ElementTree.SubElement(joint, "parent", link=parent)
    ElementTree.SubElement(joint, "child", link=child)
    ElementTree.SubElement(joint, "origin", xyz=_spaced(T_parent_child[:3, 3]), rpy=_spaced(_roll_pitch_yaw(T_parent_child[:3, :3])))
    return joint


def _roll_pitch_yaw(rotation: np.ndarray) -> np.ndarray:
    """URDF's angles, `Rz(yaw) Ry(pitch) Rx(roll)`; roll is 0 where pitch is a right angle and only one of the two is fixed."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if np.cos(pitch) < 1e-7:
        return np.array([0.0, pitch, np.arctan2(-rotation[0, 1], rotation[1, 1])])
    return np.array([np.arctan2(rotation[2, 1], rotation[2, 2]), pitch, np.arctan2(rotation[1, 0], rotation[0, 0])])


def _spaced(vector: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in vector)
