"""Hands: the Mia's geometry, masses and couplings against the published numbers; descriptions that are wrong are named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grasp_sim.candidates import find_candidates
from grasp_sim.hands import ASSETS, Hand, available_hands, load_hand
from grasp_sim.mia_urdf import build_mia_left_urdf, build_mia_right_urdf
from grasp_sim.trial import GraspOutcome, try_grasp
from grasp_sim.world import World
from invgraphics.errors import InputError
from invgraphics.grasp import Grasp
from tests.grasp_sim.shapes import make_box, place, translation

# Fingertip centres of Prensilia's model in the palm frame, mm: all joints at 0, and all closed (robot_facts.md).
OPEN_TIPS = {"index": (37, 192, -8), "middle": (6, 197, -12), "ring": (-25, 189, -14), "thumb": (34, 104, 77)}
CLOSED_TIPS = {"index": (16, 112, 62), "middle": (6, 115, 60), "ring": (-10, 116, 55), "thumb": (-1, 141, 20)}
CLOSED_JOINTS = {"j_index_fle": 1.4, "j_mrl_fle": 1.396, "j_ring_fle": 1.396, "j_little_fle": 1.396, "j_thumb_fle": 1.1345}


def tip_in_palm(hand: Hand, finger: str, joints: dict[str, float]) -> np.ndarray:
    contact = hand.contacts[f"{finger}_tip"]
    pose = hand.kinematics.link_poses(joints)[contact.link]
    return 1e3 * (pose[:3, :3] @ contact.position + pose[:3, 3])


@pytest.mark.parametrize(("joints", "tips"), [({}, OPEN_TIPS), (CLOSED_JOINTS, CLOSED_TIPS)], ids=["open", "closed"])
def test_mia_fingertips_are_where_the_published_model_has_them(joints: dict[str, float], tips: dict[str, tuple]) -> None:
    hand = load_hand("mia_right")
    for finger, expected in tips.items():
        np.testing.assert_allclose(tip_in_palm(hand, finger, joints), expected, atol=1.5, err_msg=finger)


def test_simulated_links_are_where_the_kinematics_put_them() -> None:
    hand = load_hand("mia_right")
    motors = {"j_index_fle": -0.7, "j_mrl_fle": 0.9, "j_thumb_fle": 0.5}
    T_world_root = translation(0.1, 0.2, 0.3)
    with World() as world:
        body = world.add_urdf(hand.urdf, T_world_root, fixed=True)
        world.couple_joints(body, hand.couplings)
        world.set_joint_positions(body, motors)
        for link, T_hand_link in hand.link_poses(motors).items():
            np.testing.assert_allclose(world.link_pose(body, link), T_world_root @ hand.T_root_hand @ T_hand_link, atol=1e-5)


def test_mia_weighs_what_it_weighs() -> None:
    with World() as world:
        assert world.mass(world.add_urdf(load_hand("mia_right").urdf, np.eye(4))) == pytest.approx(0.4438, abs=1e-4)


@pytest.mark.parametrize(("index", "flexion", "opposition"), [(0.8, 0.8, -0.02), (-0.3, 0.3, -0.29100), (-1.2, 1.2, -0.6083)])
def test_index_motor_flexes_the_index_and_opposes_the_thumb(index: float, flexion: float, opposition: float) -> None:
    joints = load_hand("mia_right").joint_positions({"j_index_fle": index, "j_mrl_fle": 0.4, "j_thumb_fle": 0.0})
    assert joints["j_index_fle"] == pytest.approx(flexion)
    assert joints["j_thumb_opp"] == pytest.approx(opposition, abs=1e-4)
    assert joints["j_ring_fle"] == joints["j_little_fle"] == pytest.approx(0.4)


def test_mia_couplings_hold_while_a_finger_is_blocked() -> None:
    hand = load_hand("mia_right")
    with World() as world:
        body = world.add_urdf(hand.urdf, translation(0, 0, 0.3), fixed=True)
        world.couple_joints(body, hand.couplings)
        ring = hand.kinematics.link_poses({"j_ring_fle": 0.6})["ring_fle"]
        tip = ring[:3, :3] @ hand.contacts["ring_tip"].position + ring[:3, 3]
        world.add_box((0.006, 0.006, 0.006), translation(tip[0], tip[1] - 0.004, 0.3 + tip[2] + 0.014))
        world.set_joint_targets(body, {"j_mrl_fle": 1.3, "j_index_fle": -1.0})
        world.step(960)
        states = world.joint_states(body)
        motors = world.motor_positions(body)
    assert 0.3 < states["j_ring_fle"].position < 0.9
    assert states["j_mrl_fle"].position == pytest.approx(states["j_ring_fle"].position, abs=0.06)
    assert states["j_little_fle"].position == pytest.approx(states["j_ring_fle"].position, abs=0.06)
    assert states["j_index_fle"].position == pytest.approx(1.0, abs=0.01)
    assert states["j_thumb_opp"].position == pytest.approx(-0.6083, abs=0.01)
    assert motors["j_index_fle"] == pytest.approx(-1.0, abs=0.01)


def test_the_mia_urdfs_in_the_package_are_the_generated_ones() -> None:
    assert (ASSETS / "mia_right.urdf").read_text() == build_mia_right_urdf()
    assert (ASSETS / "mia_left.urdf").read_text() == build_mia_left_urdf()


def test_the_left_mia_is_the_right_ones_mirror_image() -> None:
    left, right = load_hand("mia_left"), load_hand("mia_right")
    motors = {"j_index_fle": -0.7, "j_mrl_fle": 0.9, "j_thumb_fle": 0.5}
    for name in right.contacts:
        points = [(hand.link_poses(motors), hand.contacts[name]) for hand in (left, right)]
        places = [poses[point.link] @ [*point.position, 1.0] for poses, point in points]
        np.testing.assert_allclose(places[0], places[1] * [-1, 1, 1, 1], atol=1e-6, err_msg=name)
    assert [template.name for template in left.templates] == ["cylindrical", "spherical", "tridigital", "pinch", "lateral"]
    assert [(each.opened, each.closed) for each in left.templates] == [(each.opened, each.closed) for each in right.templates]


def test_the_robotiq_has_the_published_stroke_and_parallel_pads() -> None:
    """85 mm (data sheet), from joint places of another source."""
    hand = load_hand("robotiq_2f85")
    closure = hand.closure(hand.templates[0])
    assert closure.width[0] == pytest.approx(0.085, abs=5e-4)
    assert closure.width[-1] == pytest.approx(0.0, abs=1e-3)
    for share in (0.0, 0.5, 1.0):
        poses = hand.link_poses(hand.templates[0].motors_at(share))
        np.testing.assert_allclose(poses["left_pad"][:3, :3], poses["base"][:3, :3], atol=1e-12)


@pytest.mark.parametrize("name", ["mia_left", "mia_right", "robotiq_2f85"])
def test_every_hand_lifts_a_can_sized_box(name: str) -> None:
    hand = load_hand(name)
    objects = [place(make_box(0.05, 0.055, 0.11))]
    found, _ = find_candidates(objects, 0, hand, np.random.default_rng(0), count=8)
    outcomes = [try_grasp(objects, candidate.grasp, hand) for candidate in found[:5]]
    assert outcomes.count(GraspOutcome.SUCCESS) >= 3


def test_parallel_jaw_frame_is_the_contract() -> None:
    """Origin midway between the pads, y the closing direction, the palm behind along -z, 8 cm open."""
    hand = load_hand("parallel_jaw")
    closure = hand.closure(hand.templates[0])
    assert closure.width[0] == pytest.approx(0.08)
    for width in (0.07, 0.03, 0.004):
        share, centre, axis = closure.at_width(width)
        np.testing.assert_allclose(centre, 0, atol=1e-9)
        np.testing.assert_allclose(axis, [0, 1, 0], atol=1e-9)
        motors = hand.templates[0].motors_at(share)
        assert 2 * motors["left_finger_joint"] == pytest.approx(width, abs=1e-6)
        poses = hand.link_poses(motors)
        assert poses["left_finger"][1, 3] == pytest.approx(width / 2) == -poses["right_finger"][1, 3]
    palm = next(shape for shape in hand.kinematics.shapes if shape.link == "palm")
    assert palm.T_link_shape[2, 3] + palm.size[2] == pytest.approx(-0.04)


@pytest.mark.parametrize("name", available_hands())
def test_every_template_closes_steadily(name: str) -> None:
    hand = load_hand(name)
    for template in hand.templates:
        closure = hand.closure(template)
        assert closure.width[0] > 0.015
        assert (np.diff(closure.width) < 0).all()
        assert np.linalg.norm(np.diff(closure.centre, axis=0), axis=1).max() < 0.01
        np.testing.assert_allclose(np.linalg.norm(closure.axis, axis=1), 1, atol=1e-9)


def test_the_thumb_stops_where_it_touches_and_the_fingers_press() -> None:
    hand = load_hand("mia_right")
    template = hand.template("tridigital")
    share, _, _ = hand.closure(template).at_width(0.03)
    targets = template.targets_at(share)
    assert targets["j_thumb_fle"] == pytest.approx(template.motors_at(share)["j_thumb_fle"])
    assert targets["j_thumb_fle"] < template.closed["j_thumb_fle"]
    assert {name: targets[name] for name in ("j_index_fle", "j_mrl_fle")} == {"j_index_fle": 1.25, "j_mrl_fle": 1.25}
    jaw = load_hand("parallel_jaw").templates[0]
    assert jaw.targets_at(0.5) == jaw.closed


def break_description(tmp_path: Path, change) -> Path:
    entries = json.loads((ASSETS / "parallel_jaw.json").read_text())
    change(entries)
    shutil.copy(ASSETS / "parallel_jaw.urdf", tmp_path)
    path = tmp_path / "hand.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_hand_of_ones_own_is_read_from_its_path_or_folder(tmp_path: Path) -> None:
    path = break_description(tmp_path, lambda entries: entries.update(name="my_jaw"))
    assert load_hand(path).name == load_hand(tmp_path).name == "my_jaw"
    shutil.copy(path, tmp_path / "another.json")
    with pytest.raises(InputError, match="holds one description"):
        load_hand(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("motors"), "lacks 'motors'"),
        (lambda entries: entries["contacts"]["left"].update(link="thumb"), "contact left: no link thumb"),
        (lambda entries: entries["couplings"][0].update(follower="j9"), "coupling of j9: no such joint"),
        (lambda entries: entries["templates"][0].update(side_a=["middle"]), "template pinch: its sides name a contact"),
        (lambda entries: entries["templates"][0].update(efforts={"j9": 1.0}), "template pinch: effort of j9"),
        (lambda entries: entries["templates"][0].update(stops=["j9"]), "template pinch: j9 stops"),
        (lambda entries: entries["templates"][0].update(closed={}), "template pinch: it must give every motor"),
        (lambda entries: entries.update(urdf="none.urdf"), "no such URDF file"),
        (lambda entries: entries["motors"]["left_finger_joint"].update(torque=1.0), "unexpected keyword argument 'torque'"),
        (lambda entries: entries.update(friction="high"), "could not convert string to float: 'high'"),
        (lambda entries: entries.update(contacts=[]), "not a hand's description"),
    ],
)
def test_a_wrong_description_is_named(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_hand(break_description(tmp_path, change))


def test_an_unknown_hand_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no hand 'claw': there are mia_left, mia_right, parallel_jaw, robotiq_2f85"):
        load_hand("claw")


@pytest.mark.parametrize("name", available_hands())
def test_the_opening_tells_a_hand_that_holds_something_from_one_whose_sides_press_on_each_other(name: str) -> None:
    hand = load_hand(name)
    for template in hand.templates:
        closure = hand.closure(template)
        width = 0.6 * float(closure.width.max())
        share, _, _ = closure.at_width(width)
        assert hand.opening(template, template.motors_at(share)) == pytest.approx(width, abs=1e-3)
        empty = template.targets_at(share)
        assert hand.opening(template, empty) < 0.5 * width
        preshape = template.motors_at(0.3)
        grasp = Grasp(hand.name, 0, np.eye(4), preshape, empty, width, float("nan"), 0)
        assert hand.template_of(grasp).name == template.name
        strange = replace(grasp, closed={motor: position + 0.01 for motor, position in empty.items()})
        with pytest.raises(InputError, match="no template"):
            hand.template_of(strange)
