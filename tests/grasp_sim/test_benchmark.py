"""Clutter removal: tables, noise and scores against what the protocol says; a round on objects that any jaw can take."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grasp_sim.benchmark import (
    Attempt,
    ClutterSettings,
    Round,
    load_models,
    play_round,
    read_round,
    score_rounds,
    see_hulls,
    see_truth,
)
from grasp_sim.clutter import Model, Protocol, calibrate_depth, photograph, set_table, side_camera, world_points
from grasp_sim.hands import load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchSettings
from grasp_sim.solids import build_solid
from grasp_sim.trial import TrialSettings
from grasp_sim.world import World
from invgraphics.cli import main
from invgraphics.commands.benchmarks.speed import _median_rate
from invgraphics.errors import InputError
from tests.grasp_sim.shapes import make_box

MODELS = [Model("tall", build_solid(make_box(0.05, 0.04, 0.12))), Model("cube", build_solid(make_box(0.05, 0.05, 0.05)))]


def test_the_side_view_is_the_protocols() -> None:
    camera = side_camera()
    eye = camera.T_world_camera[:3, 3].numpy()
    assert np.linalg.norm(eye - [0, 0, 0.05]) == pytest.approx(0.6, rel=1e-5)
    assert np.degrees(np.arccos((eye[2] - 0.05) / 0.6)) == pytest.approx(60, abs=1e-3)
    pixel, depth = camera.project(camera.K.new_tensor([[0.0, 0.0, 0.05]]))
    np.testing.assert_allclose(pixel[0].numpy(), [319.5, 239.5], atol=1e-2)
    assert float(depth[0]) == pytest.approx(0.6, rel=1e-4)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_tables_are_at_rest_inside_the_workspace(protocol: Protocol) -> None:
    with World() as world:
        table = set_table(world, MODELS, protocol, 3, np.random.default_rng(2))
        assert 2 <= len(table.solids) <= 3
        before = table.placed()
        world.step(240)
        for old, new in zip(before, table.placed(), strict=True):
            assert np.linalg.norm(new.T_world_body[:3, 3] - old.T_world_body[:3, 3]) < 2e-3
            assert np.abs(new.T_world_body[:2, 3]).max() < 0.17
            assert protocol is Protocol.PILE or new.T_world_body[2, 2] > 0.99


def test_depth_noise_is_the_protocols_and_its_scale_is_taken_off() -> None:
    with World() as world:
        table = set_table(world, MODELS, Protocol.PACKED, 2, np.random.default_rng(0))
        views = [photograph(table, np.random.default_rng(seed), "view") for seed in range(6)]
    on_table = (views[0].seen == -1) & views[0].observation.valid.numpy()
    depths = np.stack([view.observation.depth.numpy()[on_table] for view in views])
    scales = np.median(depths / depths.mean(0), axis=1)
    assert 0.005 < scales.std() < 0.08
    for view in views:
        heights = world_points(calibrate_depth(view.observation))[on_table][:, 2]
        assert abs(np.median(heights)) < 5e-4
        assert 0.001 < heights.std() < 0.004


def test_hulls_of_visible_points_are_where_the_objects_are() -> None:
    """Noise of 5 mm makes them fatter; they still hold the objects' visible points and little besides."""
    with World() as world:
        table = set_table(world, MODELS, Protocol.PACKED, 2, np.random.default_rng(0))
        view = photograph(table, np.random.default_rng(1), "view")
    hulls = see_hulls(view, 0).objects
    assert [hull.name for hull in hulls] == [item.name for item in view.truth]
    for hull, true in zip(hulls, view.truth, strict=True):
        centre = true.T_world_body[:3, 3]
        reach = np.linalg.norm(true.solid.vertices, axis=1).max()
        assert np.linalg.norm(hull.solid.vertices - centre, axis=1).max() < reach + 0.025
        assert 0.3 < hull.solid.volume / true.solid.volume < 3


def test_a_round_on_easy_objects_clears_the_table_and_repeats() -> None:
    search = SearchSettings(batch=4, batches=2, finalists=1, final_trials=2, max_trials=12, trial=TrialSettings(touch_force=0.0))
    settings = replace(ClutterSettings(Protocol.PACKED, objects=2), search=search)
    played = [play_round(MODELS, load_hand("parallel_jaw"), see_truth, settings, 4, 0) for _ in range(2)]
    assert played[0] == played[1]
    assert played[0].successes >= 1
    assert sorted(attempt.removed is not None for attempt in played[0].attempts) == sorted(
        attempt.success for attempt in played[0].attempts
    )


def make_round(number: int, outcomes: list[bool], objects: int) -> Round:
    attempts = tuple(Attempt("", success, "thing" if success else None, 1.0, 4) for success in outcomes)
    return Round(number, objects, attempts, "")


def test_scores_are_the_ratios_with_intervals_around_them() -> None:
    rounds = [make_round(k, [True, True, False, True], 5) for k in range(5)] + [make_round(5, [False, False], 5)]
    gsr, dr = score_rounds(rounds, seed=0)
    assert gsr.percent == pytest.approx(100 * 15 / 22)
    assert dr.percent == pytest.approx(100 * 15 / 30)
    assert gsr.low < gsr.percent < gsr.high <= 75.0 + 1e-9
    certain, _ = score_rounds([make_round(k, [True], 1) for k in range(4)], seed=0)
    assert (certain.low, certain.percent, certain.high) == (100, 100, 100)


def test_meshes_that_do_not_fit_or_are_open_are_told(tmp_path: Path) -> None:
    make_box(50, 40, 60).to_trimesh().export(tmp_path / "small.ply")
    make_box(50, 40, 600).to_trimesh().export(tmp_path / "long.stl")
    opened = make_box(50, 40, 60).to_trimesh()
    opened.update_faces(np.arange(len(opened.faces)) > 1)
    opened.export(tmp_path / "torn.obj")
    models, notes = load_models(tmp_path, 1e-3, 0.15, TrialPool(1))
    assert [model.name for model in models] == ["small", "torn"]
    assert notes == {"long.stl": "left out: 60.0 cm long", "torn.obj": "not closed: its convex hull is used"}
    with pytest.raises(InputError, match="is --unit right"):
        load_models(tmp_path, 1.0, 0.15, TrialPool(1))
    with pytest.raises(InputError, match="no such folder"):
        load_models(tmp_path / "none", 1.0, 0.15, TrialPool(1))


def test_an_engine_that_had_nothing_to_try_has_no_speed() -> None:
    nothing = {"trials": 0, "seconds": 0.0, "per_second": None}
    assert _median_rate([nothing, nothing]) is None
    assert _median_rate([nothing, nothing | {"per_second": 4.0}, nothing | {"per_second": 6.0}]) == 5.0


def test_an_interrupted_benchmark_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = []

    def play(models, hand, perceive, settings, seed, number) -> Round:
        played.append(number)
        if played == [0, 1]:
            raise KeyboardInterrupt
        return make_round(number, [True, False, True], 5)

    monkeypatch.setattr("grasp_sim.benchmark.play_round", play)
    make_box(0.05, 0.05, 0.05).to_trimesh().export(tmp_path / "cube.ply")
    command = [
        "benchmark",
        "clutter",
        "--objects",
        str(tmp_path),
        "--protocol",
        "packed",
        "--processes",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--rounds", "3"]) == 130
    assert main([*command, "--rounds", "3"]) == 0
    assert played == [0, 1, 1, 2]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [read_round(entries) for entries in results["rounds"]] == [make_round(k, [True, False, True], 5) for k in range(3)]
    assert results["gsr"] == pytest.approx(200 / 3)
    assert main([*command, "--rounds", "3", "--seed", "1"]) == 2
    assert "was begun with seed 0 and not 1" in capsys.readouterr().err
