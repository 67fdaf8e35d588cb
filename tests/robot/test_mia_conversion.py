"""Counts, radians and couplings of the Mia hand, against the maker's published pieces and our description of the hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.mia_conversion import (
    count_rate,
    counts_from_radians,
    joint_speed,
    joints_from_motors,
    motor_speed,
    motors_from_joints,
    radians_from_counts,
    reach,
)
from robot.mia_protocol import COUNT_LIMITS, FINGERS, INDEX, MOTORS, THUMB

DESCRIPTION = json.loads((Path(__file__).parents[2] / "grasp_sim" / "assets" / "mia_right.json").read_text())

PUBLISHED_INDEX = {-255: -1.3762, -180: -0.8540, -90: -0.3339, -30: -0.0849, 0: -0.0187, 60: 0.1104, 120: 0.5508, 195: 1.1184, 255: 1.4364}
"""Counts to radians by the pieces of Prensilia's `mia_index_transmission.cpp`, evaluated by hand."""

motor_and_counts = st.sampled_from(MOTORS).flatmap(lambda motor: st.tuples(st.just(motor), st.integers(*COUNT_LIMITS[motor])))
motor_and_radians = st.sampled_from(MOTORS).flatmap(lambda motor: st.tuples(st.just(motor), st.floats(*reach(motor))))


@given(motor_and_counts)
def test_counts_come_back(case):
    motor, counts = case
    assert counts_from_radians(motor, radians_from_counts(motor, counts)) == counts


@given(motor_and_radians)
def test_radians_come_back_within_half_a_count(case):
    motor, radians = case
    counts = counts_from_radians(motor, radians)
    neighbours = [radians_from_counts(motor, counts + step) for step in (-0.5, 0.5)]
    assert neighbours[0] - 1e-9 <= radians <= neighbours[1] + 1e-9


@pytest.mark.parametrize("motor", MOTORS)
def test_more_counts_close_further(motor):
    lowest, highest = COUNT_LIMITS[motor]
    positions = [radians_from_counts(motor, counts) for counts in range(lowest, highest + 1)]
    assert np.all(np.diff(positions) > 0)


def test_the_index_follows_the_published_pieces():
    for counts, radians in PUBLISHED_INDEX.items():
        assert radians_from_counts(INDEX, counts) == pytest.approx(radians, abs=1.2e-3)


def test_thumb_and_fingers_follow_the_published_ratios():
    assert radians_from_counts(THUMB, 210) == pytest.approx(11.3895 * 210 / (64 * 40))
    assert counts_from_radians(THUMB, 0.9343) == round(0.0878 * 2560 * 0.9343)
    assert radians_from_counts(FINGERS, 100) == pytest.approx(7.0074 * 100 / (64 * 20))
    assert counts_from_radians(FINGERS, 1.0) == round(0.14271 * 1280)


@pytest.mark.parametrize("name", MOTORS)
def test_the_description_asks_for_nothing_out_of_reach(name):
    limits = DESCRIPTION["motors"][name]
    for radians in (limits["lower"], limits["upper"]):
        assert radians_from_counts(name, counts_from_radians(name, radians)) == pytest.approx(radians, abs=0.025)
    for template in DESCRIPTION["templates"]:
        for pose in ("open", "closed"):
            radians = template[pose][name]
            assert radians_from_counts(name, counts_from_radians(name, radians)) == pytest.approx(radians, abs=0.01)


@pytest.mark.parametrize(("motor", "radians"), [(THUMB, 1.3), (FINGERS, -0.2), (INDEX, 1.6), (INDEX, -1.6), (INDEX, float("nan"))])
def test_positions_out_of_reach_are_refused(motor, radians):
    with pytest.raises(ValueError, match="cannot go to"):
        counts_from_radians(motor, radians)


def _follow_description(motors):
    """Every joint by the couplings of the description, worked out anew."""
    joints = dict(motors)
    for coupling in DESCRIPTION["couplings"]:
        value = motors[coupling["driver"]]
        value = abs(value) if coupling.get("absolute") else value * coupling.get("multiplier", 1.0) + coupling.get("offset", 0.0)
        joints[coupling["follower"]] = float(np.clip(value, coupling.get("lower", -np.inf), coupling.get("upper", np.inf)))
    return joints


motor_positions = st.fixed_dictionaries({name: st.floats(*reach(name)) for name in MOTORS})


@given(motor_positions)
def test_joints_follow_as_the_description_says(motors):
    assert joints_from_motors(motors) == pytest.approx(_follow_description(motors))


@given(motor_positions.filter(lambda motors: not -0.016 < motors[INDEX] < 0))
def test_motors_come_back_from_joints(motors):
    assert motors_from_joints(joints_from_motors(motors)) == pytest.approx(motors)


def test_a_negative_index_motor_flexes_the_index_and_opposes_the_thumb():
    opposed, adducted = (
        joints_from_motors({THUMB: 0.0, FINGERS: 0.0, INDEX: -1.0}),
        joints_from_motors({THUMB: 0.0, FINGERS: 0.0, INDEX: 1.0}),
    )
    assert opposed[INDEX] == adducted[INDEX] == 1.0
    assert opposed["j_thumb_opp"] == pytest.approx(-0.6083)
    assert adducted["j_thumb_opp"] == pytest.approx(-0.02)


@given(motor_and_counts, st.floats(-90, 90))
def test_speeds_come_back(case, speed):
    motor, counts = case
    assert motor_speed(motor, joint_speed(motor, speed, counts), counts) == pytest.approx(speed, abs=1e-9)


@given(motor_and_counts)
def test_joint_speed_is_the_slope_of_the_positions(case):
    motor, counts = case
    least, most = COUNT_LIMITS[motor]
    counts, step = min(max(counts, least), most - 1) + 0.37, 1e-6
    slope = (radians_from_counts(motor, counts + step) - radians_from_counts(motor, counts)) / step
    assert joint_speed(motor, 40, counts) == pytest.approx(slope * count_rate(40, motor), rel=0.05)


def test_a_turn_every_96_ms_moves_the_thumb_as_the_gears_say():
    assert joint_speed(THUMB, 1, 0) == pytest.approx(2 * np.pi / 0.096 / 2560, rel=1e-3)
    assert joint_speed(FINGERS, 1, 0) == pytest.approx(2 * np.pi / 0.096 / 1280, rel=1e-3)
