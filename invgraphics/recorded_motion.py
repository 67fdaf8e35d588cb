"""A robot's motion as it passes from who carries it out to who shows it: joint positions over time, and where the objects were.

Written as `trajectory.json` beside the scene that it belongs to; the robot's URDF lies beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from invgraphics.errors import InputError
from invgraphics.output import write_json

TRAJECTORY_FILE = "trajectory.json"
_FORMAT, _VERSION = "invgraphics trajectory", 1


@dataclass(frozen=True)
class RecordedMotion:
    """Samples of a motion at increasing times."""

    urdf: Path
    """Of the robot, a hand included where it has one."""
    T_world_base: Float[np.ndarray, "4 4"]
    """The URDF's root link in the world frame of the scene, metres."""
    joint_names: tuple[str, ...]
    times: Float[np.ndarray, " n"]
    """Seconds, the first 0."""
    positions: Float[np.ndarray, "n j"]
    """Of the named joints, radians or metres; the other joints stand at 0."""
    T_world_objects: dict[int, Float[np.ndarray, "n 4 4"]] = field(default_factory=dict)
    """For objects that moved, by their index in the scene: the object frame in the world frame."""
    phases: tuple[tuple[float, str], ...] = ()
    """Time at which each phase was reached, and its name."""
    outcome: str = ""
    """How it ended, in words."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.times[-1])

    def joints_at(self, time: float) -> dict[str, float]:
        """Joint positions by name, linear between the samples."""
        return {name: float(np.interp(time, self.times, column)) for name, column in zip(self.joint_names, self.positions.T, strict=True)}

    def objects_at(self, time: float) -> dict[int, Float[np.ndarray, "4 4"]]:
        """`T_world_object` of the objects that moved: positions linear between the samples, rotations along the shortest way."""
        return {index: _interpolate_pose(self.times, poses, time) for index, poses in self.T_world_objects.items()}

    def phase_at(self, time: float) -> str:
        """Name of the last phase reached; empty before the first."""
        return next((name for start, name in reversed(self.phases) if start <= time + 1e-9), "")


def save_motion(motion: RecordedMotion, folder: Path) -> None:
    """Writes `trajectory.json`, and beside it the URDF, whose meshes' paths must be absolute, where it has some."""
    urdf = folder / motion.urdf.name
    if motion.urdf.resolve() != urdf.resolve():
        urdf.write_text(motion.urdf.read_text())
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "units": {"times": "s", "positions": "rad or m", "poses": "4x4, rows, m", "frame": "world: z up, the support plane at z = 0"},
        "urdf": urdf.name,
        "T_world_base": motion.T_world_base.tolist(),
        "joint_names": list(motion.joint_names),
        "times": motion.times.tolist(),
        "positions": motion.positions.tolist(),
        "T_world_objects": {str(index): poses.tolist() for index, poses in motion.T_world_objects.items()},
        "phases": [{"time": time, "name": name} for time, name in motion.phases],
        "outcome": motion.outcome,
    }
    write_json(folder / TRAJECTORY_FILE, content)


def load_motion(folder: Path) -> RecordedMotion:
    """Reads what `save_motion` wrote.

    Raises:
        InputError: the file, or the URDF that it names, is missing or damaged.
    """
    path = folder / TRAJECTORY_FILE
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        content = json.loads(path.read_text())
        _check(content, path)
        return _parse_motion(content, folder)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); carry the motion out again") from error


def _check(content: Mapping[str, Any], path: Path) -> None:
    """What the file says agrees with itself and with what lies beside it."""
    if (content["format"], content["version"]) != (_FORMAT, _VERSION):
        raise InputError(
            f"{path} is {content['format']!r}, version {content['version']}; this program reads {_FORMAT!r}, version {_VERSION}"
        )
    if not (path.parent / content["urdf"]).is_file():
        raise InputError(f"{path} names {content['urdf']}, which is not beside it")
    times, shape = np.array(content["times"], dtype=float), np.shape(content["positions"])
    if len(times) == 0 or shape != (len(times), len(content["joint_names"])):
        raise InputError(f"{path}: positions are {shape}; there are {len(times)} times and {len(content['joint_names'])} joints")
    if (np.diff(times) <= 0).any():
        raise InputError(f"{path}: times do not increase")
    if np.shape(content["T_world_base"]) != (4, 4):
        raise InputError(f"{path}: T_world_base must be a 4x4 matrix")
    if any(np.shape(poses) != (len(times), 4, 4) for poses in content["T_world_objects"].values()):
        raise InputError(f"{path}: T_world_objects must hold a 4x4 matrix for each of the {len(times)} times")


def _parse_motion(content: Mapping[str, Any], folder: Path) -> RecordedMotion:
    return RecordedMotion(
        folder / content["urdf"],
        np.array(content["T_world_base"], dtype=float),
        tuple(content["joint_names"]),
        np.array(content["times"], dtype=float),
        np.array(content["positions"], dtype=float),
        {int(index): np.array(poses, dtype=float) for index, poses in content["T_world_objects"].items()},
        tuple((float(phase["time"]), phase["name"]) for phase in content["phases"]),
        content["outcome"],
    )


def _interpolate_pose(times: Float[np.ndarray, " n"], poses: Float[np.ndarray, "n 4 4"], time: float) -> Float[np.ndarray, "4 4"]:
    inside = float(np.clip(time, times[0], times[-1]))
    T = np.eye(4)
    T[:3, 3] = [np.interp(inside, times, poses[:, k, 3]) for k in range(3)]
    k = min(int(np.searchsorted(times, inside, side="right")), len(times) - 1)
    around = slice(max(k - 1, 0), k + 1)
    rotations = Rotation.from_matrix(poses[around, :3, :3])
    T[:3, :3] = (Slerp(times[around], rotations)(inside) if len(rotations) > 1 else rotations[0]).as_matrix()
    return T
