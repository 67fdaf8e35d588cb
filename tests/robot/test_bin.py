"""The bin: walls and floor fill exactly what is not inside, things dropped into it stay there, and plans let go within it."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from grasp_sim.solids import PlacedSolid, build_solid
from grasp_sim.world import World
from invgraphics.demo.cell import Selection, build_cell, open_planning_world, select_grasp
from invgraphics.errors import InputError
from robot.assembly import MOUNTS
from robot.bin import Bin
from robot.kinematics import forward_kinematics
from tests.grasp_sim.shapes import make_box
from tests.robot.test_execute_command import BOX, grasp_from_above

CRATE = Bin(0.2, 0.45, 0.34, 0.26, 0.07, turn=0.4, wall=0.006, table_height=-0.03)
T_BASE_BOX = np.array([[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, BOX[2] / 2], [0.0, 0.0, 0.0, 1.0]])


def in_plates(points: np.ndarray) -> np.ndarray:
    """How many of the bin's plates each point (bin frame) lies in."""
    return sum((abs(points - middle) < sides / 2).all(axis=-1).astype(int) for sides, middle in CRATE.plates())


def test_every_point_below_the_rim_is_in_one_plate_or_inside() -> None:
    outer = np.array([CRATE.length + 2 * CRATE.wall, CRATE.width + 2 * CRATE.wall, CRATE.height])
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3)) * outer + [0.0, 0.0, outer[2] / 2]
    T = CRATE.T_base_bin
    inside = np.array([CRATE.contains(T[:3, :3] @ point + T[:3, 3]) for point in points])
    np.testing.assert_array_equal(in_plates(points) + inside, 1)
    assert 0.5 < inside.mean() < 0.95


def test_no_two_plates_overlap() -> None:
    for (sides_a, middle_a), (sides_b, middle_b) in combinations(CRATE.plates(), 2):
        assert (abs(middle_a - middle_b) >= (sides_a + sides_b) / 2 - 1e-12).any()


def test_a_margin_makes_the_walls_thicker_to_both_sides_and_higher_and_the_floor_no_thicker() -> None:
    (floor, _), *walls = CRATE.plates()
    (same_floor, _), *thicker = CRATE.plates(margin=0.008)
    np.testing.assert_array_equal(floor, same_floor)
    for (sides, middle), (more, same) in zip(walls, thicker, strict=True):
        thin = int(np.argmin(sides))
        assert more[thin] == pytest.approx(sides[thin] + 0.016)
        assert same[thin] == pytest.approx(middle[thin])
        assert same[2] + more[2] / 2 == pytest.approx(CRATE.height + 0.008)


def test_what_stands_in_the_way_of_the_bin_meets_it() -> None:
    corner = CRATE.T_base_bin @ np.array([CRATE.length / 2 + 0.004, CRATE.width / 2 + 0.004, 0.02, 1.0])
    assert CRATE.meets(corner[:3])
    assert not CRATE.meets(corner[:3] + np.array([0.0, 0.0, CRATE.height]))
    assert not CRATE.meets((CRATE.T_base_bin @ np.array([CRATE.length / 2 + 0.008, 0.0, 0.02, 1.0]))[:3])


def test_a_box_that_is_dropped_into_it_comes_to_rest_on_its_floor_and_within_its_walls(tmp_path: Path) -> None:
    cell = build_cell(tmp_path, bin_=CRATE)
    with World() as world:
        world.add_plane(height=CRATE.table_height)
        body = cell.add_bin_to(world, np.eye(4))
        T = CRATE.T_base_bin @ np.array([[1, 0, 0, 0.13], [0, 1, 0, -0.09], [0, 0, 1, 0.12], [0, 0, 0, 1.0]])
        box = world.add_box([0.02, 0.02, 0.03], T, mass=0.1)
        world.settle([box])
        assert world.touching(box) == {body}
        corners = np.array([[x, y, z, 1.0] for x in (-0.02, 0.02) for y in (-0.02, 0.02) for z in (-0.03, 0.03)])
        points = (corners @ world.pose(box).T)[:, :3]
        assert CRATE.contains(points, tolerance=1e-3)
        assert points[:, 2].min() == pytest.approx(CRATE.table_height + CRATE.wall, abs=1e-3)


def test_letting_go_begins_at_the_floor_and_ends_below_the_rim() -> None:
    drops = list(CRATE.drops())
    assert drops[0] == 0.0
    assert drops == sorted(drops)
    assert CRATE.wall + drops[-1] < CRATE.height
    assert Bin.of(CRATE.describe()) == CRATE


@pytest.mark.parametrize(
    ("sizes", "message"), [({"length": 0.0}, "must lie above 0"), ({"height": 0.012}, "no walls"), ({"x": np.nan}, "0.34")]
)
def test_what_is_no_bin_is_refused(sizes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CRATE, **sizes)


def select(bin_: Bin, folder: Path) -> Selection:
    """The grasp of a box from above, with its way into the bin."""
    item = PlacedSolid(build_solid(make_box(*BOX)), T_BASE_BOX, "box")
    grasp = grasp_from_above()
    T_base_hand = grasp.T_world_hand.copy()
    T_base_hand[0, 3] += 0.5
    cell = build_cell(folder, bin_=bin_)
    return select_grasp(
        [item], [replace(grasp, T_world_hand=T_base_hand)], cell, np.eye(4), np.random.default_rng(0), lambda fraction: None
    )


def test_the_plan_lets_go_within_the_walls_and_touches_none_of_them(tmp_path: Path) -> None:
    """Judged by a world of its own, in which the object is carried by the arithmetic of this test."""
    bin_ = replace(CRATE, table_height=0.0)
    chosen = select(bin_, tmp_path)
    assert chosen.place is not None, chosen.skipped
    assert chosen.place.bin == bin_
    q_grasp, q_down = chosen.plan.lift.positions[0], chosen.place.retreat.positions[0]
    T_end = forward_kinematics(q_down) @ np.linalg.inv(forward_kinematics(q_grasp)) @ T_BASE_BOX
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * np.array(BOX) / 2
    points = corners @ T_end[:3, :3].T + T_end[:3, 3]
    assert bin_.contains(points, tolerance=1e-4)
    assert points[:, 2].min() < bin_.height - 0.009
    item = PlacedSolid(build_solid(make_box(*BOX)), T_BASE_BOX, "box")
    cell = build_cell(tmp_path)
    with open_planning_world([item], cell, np.eye(4)) as planning:
        body = replace(cell, bin=bin_).add_bin_to(planning.world, np.eye(4))
        planning.pose_hand(chosen.grasp.preshape)
        for q in [*chosen.place.carry.positions[::10], *chosen.place.lower.positions[::10], *chosen.place.retreat.positions[::10]]:
            assert planning.checker.collision(q, ignoring=planning.bodies) is None
            assert not planning.world.near(planning.robot, body, 0.002)


@pytest.mark.parametrize("hand", sorted(MOUNTS))
def test_an_arm_with_a_hand_does_not_press_on_itself(hand: str, tmp_path: Path) -> None:
    """Neighbouring fingers, and the adapter between flange and palm, overlap; as contacts they would give kilonewtons."""
    with World() as world:
        robot = build_cell(tmp_path, hand_name=hand).add_to(world, np.eye(4))
        world.step(20)
        assert not world.contacts(robot)


def test_a_bin_too_small_for_the_object_is_no_place(tmp_path: Path) -> None:
    chosen = select(Bin(0.2, 0.45, 0.1, 0.1, 0.07), tmp_path)
    assert chosen.place is None
    assert "free place" in chosen.skipped[0][1].message
