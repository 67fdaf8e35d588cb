"""The UR5 with a Mia hand as the one who lifts in `grasp_sim.lifts`: planned around what was seen, carried out on what is there."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grasp_sim.clutter import Table
from grasp_sim.hands import Hand
from grasp_sim.lifts import LiftSettings
from grasp_sim.solids import PlacedSolid
from invgraphics.demo.cell import build_cell, make_twins, select_grasp
from invgraphics.errors import InputError
from invgraphics.grasp import Grasp
from robot.assembly import MOUNTS
from robot.execute import Outcome, execute_pick
from robot.simulated import SimulatedWatch, Simulation

MIDDLE = (0.5, 0.0)
"""Of the table before the arm, x and y in its base frame, metres."""


def check_hand(name: str) -> None:
    """`InputError` where no mount is described that puts such a hand on the arm."""
    if name not in MOUNTS:
        raise InputError(f"--arm ur5 can carry {' or '.join(sorted(MOUNTS))}, not {name}: no other hand's mount is described")


def lift_with_arm(
    table: Table,
    objects: Sequence[PlacedSolid],
    grasps: Sequence[Grasp],
    hand: Hand,
    settings: LiftSettings,
    generator: np.random.Generator,
) -> tuple[str, bool, Grasp | None]:
    """A `Lifter`: the best grasp that the arm can reach, from where it is parked; judged by where the object is at the end."""
    world, (body,) = table.world, table.solids
    with tempfile.TemporaryDirectory() as folder:
        cell = build_cell(Path(folder), hand_name=hand.name)
        selection = select_grasp(objects, grasps, cell, np.eye(4), generator, lambda fraction: None)
        if selection.grasp is None or selection.plan is None:
            reasons = sorted({unreachable.reason.value for _, unreachable in selection.skipped})
            return f"{Outcome.UNREACHABLE.value}: {'; '.join(reasons)}", False, None
        robot = cell.add_to(world, np.eye(4))
        twins = make_twins(Simulation(world), robot, cell, selection.grasp)
        grasp = selection.grasp
        report = execute_pick(selection.plan, grasp.preshape, grasp.closed, twins.arm, twins.hand, SimulatedWatch(world, body))
        world.remove(robot)
    return report.message, report.outcome is Outcome.HELD, grasp
