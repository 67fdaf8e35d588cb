"""The UR5's URDF against the published numbers and the kinematics; arm and hand as one body."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from grasp_sim.hands import load_hand
from grasp_sim.world import World
from invgraphics.errors import InputError
from robot.assembly import MIA_RIGHT_MOUNT, MOUNTS, UR5_URDF, HandMount, build_arm_with_hand, load_mount
from robot.kinematics import JOINT_NAMES, UR5_LIMITS, forward_kinematics
from robot.simulated import ARM_LINKS

HAND = """<robot name="claw">
  <link name="palm"><inertial><mass value="0.3"/><inertia ixx="1e-4" ixy="0" ixz="0" iyy="1e-4" iyz="0" izz="1e-4"/></inertial></link>
  <joint name="j_thumb" type="revolute"><parent link="palm"/><child link="thumb"/><origin xyz="0.01 0.02 0.03"/><axis xyz="0 0 1"/>
    <limit lower="0" upper="1" effort="1" velocity="1"/></joint>
  <link name="thumb"><inertial><mass value="0.1"/><inertia ixx="1e-5" ixy="0" ixz="0" iyy="1e-5" iyz="0" izz="1e-5"/></inertial>
    <visual><geometry><mesh filename="thumb.obj"/></geometry></visual></link>
</robot>"""

MASSES = {"base": 4.0, "shoulder": 3.7, "upper_arm": 8.393, "forearm": 2.33, "wrist_1": 1.219, "wrist_2": 1.219, "wrist_3": 0.1879}
"""Kilograms: the published table."""
CENTRES = {
    "shoulder": (0, -0.00193, -0.02561),
    "upper_arm": (-0.2125, 0, 0.11336),
    "forearm": (-0.24225, 0, 0.0265),
    "wrist_1": (0, -0.01634, -0.0018),
    "wrist_2": (0, 0.01634, -0.0018),
    "wrist_3": (0, 0, -0.001159),
}


@pytest.fixture
def hand_urdf(tmp_path: Path) -> Path:
    path = tmp_path / "hand.urdf"
    path.write_text(HAND)
    (tmp_path / "thumb.obj").write_text("v 0 0 0\nv 0.01 0 0\nv 0 0.01 0\nf 1 2 3\n")
    return path


def test_the_urdf_holds_the_published_masses_centres_and_limits() -> None:
    robot = ElementTree.parse(UR5_URDF).getroot()
    for name, mass in MASSES.items():
        inertial = robot.find(f"link[@name='{name}_link']/inertial")
        assert float(inertial.find("mass").get("value")) == mass
        if name in CENTRES:
            np.testing.assert_allclose([float(x) for x in inertial.find("origin").get("xyz").split()], CENTRES[name])
    for joint, effort, upper in zip(JOINT_NAMES, UR5_LIMITS.effort, UR5_LIMITS.upper, strict=True):
        limit = robot.find(f"joint[@name='{joint}']/limit")
        assert float(limit.get("effort")) == effort
        np.testing.assert_allclose([-float(limit.get("lower")), float(limit.get("upper"))], upper)
        np.testing.assert_allclose(float(limit.get("velocity")), np.pi)


def test_every_inertia_is_one_that_a_body_can_have() -> None:
    for link in MASSES:
        inertia = ElementTree.parse(UR5_URDF).getroot().find(f"link[@name='{link}_link']/inertial/inertia")
        x, y, z = sorted(float(inertia.get(axis)) for axis in ("ixx", "iyy", "izz"))
        assert x > 0
        assert x + y >= z


def test_the_urdf_moves_as_the_kinematics_say() -> None:
    with World() as world:
        body = world.add_urdf(UR5_URDF, np.eye(4), fixed=True)
        for q in np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 6)):
            world.set_joint_positions(body, dict(zip(JOINT_NAMES, q.tolist(), strict=True)))
            np.testing.assert_allclose(world.link_pose(body, "tool0"), forward_kinematics(q), atol=1e-6)


def test_arm_links_are_those_of_the_urdf_from_the_base_on() -> None:
    with World() as world:
        body = world.add_urdf(UR5_URDF, np.eye(4), fixed=True)
        assert world.link_names(body) == (*ARM_LINKS, "tool0")


def test_the_hand_sits_on_the_flange_as_the_mount_says(hand_urdf: Path, tmp_path: Path) -> None:
    mount = load_mount(MIA_RIGHT_MOUNT)
    path = tmp_path / "both.urdf"
    path.write_text(build_arm_with_hand(UR5_URDF, hand_urdf, mount))
    q = np.array([0.3, -1.2, 1.4, -0.9, 0.7, 0.2])
    with World() as world:
        body = world.add_urdf(path, np.eye(4), fixed=True)
        assert set(world.joint_limits(body)) == {*JOINT_NAMES, "j_thumb"}
        moving = sum(MASSES.values()) - MASSES["base"]
        assert world.mass(body) == pytest.approx(moving + 0.4 + mount.adapter_mass)
        world.set_joint_positions(body, dict(zip(JOINT_NAMES, q.tolist(), strict=True)))
        np.testing.assert_allclose(world.link_pose(body, "palm"), forward_kinematics(q) @ mount.T_flange_hand, atol=1e-6)


def test_the_mia_points_its_fingers_away_from_the_flange_as_its_maker_mounts_it() -> None:
    T = load_mount(MIA_RIGHT_MOUNT).T_flange_hand
    np.testing.assert_allclose(T[:3, :3], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-8)
    published = np.eye(4)
    published[:3, 3] = [0, -0.022566, -0.000111]
    published[:3, :3] = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # roll -90, pitch -90 degrees
    np.testing.assert_allclose(T @ published, np.eye(4), atol=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_the_left_hand_sits_as_the_mirror_image_of_the_right_one(share: float) -> None:
    """Every place that touches, in the flange's frame, mirrored in its x-z plane."""
    mirrored = []
    for name in ("mia_right", "mia_left"):
        hand, mount = load_hand(name), load_mount(MOUNTS[name])
        T_flange_hand = mount.T_flange_hand @ hand.T_root_hand
        links = hand.link_poses(hand.template("tridigital").motors_at(share))
        mirrored.append({key: (T_flange_hand @ links[each.link] @ [*each.position, 1.0])[:3] for key, each in hand.contacts.items()})
    right, left = mirrored
    assert right.keys() == left.keys()
    for key, point in right.items():
        np.testing.assert_allclose(left[key], point * [1.0, -1.0, 1.0], atol=2e-4, err_msg=key)
    assert abs(right["thumb_tip"][1]) > 0.01, "the thumb's side tells the hands apart"


@pytest.mark.parametrize("rpy", [(0.3, -0.4, 2.0), (0.0, np.pi / 2, 0.7), (1.0, -np.pi / 2, 0.0), (np.pi, 0.2, -np.pi)])
def test_any_mount_rotation_survives_the_file(hand_urdf: Path, tmp_path: Path, rpy: tuple[float, float, float]) -> None:
    from scipy.spatial.transform import Rotation

    T_flange_hand = np.eye(4)
    T_flange_hand[:3, :3] = Rotation.from_euler("xyz", rpy).as_matrix()
    path = tmp_path / "both.urdf"
    path.write_text(build_arm_with_hand(UR5_URDF, hand_urdf, HandMount("tool0", "palm", T_flange_hand, 0.03, 0.03, 0.1)))
    with World() as world:
        body = world.add_urdf(path, np.eye(4), fixed=True)
        expected = world.link_pose(body, "tool0") @ T_flange_hand
        np.testing.assert_allclose(world.link_pose(body, "palm"), expected, atol=1e-6)


def test_mesh_paths_become_absolute(hand_urdf: Path) -> None:
    both = ElementTree.fromstring(build_arm_with_hand(UR5_URDF, hand_urdf, load_mount(MIA_RIGHT_MOUNT)))
    assert [mesh.get("filename") for mesh in both.iter("mesh")] == [str(hand_urdf.parent.resolve() / "thumb.obj")]


def test_what_does_not_fit_is_said(hand_urdf: Path, tmp_path: Path) -> None:
    mount = load_mount(MIA_RIGHT_MOUNT)
    with pytest.raises(InputError, match="has no link 'wrist'"):
        build_arm_with_hand(UR5_URDF, hand_urdf, HandMount("tool0", "wrist", np.eye(4), 0.03, 0.03, 0.1))
    with pytest.raises(InputError, match="is also in"):
        build_arm_with_hand(UR5_URDF, UR5_URDF, HandMount("tool0", "base_link", np.eye(4), 0.03, 0.03, 0.1))
    broken = tmp_path / "broken.urdf"
    broken.write_text("<robot>")
    with pytest.raises(InputError, match="not a URDF file"):
        build_arm_with_hand(UR5_URDF, broken, mount)
    incomplete = tmp_path / "mount.json"
    incomplete.write_text('{"rpy_rad": [0, 0, 0]}')
    with pytest.raises(InputError, match="lacks 'xyz_m'"):
        load_mount(incomplete)
