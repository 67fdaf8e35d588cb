"""A log told again: what was commanded and said, line by line, and the arm's motion as a film."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from grasp_sim.world import World
from invgraphics.demo.cell import RobotCell, build_cell
from invgraphics.demo.film import save_film, scale_camera
from invgraphics.demo.table import LIGHTING, TABLE_COLOUR, place_camera
from invgraphics.errors import InputError
from robot.bin import Bin
from robot.kinematics import JOINT_NAMES
from robot.log import Record, read_log

_FILM_SECONDS = 0.25
"""Of logged time between two pictures."""
_MOST_PICTURES = 80
_SCALE = 0.5
_EYE, _TARGET = (1.3, -1.0, 0.8), (0.2, 0.0, 0.25)
_SILENT = ("state", "line")
"""Kinds of records that are too many to be told one by one."""


def describe_records(records: list[Record]) -> Iterator[str]:
    """A line for everything but states; times are seconds since the log began."""
    start = records[0].clock
    for record in records:
        if record.kind not in _SILENT:
            rest = {key: value for key, value in record.entries.items() if key not in ("time", "clock", "kind", "device")}
            words = ", ".join(f"{key} {_short(value)}" for key, value in rest.items())
            yield f"{record.clock - start:8.2f} s  {record.entries.get('device', ''):<10} {record.kind:<10} {words}"


def load_log(path: Path) -> list[Record]:
    """Every record; `InputError` where there are none."""
    if not path.is_file():
        raise InputError(f"{path}: no such log; `invgraphics execute` writes one to OUT/execution")
    records = list(read_log(path))
    if not records:
        raise InputError(f"{path} is empty")
    return records


def find_joint_motion(records: list[Record]) -> tuple[Float[np.ndarray, " n"], list[dict[str, float]]]:
    """Times (seconds) and joint positions by name (radians) from the states of the arm, or of the simulation where there was no arm."""
    states = [record for record in records if record.kind == "state"]
    real = [record for record in states if record.entries.get("device") == "ur5"]
    if real:
        joints = [dict(zip(JOINT_NAMES, record.entries["q"], strict=True)) for record in real]
        return np.array([record.clock for record in real]), joints
    simulated = [record for record in states if "joints" in record.entries]
    return np.array([record.clock for record in simulated]), [record.entries["joints"] for record in simulated]


def film_log(records: list[Record], folder: Path) -> Path | None:
    """Writes `replay.webp`, the arm as it moved; None where the log knows no joint positions."""
    times, joints = find_joint_motion(records)
    if not len(times):
        return None
    path = folder / "replay.webp"
    step = max(_FILM_SECONDS, (times[-1] - times[0]) / _MOST_PICTURES)
    shown = np.searchsorted(times, np.arange(times[0], times[-1] + step, step)).clip(max=len(times) - 1)
    save_film(_draw([joints[k] for k in shown], _find_cell(records, folder)), 0.1, path)
    return path


def _find_cell(records: list[Record], folder: Path) -> RobotCell:
    """The arm, and hand and bin as the log's last plan names them; files that describe them go to `folder`."""
    plans = [record.entries for record in records if record.kind == "plan"]
    if not plans:
        return build_cell(folder)
    return build_cell(folder, hand_name=plans[-1]["hand"], bin_=None if plans[-1]["bin"] is None else Bin.of(plans[-1]["bin"]))


def _draw(joints: list[dict[str, float]], cell: RobotCell) -> list[UInt8[np.ndarray, "h w 3"]]:
    camera = scale_camera(place_camera(_EYE, _TARGET), _SCALE)
    with World() as world:
        world.add_plane(height=0.0 if cell.bin is None else cell.bin.table_height, colour=TABLE_COLOUR)
        cell.add_bin_to(world, np.eye(4))
        robot = cell.add_to(world, np.eye(4))
        pictures = []
        for positions in joints:
            world.set_joint_positions(robot, positions)
            pictures.append(world.render(camera, lighting=LIGHTING).colour)
    return pictures


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list) and all(isinstance(item, float | int) for item in value):
        return "[" + " ".join(f"{item:.3f}" for item in value) + "]"
    return str(value)
