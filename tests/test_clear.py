"""Clearing a table: picked, put down at its place, seen to be gone; and every way in which there is nothing to be done, by name."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from grasp_sim.search import SearchSettings
from grasp_sim.solids import PlacedSolid, build_solid
from grasp_sim.world import World
from invgraphics.commands import clear as command
from invgraphics.demo.clear import SPOTS, ClearResult, Seen, clear_table, perceive_reconstruction, perceive_truth
from invgraphics.demo.table import Photograph
from invgraphics.demo.toys import TOYS, Toy
from robot.execute import Outcome

BLOCK = next(toy for toy in TOYS if toy.name == "block")
QUICK = SearchSettings(batch=2, batches=3, finalists=1, final_trials=2)


def ignore(stage: str, fraction: float) -> None:
    """Progress is not looked at here."""


@pytest.fixture(scope="module")
def cleared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClearResult, list[np.ndarray]]:
    out, last = tmp_path_factory.mktemp("clear"), []

    def perceive(world: World, remaining: Sequence[tuple[int, Toy]], photograph: Photograph, folder: Path, seed: int) -> Seen:
        if remaining:
            last.append(remaining[0][0])
        elif last:
            last.append(world.centre_of_mass(last[0]))
        return perceive_truth(world, remaining, photograph, folder, seed)

    return out, clear_table(out, 1, ignore, (BLOCK,), QUICK, perceive, processes=1, film_seconds=1.0), last


def test_the_block_is_put_down_at_its_place(cleared) -> None:
    _, result, last = cleared
    assert (result.placed, result.ended) == (("block",), "no object is seen on the table any more")
    assert [attempt.outcome for attempt in result.attempts] == [Outcome.PLACED]
    centre = last[-1]
    assert min(np.linalg.norm(spot - centre[:2]) for spot in SPOTS) < 0.06
    assert 0.015 < centre[2] < 0.065


def test_what_happened_is_written_and_printed(cleared, capsys: pytest.CaptureFixture) -> None:
    out, result, _ = cleared
    content = json.loads((out / "clear.json").read_text())
    assert content["objects"] == [{"name": "block", "attempts": 1, "outcome": "placed"}]
    assert json.loads((out / "look_00" / "grasp_search.json").read_text())["outcome"] == "found"
    animation = cv2.imreadanimation(str(out / "clear.webp"))[1]
    assert len(animation.frames) > 20
    assert (out / "clear.webp").stat().st_size < 1.5e6
    assert np.abs(animation.frames[0].astype(float) - animation.frames[len(animation.frames) // 2]).mean() > 0.5
    command.print_result(result, out)
    assert "1 of 1 objects put at their places; ended: no object is seen" in capsys.readouterr().out


def test_what_does_not_fit_ends_after_two_looks(tmp_path: Path) -> None:
    large = replace(BLOCK, scale=tuple(4 * scale for scale in BLOCK.scale))
    result = clear_table(tmp_path, 0, ignore, (large,), QUICK, perceive_truth, processes=1)
    assert [attempt.outcome for attempt in result.attempts] == [Outcome.NOTHING_GRASPABLE] * 2
    assert "the hand opens to" in result.attempts[0].message
    assert (result.placed, result.ended) == ((), "two attempts in a row failed")


def test_what_the_arm_does_not_reach_ends_with_the_reason(tmp_path: Path) -> None:
    def push_far_away(world: World, bodies: tuple[int, ...]) -> None:
        pose = world.pose(bodies[0])
        pose[0, 3] += 1.2
        world.set_pose(bodies[0], pose)

    def perceive(world: World, remaining: Sequence[tuple[int, Toy]], photograph: Photograph, folder: Path, seed: int) -> Seen:
        ((body, toy),) = remaining
        return Seen((PlacedSolid(build_solid(toy.mesh()), world.pose(body), toy.name),), np.ones((1, 480, 640), dtype=bool), np.eye(4))

    result = clear_table(tmp_path, 0, ignore, (BLOCK,), replace(QUICK, max_trials=1), perceive, push_far_away, processes=1)
    assert [attempt.outcome for attempt in result.attempts] == [Outcome.UNREACHABLE] * 2
    assert "the arm does not reach it" in result.attempts[0].message


def test_an_empty_table_is_clear_at_the_first_look(tmp_path: Path) -> None:
    result = clear_table(tmp_path, 0, ignore, (), QUICK, perceive_reconstruction, processes=1)
    assert (result.attempts, result.ended) == ((), "no object is seen on the table any more")
