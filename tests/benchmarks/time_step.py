"""What time step, solver iterations and engine do to grasp trials, against steps of PyBullet a quarter as long as its default.

    python -m tests.benchmarks.time_step shared/data/tabletop_dev/models --unit mm

Candidates of each hand on poured true meshes are tried with the physics varied, the same trials at every setting. One row for each
setting: trials that succeed, trials that succeed only there, only in the reference, and processor seconds.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from grasp_sim.benchmark import load_models
from grasp_sim.candidates import find_candidates
from grasp_sim.clutter import Model, Protocol, set_table
from grasp_sim.engines import TrialWorld, make_world
from grasp_sim.hands import Hand, load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.solids import PlacedSolid
from grasp_sim.trial import GraspOutcome, Physics, Spread, TrialBench, push_apart
from grasp_sim.world import World
from invgraphics.commands.benchmarks.common import UNITS
from invgraphics.grasp import Grasp
from tests.benchmarks.tables import format_table

_PYBULLET = ((1920, 300), (240, 150), (240, 500), (480, 50), (480, 100), (480, 200), (960, 100))
"""Steps a second and solver iterations."""
SETTINGS: dict[str, Callable[[], TrialWorld]] = {
    **{f"PyBullet, 1/{rate} s, {count}": partial(World, time_step=1 / rate, solver_iterations=count) for rate, count in _PYBULLET},
    "MuJoCo, as it comes": partial(make_world, "mujoco"),
}
"""Worlds by their names in the table; the first is the reference."""
_HANDS = ("parallel_jaw", "mia_right")
_LARGEST = 0.15
"""Metres: longer models are left out."""
_OBJECTS, _CANDIDATES, _TRIALS = 5, 6, 3
"""On the table; of each object; of each candidate."""


def draw_trials(objects: Sequence[PlacedSolid], hand: Hand, seed: int) -> list[tuple[Grasp, Physics]]:
    """The best candidates of every object by geometry, each with several physics."""
    generator = np.random.default_rng([seed, 1])
    trials = []
    for index in range(len(objects)):
        candidates, _ = find_candidates(objects, index, hand, generator, count=_CANDIDATES)
        for candidate in candidates:
            trials += [(candidate.grasp, Spread().draw(Physics(), generator)) for _ in range(_TRIALS)]
    return trials


def try_all(
    objects: Sequence[PlacedSolid], hand: Hand, trials: Sequence[tuple[Grasp, Physics]], make: Callable[[], TrialWorld]
) -> tuple[np.ndarray, float]:
    """Which trials succeed in such a world, and the processor seconds that they took."""
    start = time.process_time()
    with TrialBench(objects, hand, world=make()) as bench:
        succeeded = np.array([bench.run(grasp, physics) is GraspOutcome.SUCCESS for grasp, physics in trials])
    return succeeded, time.process_time() - start


def measure(models: Sequence[Model], tables: int, seed: int) -> list[list[str | int]]:
    """The rows of the table."""
    tried: dict[tuple[str, str], list[tuple[np.ndarray, float]]] = {}
    for number in range(tables):
        with World() as world:
            objects = push_apart(set_table(world, models, Protocol.PILE, _OBJECTS, np.random.default_rng([seed, number])).placed())
        for name in _HANDS:
            hand = load_hand(name)
            trials = draw_trials(objects, hand, number)
            for setting, make in SETTINGS.items():
                tried.setdefault((name, setting), []).append(try_all(objects, hand, trials, make))
    rows: list[list[str | int]] = []
    for (name, setting), results in tried.items():
        here = np.concatenate([succeeded for succeeded, _ in results])
        there = np.concatenate([succeeded for succeeded, _ in tried[(name, next(iter(SETTINGS)))]])
        counts = [int(here.sum()), int((here & ~there).sum()), int((there & ~here).sum())]
        rows.append([f"{name}, {setting}", len(here), *counts, round(sum(seconds for _, seconds in results))])
    return rows


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", type=Path, help="folder of meshes")
    parser.add_argument("--unit", choices=UNITS, default="m")
    parser.add_argument("--tables", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TrialPool() as pool:
        models, _ = load_models(arguments.objects, UNITS[arguments.unit], _LARGEST, pool)
    header = ["hand, engine, time step, iterations", "trials", "succeed", "only here", "only in the reference", "s"]
    print(format_table(header, measure(models, arguments.tables, arguments.seed)))


if __name__ == "__main__":
    main()
