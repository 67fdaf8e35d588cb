"""Both engines behind the trial protocol: grasps whose outcome mechanics decides end the same way, whatever was tried before."""

from importlib.util import find_spec

import numpy as np
import pytest

from grasp_sim.candidates import find_candidates
from grasp_sim.engines import ENGINES, TrialWorld, make_world
from grasp_sim.hands import load_hand
from grasp_sim.trial import GraspOutcome, Physics, Spread, TrialBench, try_grasp
from invgraphics.errors import InputError
from tests.grasp_sim.shapes import make_bowl, make_box, place
from tests.grasp_sim.test_trial import JAW, from_above

needs_mujoco = pytest.mark.skipif(find_spec("mujoco") is None, reason="mujoco is not installed")
BAR = (0.04, 0.04, 0.08)
both_engines = pytest.mark.parametrize("engine", ["pybullet", pytest.param("mujoco", marks=needs_mujoco)])


@both_engines
@pytest.mark.parametrize(
    ("place_of_hand", "physics", "expected"),
    [
        ((0, 0, 0.05), Physics(), {GraspOutcome.SUCCESS}),
        ((0.08, 0, 0.05), Physics(), {GraspOutcome.NO_CONTACT}),
        ((0, 0.03, 0.05), Physics(), {GraspOutcome.COLLISION}),
        ((0, 0, 0.05), Physics(density=8000.0), {GraspOutcome.SUCCESS}),
        ((0, 0, 0.05), Physics(density=25000.0), {GraspOutcome.NOT_LIFTED, GraspOutcome.SLIPPED}),
    ],
    ids=["middle", "beside", "on top", "10 N of 24 N", "31 N of 24 N"],
)
def test_what_mechanics_decides_both_engines_say(engine: str, place_of_hand: tuple, physics: Physics, expected: set) -> None:
    assert try_grasp([place(make_box(*BAR))], from_above(*place_of_hand), JAW, physics, engine=engine) in expected


@both_engines
@pytest.mark.parametrize("name", ["parallel_jaw", "mia_right"])
def test_a_trial_is_the_same_whatever_was_tried_before(engine: str, name: str) -> None:
    hand = load_hand(name)
    objects = [place(make_box(0.04, 0.05, 0.1)), place(make_bowl(), x=0.12)]
    found, _ = find_candidates(objects, 0, hand, np.random.default_rng(0), count=3)
    trials = [(each.grasp, Spread().draw(Physics(), np.random.default_rng(k))) for k, each in enumerate(found)]

    def final_heights(order: list[int]) -> dict[int, float]:
        heights = {}
        with TrialBench(objects, hand, engine=engine) as bench:
            for k in order:
                bench.run(*trials[k])
                heights[k] = float(bench.world.centre_of_mass(bench.bodies[0])[2])
        return heights

    assert final_heights([0, 1, 2]) == final_heights([2, 1, 0]) == {k: height for n in range(3) for k, height in final_heights([n]).items()}


@both_engines
def test_a_world_keeps_to_the_protocol(engine: str) -> None:
    with make_world(engine) as world:
        assert isinstance(world, TrialWorld)
        plane = world.add_plane()
        item = place(make_box(*BAR))
        body = world.add_mesh(item.solid, item.T_world_body, density=400.0, friction=0.6, drawn=False)
        world.step(round(0.5 / world.time_step))
        np.testing.assert_allclose(world.centre_of_mass(body), [0, 0, 0.04], atol=5e-4)
        assert world.touching(body) == {plane}
        weight = 9.81 * 400.0 * item.solid.volume
        assert sum(contact.force for contact in world.contacts(body)) == pytest.approx(weight, rel=0.05)
        world.ignore_contacts(body, plane)
        world.step(round(0.25 / world.time_step))
        assert world.centre_of_mass(body)[2] < -0.1


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="no physics engine 'ode': there are pybullet, mujoco"):
        make_world("ode")
    assert ENGINES[0] == "pybullet"
