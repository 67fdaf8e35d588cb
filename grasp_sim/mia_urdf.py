"""Writes the URDFs of the Prensilia Mia hands: `python -m grasp_sim.mia_urdf` renews the files in `assets/`.

Joint origins, limits, masses, centres of gravity and inertias are Prensilia's (github.com/Prensilia-srl/mia_hand_ros_pkgs-release,
BSD). The collision shapes are primitives of the sizes that it states; where along a finger they sit is fitted to the fingertip centres
of that model, open and closed. `j_index_fle` is the flexion itself (0 to 1.4 rad); the motor's sign, which only chooses whether the
thumb opposes, lives in the hand's description.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

Vector = tuple[float, float, float]
_ZERO: Vector = (0.0, 0.0, 0.0)
FINGER_FRICTION = 1.0


@dataclass(frozen=True)
class _Link:
    name: str
    mass: float
    centre: Vector
    inertia: Vector
    shapes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Joint:
    name: str
    parent: str
    child: str
    xyz: Vector
    rpy: Vector
    limits: tuple[float, float, float, float] | None = None
    """Lower, upper (rad), effort (Nm), velocity (rad/s); None for a fixed joint."""
    damping: float = 0.0


@dataclass(frozen=True)
class _Finger:
    """A bent finger in the x-y plane of its flexion frame: joint, knuckle, tip centre (metres); radii of both segments and the tip."""

    knuckle: tuple[float, float]
    tip: Vector
    radii: tuple[float, float, float]


_FINGERS = {
    "index_fle": _Finger((-0.001, 0.034), (-0.0211, 0.0812, 0.0003), (0.0085, 0.0075, 0.0075)),
    "middle_fle": _Finger((-0.001, 0.034), (-0.0201, 0.0820, 0.0009), (0.0085, 0.0075, 0.0075)),
    "ring_fle": _Finger((-0.001, 0.032), (-0.0180, 0.0768, -0.0004), (0.0085, 0.0075, 0.0075)),
    "little_fle": _Finger((-0.001, 0.027), (-0.0167, 0.0648, -0.0001), (0.0075, 0.0068, 0.0068)),
    "thumb_fle": _Finger((0.0120, 0.033), (0.0154, 0.0699, -0.0007), (0.0115, 0.0100, 0.0095)),
}
_FINGER_LIMITS = (0.0, 1.39626, 1.75, 3.14)
_SENSOR_OFFSET = (-0.001, 0.034, 0.0)


def build_mia_right_urdf() -> str:
    """The right hand: root link `palm`, +y to the fingers, +z out of the palm, +x to the thumb's side."""
    parts = [_link_xml(link) for link in _links()] + [_joint_xml(joint) for joint in _joints()]
    return '<?xml version="1.0"?>\n<robot name="mia_right">\n' + "".join(parts) + "</robot>\n"


def build_mia_left_urdf() -> str:
    """The left hand: the right one's mirror image in the palm's y-z plane, +x still to the right of the palm, joints turning alike.

    Every frame is mirrored together with its own x axis, so that it stays right-handed; that turns the sense of the joints' z axes.
    """
    robot = ElementTree.fromstring(build_mia_right_urdf())
    robot.set("name", "mia_left")
    for origin in robot.iter("origin"):
        x, y, z = (float(part) for part in origin.get("xyz").split())
        origin.set("xyz", _numbers((-x, y, z)))
        if origin.get("rpy") is not None:
            roll, pitch, yaw = (float(part) for part in origin.get("rpy").split())
            origin.set("rpy", _numbers((roll, -pitch, -yaw)))
    for axis in robot.iter("axis"):
        axis.set("xyz", "0 0 -1")
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def _links() -> tuple[_Link, ...]:
    upper = _box_xml((0.0726, 0.0475, 0.0333), (0.0, 0.0885, -0.0190))
    lower = _box_xml((0.0624, 0.0564, 0.0286), (0.0, 0.0366, -0.0160))
    shapes = {name: _finger_shapes(finger) for name, finger in _FINGERS.items()}
    return (
        _Link("palm", 0.274, (0.00268, 0.0671, -0.016), (3.01e-4, 1.30e-4, 3.43e-4), (upper, lower)),
        _Link("index_fle", 0.0113, (-0.00042, 0.00731, 0.00012), (1.486e-6, 2e-7, 8.31e-7), shapes["index_fle"]),
        _Link("index_sensor", 0.0132, (0.00034, 0.02681, 0.00048), (4.063e-6, 1.01e-6, 4.81e-6)),
        _Link("middle_fle", 0.0123, (-0.00006, 0.0065, -0.0002), (9.81e-7, 2.03e-7, 9.33e-7), shapes["middle_fle"]),
        _Link("middle_sensor", 0.0132, (-0.00375, 0.02533, 0.00008), (4.326e-6, 7.47e-7, 4.82e-6)),
        _Link("ring_fle", 0.0263, (-0.00112, 0.0264, 0.0002), (1.577e-5, 9.02e-7, 1.61e-5), shapes["ring_fle"]),
        _Link("little_fle", 0.0207, (-0.00155, 0.0208, -0.00004), (7.686e-6, 6.52e-7, 7.9e-6), shapes["little_fle"]),
        _Link("thumb_opp", 0.013, (0.00026, 0.00762, 0.00122), (1.12e-6, 1.2e-7, 1.15e-6)),
        _Link("thumb_sensor", 0.000643, _ZERO, (1e-8, 1e-8, 1e-8)),
        _Link("thumb_fle", 0.0592, (0.01277, 0.0295, 0.00017), (4e-5, 3e-6, 4.1e-5), shapes["thumb_fle"]),
    )


def _joints() -> tuple[_Joint, ...]:
    index_origin = (0.026305504, 0.11021702, -0.021520771)
    middle_origin = (0.00514942, 0.113555029, -0.024345273)
    ring_origin = (-0.012250358, 0.112028912, -0.023936352)
    little_origin = (-0.027859999, 0.107325219, -0.020605115)
    opp_origin = (0.013073999, 0.068108179, -0.001949422)
    index_rpy = (-0.596919358, 1.415553689, -0.749806523)
    middle_rpy = (-1.570794106, 1.483529925, -1.570793986)
    ring_rpy = (1.150808096, 1.681244493, 1.321779966)
    little_rpy = (1.278342605, 1.775918841, 1.627186179)
    opp_rpy = (1.43719089, 0.369162768, 0.318591952)
    thumb_rpy = (-1.570600271, -1.132572651, 1.570515633)
    return (
        _Joint("j_index_fle", "palm", "index_fle", index_origin, index_rpy, (0.0, 1.4, 1.75, 3.14), 0.1),
        _Joint("j_index_sensor", "index_fle", "index_sensor", _SENSOR_OFFSET, _ZERO),
        _Joint("j_mrl_fle", "palm", "middle_fle", middle_origin, middle_rpy, _FINGER_LIMITS, 0.1),
        _Joint("j_middle_sensor", "middle_fle", "middle_sensor", _SENSOR_OFFSET, _ZERO),
        _Joint("j_ring_fle", "palm", "ring_fle", ring_origin, ring_rpy, _FINGER_LIMITS, 0.1),
        _Joint("j_little_fle", "palm", "little_fle", little_origin, little_rpy, _FINGER_LIMITS, 0.1),
        _Joint("j_thumb_opp", "palm", "thumb_opp", opp_origin, opp_rpy, (-0.628319, 0.0, 3.5, 4.0), 0.2),
        _Joint("j_thumb_sensor", "thumb_opp", "thumb_sensor", (-5.9e-6, 0.008997655, 2.5e-6), _ZERO),
        _Joint(
            "j_thumb_fle", "thumb_sensor", "thumb_fle", (-2.7e-5, 0.008989773, -1.05e-5), thumb_rpy, (0.0, 1.1345, 3.5, 1.57), 0.1
        ),
    )  # fmt: skip


def _finger_shapes(finger: _Finger) -> tuple[str, ...]:
    """Two cylinders along joint - knuckle - tip and the sphere of the tip; a sphere at the knuckle closes the bend."""
    joint, knuckle, tip = np.zeros(3), np.array([*finger.knuckle, finger.tip[2] / 2]), np.array(finger.tip)
    first, second, end = finger.radii
    return (
        _cylinder_xml(joint, knuckle, first),
        _sphere_xml(knuckle, first),
        _cylinder_xml(knuckle, tip, second),
        _sphere_xml(tip, end),
    )


def _cylinder_xml(start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"], radius: float) -> str:
    along = end - start
    length = float(np.linalg.norm(along))
    rotation, _ = Rotation.align_vectors(along[None] / length, np.array([[0.0, 0.0, 1.0]]))
    rpy = rotation.as_euler("xyz")
    return _shape_xml((start + end) / 2, rpy, f'<cylinder radius="{radius:.6g}" length="{length:.6g}"/>')


def _sphere_xml(centre: Float[np.ndarray, "3"], radius: float) -> str:
    return _shape_xml(centre, _ZERO, f'<sphere radius="{radius:.6g}"/>')


def _box_xml(size: Vector, centre: Vector) -> str:
    return _shape_xml(centre, _ZERO, f'<box size="{_numbers(size)}"/>')


def _shape_xml(centre: Vector | np.ndarray, rpy: Vector | np.ndarray, geometry: str) -> str:
    origin = f'<origin xyz="{_numbers(centre)}" rpy="{_numbers(rpy)}"/>'
    shape = f"{origin}<geometry>{geometry}</geometry>"
    visual = f'    <visual>{shape}<material name="grey"><color rgba="0.25 0.25 0.28 1"/></material></visual>\n'
    return f"{visual}    <collision>{shape}</collision>\n"


def _link_xml(link: _Link) -> str:
    ixx, iyy, izz = link.inertia
    inertia = f'<inertia ixx="{ixx:g}" ixy="0" ixz="0" iyy="{iyy:g}" iyz="0" izz="{izz:g}"/>'
    inertial = f'    <inertial><origin xyz="{_numbers(link.centre)}"/><mass value="{link.mass:g}"/>{inertia}</inertial>\n'
    contact = f'    <contact><lateral_friction value="{FINGER_FRICTION}"/></contact>\n'
    return f'  <link name="{link.name}">\n{inertial}{contact}{"".join(link.shapes)}  </link>\n'


def _joint_xml(joint: _Joint) -> str:
    kind = "fixed" if joint.limits is None else "revolute"
    lines = [
        f'  <joint name="{joint.name}" type="{kind}">',
        f'    <parent link="{joint.parent}"/><child link="{joint.child}"/>',
        f'    <origin xyz="{_numbers(joint.xyz)}" rpy="{_numbers(joint.rpy)}"/>',
    ]
    if joint.limits is not None:
        lower, upper, effort, velocity = joint.limits
        lines.append('    <axis xyz="0 0 1"/>')
        lines.append(f'    <limit lower="{lower:g}" upper="{upper:g}" effort="{effort:g}" velocity="{velocity:g}"/>')
        lines.append(f'    <dynamics damping="{joint.damping:g}"/>')
    return "\n".join([*lines, "  </joint>\n"])


def _numbers(values: Vector | np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in np.asarray(values) + 0.0)


if __name__ == "__main__":
    (Path(__file__).parent / "assets" / "mia_right.urdf").write_text(build_mia_right_urdf())
    (Path(__file__).parent / "assets" / "mia_left.urdf").write_text(build_mia_left_urdf())
