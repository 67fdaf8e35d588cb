"""Six axis forces: a firm grasp holds, a slippery one does not, and a hand inside or beside the object is told apart."""

from dataclasses import replace

import numpy as np
import pytest

from grasp_sim.forces import ForceOutcome, ForceSettings, withstand_forces
from grasp_sim.hands import load_hand
from grasp_sim.solids import PlacedSolid
from invgraphics.grasp import Grasp
from tests.grasp_sim.shapes import make_box, place

JAW = load_hand("parallel_jaw")
(TEMPLATE,) = JAW.templates
WIDTH, OPENED = 0.04, 0.06


def cube() -> PlacedSolid:
    return place(make_box(WIDTH, WIDTH, WIDTH))


def grasp_at(x: float = 0.0, y: float = 0.0, z: float = 0.02) -> Grasp:
    """From above, closing along y, about a point of the cube whose middle is at (0, 0, 0.02)."""
    closure = JAW.closure(TEMPLATE)
    share, centre, _ = closure.at_width(OPENED)
    T = np.eye(4)
    T[:3, :3] = np.diag([1.0, -1.0, -1.0])
    T[:3, 3] = np.array([x, y, z]) - T[:3, :3] @ centre
    return Grasp(JAW.name, 0, T, TEMPLATE.motors_at(share), dict(TEMPLATE.closed), WIDTH, float("nan"), 0)


def test_a_firm_grasp_holds_against_all_six() -> None:
    test = withstand_forces(cube(), grasp_at(), JAW)
    assert test.succeeded
    assert test.shift < 0.005
    assert test.turn < np.deg2rad(5)
    assert test.overlap <= 0


def test_what_is_held_too_weakly_slides_out() -> None:
    violent = replace(ForceSettings(), pull=1000.0)
    test = withstand_forces(cube(), grasp_at(), JAW, violent)
    assert test.outcome is ForceOutcome.MOVED
    assert test.shift >= 0.05 or test.turn >= np.deg2rad(15)


@pytest.mark.parametrize(
    ("grasp", "outcome"),
    [(grasp_at(y=0.025), ForceOutcome.PENETRATES), (grasp_at(x=0.06), ForceOutcome.NO_CONTACT)],
)
def test_a_hand_in_the_object_or_beside_it_is_told(grasp: Grasp, outcome: ForceOutcome) -> None:
    test = withstand_forces(cube(), grasp, JAW)
    assert test.outcome is outcome
    assert (test.shift, test.turn) == (None, None)
    assert (test.overlap > 0.01) == (outcome is ForceOutcome.PENETRATES)
