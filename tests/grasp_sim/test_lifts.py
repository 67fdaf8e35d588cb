"""Single lifts: objects at rest where they are looked for, honest verdicts, resumed where they were interrupted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grasp_sim.benchmark import Percept, see_truth
from grasp_sim.clutter import Model, View
from grasp_sim.hands import load_hand
from grasp_sim.lifts import Lift, LiftSettings, lay_down, lift_freely, play_lift
from grasp_sim.search import SearchSettings
from grasp_sim.solids import build_solid
from grasp_sim.world import World
from invgraphics.cli import main
from tests.grasp_sim.shapes import make_box

CUBE = Model("cube", build_solid(make_box(0.05, 0.05, 0.05)))
JAW = load_hand("parallel_jaw")
QUICK = LiftSettings(search=SearchSettings(batch=2, batches=2, finalists=1, final_trials=2, together=True), middle=(0.4, 0.1))


def test_an_object_lies_at_rest_near_the_middle_in_another_pose_each_time() -> None:
    heights = set()
    for seed in range(3):
        with World() as world:
            table = lay_down(world, Model("slab", build_solid(make_box(0.03, 0.05, 0.08))), (0.4, 0.1), np.random.default_rng(seed))
            ((body, (name, _)),) = table.solids.items()
            before = world.pose(body)
            world.step(240)
            assert np.linalg.norm(world.pose(body)[:3, 3] - before[:3, 3]) < 2e-3
            assert np.abs(world.centre_of_mass(body)[:2] - [0.4, 0.1]).max() < 0.055
            assert name == "slab"
            heights.add(round(float(world.centre_of_mass(body)[2]), 3))
    assert heights <= {0.015, 0.025, 0.04}


def test_a_cube_is_lifted() -> None:
    lift = play_lift(CUBE, JAW, see_truth, lift_freely, QUICK, 0, 3)
    assert (lift.success, lift.outcome) == (True, "lifted and held")
    assert lift.predicted is not None


def see_nothing(view: View, seed: int) -> Percept:
    return Percept(())


def test_what_failed_is_looked_at_and_tried_again() -> None:
    looks: list[str] = []

    def look_away_once(view: View, seed: int) -> Percept:
        looks.append(view.observation.name)
        return see_nothing(view, seed) if len(looks) == 1 else see_truth(view, seed)

    lift = play_lift(CUBE, JAW, look_away_once, lift_freely, replace(QUICK, attempts=3), 0, 3)
    assert (lift.success, lift.attempts, lift.failed) == (True, 2, ("no object was seen",))
    never = play_lift(CUBE, JAW, see_nothing, lift_freely, replace(QUICK, attempts=2), 0, 3)
    assert (never.success, never.attempts, never.failed) == (False, 2, ("no object was seen",))


def test_what_is_not_seen_or_does_not_fit_is_told() -> None:
    unseen = play_lift(CUBE, JAW, see_nothing, lift_freely, QUICK, 0, 0)
    assert (unseen.success, unseen.outcome, unseen.predicted) == (False, "no object was seen", None)
    large = Model("block", build_solid(make_box(0.12, 0.12, 0.12)))
    unfit = play_lift(large, JAW, see_truth, lift_freely, QUICK, 0, 0)
    assert not unfit.success
    assert "the hand opens to 80 mm" in unfit.outcome


def play(model, hand, perceive, lift, settings, seed, number) -> Lift:
    return Lift(number, model.name, "lifted and held" if number else "the object slipped out on the way up", number > 0, 1.0, 4)


def test_the_command_counts_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grasp_sim.lifts.play_lift", play)
    make_box(0.05, 0.05, 0.05).to_trimesh().export(tmp_path / "cube.ply")
    out = str(tmp_path / "out")
    command = ["benchmark", "lifts", "--objects", str(tmp_path), "--hand", "parallel_jaw", "--processes", "1", "--out", out]
    assert main([*command, "--poses", "2"]) == 0
    assert main([*command, "--poses", "4"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["held"] == results["held_at_first"] == pytest.approx(75)
    assert results["held_interval"][0] < 75 < results["held_interval"][1]
    assert [each["number"] for each in results["lifts"]] == [0, 1, 2, 3]
    assert "3 / 4" in capsys.readouterr().out
    assert main([*command, "--arm", "ur5"]) == 2
    assert "can carry mia_left or mia_right, not parallel_jaw" in capsys.readouterr().err
    assert main([*command, "--scale", "0"]) == 2
    assert "--scale is 0.0; it must be positive" in capsys.readouterr().err


def test_another_table_has_another_middle() -> None:
    with World() as world:
        table = lay_down(world, CUBE, replace(QUICK, middle=(0.0, -0.3)).middle, np.random.default_rng(0))
        (body,) = table.solids
        assert abs(world.centre_of_mass(body)[1] + 0.3) < 0.055
