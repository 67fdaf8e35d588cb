"""A grasp as it passes between search, file and robot. The search lives in `grasp_sim`, the execution in `robot`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

_NORMAL_95 = 1.959964
"""Standard deviations of a normal distribution within which 95 % of it lie."""


@dataclass(frozen=True)
class Grasp:
    """A hand's pose and finger positions at an object, with what trials in simulation said of it."""

    hand: str
    """Name of the hand's description, e.g. "parallel_jaw" or "mia_right"."""
    object_index: int
    """Index of the object in the scene."""
    T_world_hand: np.ndarray
    """(4, 4) float64, metres; the hand's grasp frame (written in its description) in the world frame."""
    preshape: dict[str, float]
    """Joint positions before closing by joint name, radians or metres."""
    closed: dict[str, float]
    """Joint targets of the closing motion by joint name, radians or metres."""
    width: float
    """Opening between the opposing contacts before closing, metres."""
    success_rate: float
    """Successful trials / trials, in [0, 1]; nan before any trial."""
    trials: int
    """How many trials `success_rate` rests on."""
    efforts: dict[str, float] = field(default_factory=dict)
    """Largest effort while closing by motor name, newton metres or newtons, where it is less than the motor's own limit."""

    @property
    def success_interval(self) -> tuple[float, float]:
        """Where the success probability is with 95 % confidence; (0, 1) before any trial."""
        return wilson_interval(self.success_rate * self.trials, self.trials) if self.trials else (0.0, 1.0)


def wilson_interval(successes: int | float, trials: int) -> tuple[float, float]:
    """Where a probability is with 95 % confidence after so many trials: Wilson's score interval (1927); (0, 1) before any trial."""
    if trials == 0:
        return 0.0, 1.0
    rate, shrink = successes / trials, 1 + _NORMAL_95**2 / trials
    middle = (rate + _NORMAL_95**2 / (2 * trials)) / shrink
    spread = rate * (1 - rate) / trials + (_NORMAL_95 / (2 * trials)) ** 2
    half = _NORMAL_95 * spread**0.5 / shrink
    return max(0.0, middle - half), min(1.0, middle + half)


class NoGrasp(Enum):
    """Why an object has no grasp, from the first hurdle to the last."""

    NOTHING_OPPOSES = "no two of its surfaces oppose each other"
    HAND_TOO_SMALL = "it does not fit into the hand"
    NO_ROOM = "there is no room for the hand around it"
    NOT_TRIED = "the budget ended before it was tried"
    ALL_TRIALS_FAILED = "no grasp of it held in simulation"


@dataclass(frozen=True)
class Ungrasped:
    """An object without a grasp."""

    reason: NoGrasp
    message: str
    """The reason with its particulars, for a person."""


def save_grasps(grasps: Sequence[Grasp], path: Path) -> None:
    """Writes grasps as a JSON list, in the given order (best first)."""
    rows = [
        {
            "hand": grasp.hand,
            "object_index": grasp.object_index,
            "T_world_hand": np.asarray(grasp.T_world_hand).tolist(),
            "preshape": grasp.preshape,
            "closed": grasp.closed,
            "width": grasp.width,
            "success_rate": grasp.success_rate,
            "trials": grasp.trials,
            "success_interval": grasp.success_interval,
            "efforts": grasp.efforts,
        }
        for grasp in grasps
    ]
    path.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")


def save_search(grasps: Sequence[Grasp], ungrasped: Mapping[int, Ungrasped], folder: Path) -> None:
    """Writes `grasps.json`, the list of grasps, and `grasp_search.json`: the outcome, and why objects by index have no grasp."""
    save_grasps(grasps, folder / "grasps.json")
    missing = [
        {"object_index": index, "reason": each.reason.name.lower(), "message": each.message} for index, each in sorted(ungrasped.items())
    ]
    content = {"outcome": "found" if grasps else "nothing_graspable", "objects_without_grasp": missing}
    (folder / "grasp_search.json").write_text(json.dumps(content, indent=1) + "\n")


def load_grasps(path: Path) -> list[Grasp]:
    """Reads the grasps that `save_grasps` wrote."""
    return [
        Grasp(
            row["hand"],
            row["object_index"],
            np.array(row["T_world_hand"]),
            row["preshape"],
            row["closed"],
            row["width"],
            row["success_rate"],
            row["trials"],
            row.get("efforts", {}),
        )
        for row in json.loads(path.read_text())
    ]
