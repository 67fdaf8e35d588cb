"""The motions of one pick and place, slowed to what is allowed, and everything that is checked of them before anything moves."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from grasp_sim.solids import PlacedSolid
from invgraphics.demo.cell import PlanningWorld, Selection, open_planning_world, select_grasp
from invgraphics.errors import InputError
from invgraphics.execution.setup import Setup
from invgraphics.grasp import Grasp
from robot.guards import Check, Motion, check_collision, check_motions
from robot.kinematics import UR5_LIMITS, JointLimits, forward_kinematics
from robot.motion import CollisionChecker, MotionSettings, PickPlan, PlacePlan, Unreachable
from robot.place import NEAR_FLOOR
from robot.trajectory import Trajectory

_Plan = TypeVar("_Plan", PickPlan, PlacePlan)

_LEAST_MANIPULABILITY = 0.004
"""|det J| in m^3; the largest of a UR5 is about 0.1."""


@dataclass(frozen=True)
class ExecutionPlan:
    """What the arm and the hand are to do."""

    grasp: Grasp
    """`T_world_hand` in the arm's base frame."""
    target: PlacedSolid
    pick: PickPlan
    place: PlacePlan
    limits: JointLimits
    """The joints' limits at the allowed speed, for motions that are timed anew on the way."""
    checks: tuple[Check, ...]
    skipped: tuple[tuple[Grasp, Unreachable], ...]
    """Better grasps that cannot be carried out."""

    @property
    def passed(self) -> bool:
        """Whether every check was passed."""
        return all(check.passed for check in self.checks)

    @property
    def motions(self) -> tuple[tuple[str, Trajectory], ...]:
        """In their order, with what each is for."""
        pick, place = self.pick, self.place
        return (
            ("reach the pre-grasp", pick.reach),
            ("move in", pick.approach),
            ("lift", pick.lift),
            ("carry", place.carry),
            ("lower", place.lower),
            ("move out", place.retreat),
            ("go home", place.home),
        )


def plan_execution(setup: Setup, seed: int, progress: Callable[[float], None]) -> ExecutionPlan:
    """The best grasp that the arm can do, with a place for the object; raises `InputError` with the reasons where it can do none."""
    limits = UR5_LIMITS.slowed(setup.speed.joint_share)
    T_world_base = np.eye(4)
    T_world_base[2, 3] = -setup.table_height
    objects = tuple(replace(item, T_world_body=T_world_base @ item.T_world_body) for item in setup.objects)
    grasps = [replace(grasp, T_world_hand=T_world_base @ grasp.T_world_hand) for grasp in setup.grasps]
    generator, settings = np.random.default_rng(seed), MotionSettings(limits=limits)
    selection = select_grasp(objects, grasps, setup.cell, T_world_base, generator, progress, settings, setup.spots)
    if selection.grasp is None or selection.plan is None or selection.place is None:
        raise InputError(f"the arm can do none of the {len(grasps)} grasps: {_count_reasons(selection)}")
    slowed = _slow_down(setup, selection.plan), _slow_down(setup, selection.place)
    with open_planning_world(objects, setup.cell, T_world_base) as world:
        checks = _check(setup, selection.grasp, *slowed, world)
    chosen = next(each for each, raised in zip(setup.grasps, grasps, strict=True) if raised is selection.grasp)
    skipped = tuple((setup.grasps[k], reason) for k, (_, reason) in enumerate(selection.skipped))
    return ExecutionPlan(chosen, setup.objects[chosen.object_index], *slowed, limits, tuple(checks), skipped)


def leave_out(setup: Setup, plan: ExecutionPlan) -> Setup:
    """Without the grasp of a plan that failed and without those that cannot be done; those of other objects come first."""
    failed = [plan.grasp, *(grasp for grasp, _ in plan.skipped)]
    left = [each for each in setup.grasps if not any(np.allclose(each.T_world_hand, other.T_world_hand) for other in failed)]
    left.sort(key=lambda each: each.object_index == plan.grasp.object_index)
    return replace(setup, grasps=tuple(left))


def describe_plan(plan: ExecutionPlan, setup: Setup) -> dict[str, object]:
    """What `plan.json` says."""
    motions = {
        name: {"seconds": each.duration, "q_from": each.positions[0].tolist(), "q_to": each.positions[-1].tolist()}
        for name, each in plan.motions
    }
    return {
        "hand": plan.grasp.hand,
        "object": plan.target.name,
        "T_base_hand": plan.grasp.T_world_hand.tolist(),
        "predicted_success": plan.grasp.success_rate,
        "goal_m": plan.place.goal.tolist(),
        "bin": None if plan.place.bin is None else plan.place.bin.describe(),
        "speed_share": setup.speed.joint_share,
        "tool_speed_m_s": setup.speed.tool,
        "motions": motions,
        "checks": [{"name": check.name, "passed": check.passed, "found": check.words} for check in plan.checks],
        "skipped": [unreachable.message for _, unreachable in plan.skipped],
        "remarks": list(setup.remarks),
    }


def _slow_down(setup: Setup, plan: _Plan) -> _Plan:
    """Every trajectory of a plan within the allowed speed of the tool, too."""
    trajectories = {each.name: getattr(plan, each.name) for each in fields(plan) if isinstance(getattr(plan, each.name), Trajectory)}
    return replace(plan, **{name: setup.speed.slow_down(each, UR5_LIMITS) for name, each in trajectories.items()})


def _check(setup: Setup, grasp: Grasp, pick: PickPlan, place: PlacePlan, world: PlanningWorld) -> list[Check]:
    """The whole sequence, what is held while it is lowered, and the way home from the end of the lift with nothing in the hand."""
    body = world.bodies[grasp.object_index]
    target = frozenset({body})
    world.pose_hand(grasp.preshape)
    held = Motion("lower what is held", place.lower, target, straight=True, free_until=_share_above(place, NEAR_FLOOR))
    empty = Motion("go home empty", place.give_up, target)

    def checker(motion: Motion) -> CollisionChecker:
        carries = motion.name in ("carry", held.name)
        world.checker.carry(body if carries else None, pick.lift.positions[0] if carries else None)
        return world.checker

    def check(motions: list[Motion]) -> list[Check]:
        q_start, least = motions[0].trajectory.positions[0], _LEAST_MANIPULABILITY
        return check_motions(motions, UR5_LIMITS, setup.speed, setup.workspace, q_start, checker, least_manipulability=least)

    lowered = replace(check_collision([held], checker), name="collision, what is lowered")
    return [
        *check(_build_sequence(pick, place, target)),
        lowered,
        *(replace(each, name=f"{each.name}, home empty") for each in check([empty])),
    ]


def _build_sequence(pick: PickPlan, place: PlacePlan, target: frozenset[int]) -> list[Motion]:
    """The motions in their order, `target` the object's body in the planning world."""
    return [
        Motion("reach the pre-grasp", pick.reach),
        Motion("move in", pick.approach, target, straight=True),
        Motion("lift", pick.lift, target, straight=True),
        Motion("carry", place.carry, target),
        Motion("lower", place.lower, target, straight=True, free_until=_share_above(place, 0.0)),
        Motion("move out", place.retreat, target, straight=True, resumed=True),
        Motion("go home", place.home, target),
    ]


def _share_above(place: PlacePlan, margin: float) -> float:
    """Of the samples of a lowering, those more than `margin` metres above where the object should be let go."""
    heights: Float[np.ndarray, " n"] = forward_kinematics(place.lower.positions)[:, 2, 3]
    goal = forward_kinematics(place.retreat.positions[0])[2, 3]
    return float((heights >= goal + margin - 1e-6).mean())


def _count_reasons(selection: Selection) -> str:
    reasons = [unreachable.reason.value for _, unreachable in selection.skipped]
    return "; ".join(f"{reasons.count(reason)} x {reason}" for reason in dict.fromkeys(reasons))
