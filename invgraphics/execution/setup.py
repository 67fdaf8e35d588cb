"""What an execution starts from: the scene and its grasps, where the arm stands to it, how fast and where it may go."""

from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from jaxtyping import Float

from grasp_sim.solids import PlacedSolid, place_scene
from invgraphics.demo.cell import HAND, RobotCell, base_in_scene, build_cell
from invgraphics.errors import InputError
from invgraphics.grasp import Grasp, load_grasps
from invgraphics.output import load_scene
from invgraphics.scene import Scene
from robot.bin import Bin
from robot.calibration import Calibration, CalibrationMode, load_calibration
from robot.guards import SpeedLimits, Workspace
from robot.kinematics import forward_kinematics

SIMULATED_BASE = (-0.5, 0.0)
"""Where a simulated arm stands when nothing says so: x, y from the middle of the objects along the picture's depth and width, metres."""
_LARGEST_TILT = 3.0
"""Degrees between the arm's vertical and the table's."""
_OLD_DAYS = 30.0
"""A calibration older than that is remarked on."""


@dataclass(frozen=True)
class SetupOptions:
    """What a person says about the machine and the work; the rest is read or computed."""

    speed: SpeedLimits
    workspace: Workspace
    calibration: Path | None = None
    """Where the camera is; without it the arm is put before the objects, which only makes sense for a simulated one."""
    q_picture: Float[np.ndarray, "6"] | None = None
    """Where the arm stood when the picture was taken, radians, for a camera on its flange."""
    hand: str = HAND
    """The hand that the arm carries, a key of `robot.assembly.MOUNTS`."""
    hand_percent: int = 99
    """Of the hand's speed and force."""
    object_index: int | None = None
    """Only grasps of this object."""
    spots: tuple[Float[np.ndarray, "2"], ...] = ()
    """Where the object may be put down on the table, base frame, metres."""
    bin: Bin | None = None
    """What it is to be put into, in place of `spots`; its table height is taken from the scene."""


@dataclass(frozen=True)
class Setup:
    """Everything that is known before planning."""

    scene: Scene
    objects: tuple[PlacedSolid, ...]
    """In the arm's base frame."""
    grasps: tuple[Grasp, ...]
    """Best first; `T_world_hand` is in the arm's base frame."""
    table_height: float
    """Of the support plane in the base frame, metres."""
    cell: RobotCell
    """With the bin, where there is one."""
    hand_percent: int
    """Of the hand's speed and force."""
    speed: SpeedLimits
    workspace: Workspace
    spots: tuple[Float[np.ndarray, "2"], ...]
    """Where the object may be put down, base frame, metres."""
    remarks: tuple[str, ...]
    """For a person to read before anything moves."""


def load_setup(out: Path, folder: Path, q_home: Float[np.ndarray, "6"], options: SetupOptions) -> Setup:
    """Reads the folder `out` of `reconstruct` and `grasp`; the robot's URDF goes to `folder`. `q_home`: where the arm waits, radians.

    Raises `InputError` for what does not fit together.
    """
    scene = load_scene(out)
    if scene.plane is None:
        raise InputError(f"{out}: the scene has no support plane; the arm cannot be kept off a table that is not known")
    grasps = _load_grasps(out, options.hand, options.object_index)
    objects = place_scene(scene)
    T_world_base, remarks = _find_base(scene, objects, options.calibration, options.q_picture)
    T_base_world = np.linalg.inv(T_world_base)
    _require_upright(T_base_world)
    table_height = float(T_base_world[2, 3])
    seen = tuple(PlacedSolid(item.solid, T_base_world @ item.T_world_body, item.name) for item in objects)
    bin_ = None if options.bin is None else replace(options.bin, table_height=table_height)
    _require_room(bin_, seen)
    return Setup(
        scene,
        seen,
        tuple(_moved(grasp, T_base_world) for grasp in grasps),
        table_height,
        build_cell(folder, q_home, options.hand, bin_),
        options.hand_percent,
        options.speed,
        options.workspace,
        options.spots,
        remarks,
    )


def _require_room(bin_: Bin | None, objects: tuple[PlacedSolid, ...]) -> None:
    """Nothing that was seen may stand where the bin is said to be."""
    for item in objects:
        corners = item.solid.vertices @ item.T_world_body[:3, :3].T + item.T_world_body[:3, 3]
        if bin_ is not None and bin_.meets(corners):
            raise InputError(f"the bin at ({bin_.x:g}, {bin_.y:g}) m would stand where {item.name} is; say where it really is with --bin")


def _load_grasps(out: Path, hand: str, object_index: int | None) -> list[Grasp]:
    path = out / "grasps.json"
    if not path.is_file():
        raise InputError(f"{path} is missing; make it with `invgraphics grasp {out} --hand {hand}`")
    grasps = load_grasps(path)
    other = next((grasp.hand for grasp in grasps if grasp.hand != hand), None)
    if other is not None:
        right = f"invgraphics grasp {out} --hand {hand} --overwrite"
        raise InputError(f"{path} holds grasps of {other}, but the arm carries {hand}; run `{right}`, or say what it carries with --hand")
    chosen = [grasp for grasp in grasps if object_index in (None, grasp.object_index)]
    if not chosen:
        what = "it is empty" if object_index is None else f"it has none of object {object_index}"
        raise InputError(f"{path} holds no grasp to carry out: {what}")
    return chosen


def _find_base(
    scene: Scene, objects: tuple[PlacedSolid, ...], calibration: Path | None, q_picture: np.ndarray | None
) -> tuple[Float[np.ndarray, "4 4"], tuple[str, ...]]:
    """`T_world_base`, and what is to be said about it."""
    if calibration is None:
        return _simulated_base(scene, objects), ("the arm stands before the objects, for no calibration was given",)
    found = load_calibration(calibration)
    if found.mode is CalibrationMode.EYE_IN_HAND and q_picture is None:
        raise InputError(f"{calibration} is of a camera on the flange; say where the arm stood with --picture-joints (six degrees)")
    T_base_flange = None if q_picture is None else forward_kinematics(q_picture)
    T_world_base = base_in_scene(scene, torch.as_tensor(found.T_base_camera(T_base_flange)))
    return T_world_base, _describe_calibration(calibration, found)


def _describe_calibration(path: Path, found: Calibration) -> tuple[str, ...]:
    errors = found.errors
    words = f"{path}: {found.mode.value}, {found.date}, camera to {errors.translation_mm:.1f} mm and {errors.rotation_deg:.2f} degrees"
    age = found.age_days()
    return (words,) if age <= _OLD_DAYS else (words, f"the calibration is {age:.0f} days old; has the camera been touched since?")


def _simulated_base(scene: Scene, objects: tuple[PlacedSolid, ...]) -> Float[np.ndarray, "4 4"]:
    """Upright on the table, looking along the camera's view, the objects before it."""
    T_world_camera = scene.camera.T_world_camera.detach().cpu().double().numpy()
    forward = T_world_camera[:3, 2] * [1.0, 1.0, 0.0]
    if np.linalg.norm(forward) < 0.1:
        forward = -T_world_camera[:3, 1] * [1.0, 1.0, 0.0]
    x = forward / np.linalg.norm(forward)
    centre = np.mean([item.T_world_body[:3, 3] for item in objects], axis=0) * [1.0, 1.0, 0.0]
    T_world_base = np.eye(4)
    T_world_base[:3, :3] = np.stack([x, np.cross([0.0, 0.0, 1.0], x), [0.0, 0.0, 1.0]], axis=1)
    T_world_base[:3, 3] = centre + T_world_base[:3, :3] @ [*SIMULATED_BASE, 0.0]
    return T_world_base


def _require_upright(T_base_world: np.ndarray) -> None:
    tilt = np.degrees(np.arccos(np.clip(T_base_world[2, 2], -1.0, 1.0)))
    if tilt > _LARGEST_TILT:
        words = f"the calibration tilts the table by {tilt:.1f} degrees against the arm's base; {_LARGEST_TILT:.0f} are allowed"
        raise InputError(f"{words}: calibrate again, or is the arm not mounted upright?")


def _moved(grasp: Grasp, T_base_world: np.ndarray) -> Grasp:
    return replace(grasp, T_world_hand=T_base_world @ grasp.T_world_hand)


def compute_payload(cell: RobotCell) -> tuple[float, tuple[float, float, float]]:
    """Kilograms of adapter and open hand, and their centre of mass in the flange frame (metres), from their descriptions."""
    mount, hand = cell.mount, cell.hand
    parts = [(mount.adapter_mass, np.array([0.0, 0.0, mount.adapter_length / 2]))]
    poses = hand.kinematics.link_poses(hand.joint_positions(hand.templates[0].opened))
    for link in ElementTree.parse(hand.urdf).getroot().findall("link"):
        inertial = link.find("inertial")
        if inertial is not None:
            centre = [float(number) for number in inertial.find("origin").get("xyz").split()]
            point = mount.T_flange_hand @ poses[link.get("name")] @ np.array([*centre, 1.0])
            parts.append((float(inertial.find("mass").get("value")), point[:3]))
    total = sum(mass for mass, _ in parts)
    centre = sum(mass * point for mass, point in parts) / total
    return total, (float(centre[0]), float(centre[1]), float(centre[2]))
