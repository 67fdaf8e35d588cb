"""Motors with gears: full speed when free, standing still at their limit, giving way well beyond it."""

import pytest

from grasp_sim.drives import Coupling, Drive

STEP = 1 / 240


def advance(load: float) -> float:
    """Share of its full speed at which a motor moves on under a share of its effort limit, its joint following closely."""
    motor = Drive({"finger": Coupling("finger", "finger")}, target=1.0, command=0.2, effort=2.0, velocity=3.0)
    motor.advance({"finger": 0.2}, {"finger": load * 2.0}, STEP)
    return (motor.command - 0.2) / (3.0 * STEP)


@pytest.mark.parametrize(("load", "speed"), [(0.0, 1.0), (0.5, 1.0), (0.93, 0.5), (0.98, 0.0), (1.0, 0.0), (1.05, 0.0)])
def test_a_motor_slows_down_near_its_limit_and_stalls_at_it(load: float, speed: float) -> None:
    assert advance(load) == pytest.approx(speed, abs=1e-9)


def test_a_motor_that_is_overloaded_gives_way() -> None:
    assert advance(1.3) == pytest.approx(-1.0)
    assert -1.0 < advance(1.1) < 0.0


def test_a_motor_waits_for_its_slowest_joint() -> None:
    joints = {"one": Coupling("one", "one"), "other": Coupling("other", "one")}
    motor = Drive(joints, target=1.0, command=0.5, effort=2.0, velocity=3.0)
    motor.advance({"one": 0.5, "other": 0.3}, {"one": 0.0, "other": 0.0}, STEP)
    assert motor.command < 0.5
