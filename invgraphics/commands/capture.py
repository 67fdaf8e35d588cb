"""`invgraphics capture OUT`: a picture of a RealSense camera, or of a recording of one, as a frame folder."""

import argparse
from pathlib import Path

import numpy as np

from invgraphics.commands.camera_arguments import add_arm_arguments, add_camera_arguments, read_flange_pose, take_picture
from invgraphics.errors import InputError
from robot.calibration import Calibration, CalibrationMode, load_calibration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for rgb.png, depth.png and camera.json; must not hold any yet")
    add_camera_arguments(parser)
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="of `invgraphics calibrate solve`: writes the camera's pose, too")
    add_arm_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Takes the picture and says what is on it. 1 where the camera sends none."""
    if (arguments.out / "camera.json").exists():
        raise InputError(f"{arguments.out} holds a picture already; name another folder")
    calibration = load_calibration(arguments.calibration) if arguments.calibration else None
    T_base_flange = read_flange_pose(arguments)
    _require_flange(calibration, T_base_flange)
    frame = take_picture(arguments)
    if frame is None:
        return 1
    pose = None
    if calibration is not None:
        calibration.require_camera(frame.serial)
        pose = calibration.T_base_camera(T_base_flange)
    frame.observation(arguments.out.name, pose)  # raises where the picture would be of no use to a reconstruction
    frame.save(arguments.out, pose)
    height, width = frame.counts.shape
    depth = frame.depth[frame.counts > 0]
    print(
        f"wrote {arguments.out}: {width}x{height}, {100 * len(depth) / frame.counts.size:.0f} % with depth, median {np.median(depth):.3f} m"
    )
    return 0


def _require_flange(calibration: Calibration | None, T_base_flange: np.ndarray | None) -> None:
    if calibration is None and T_base_flange is not None:
        raise InputError("--robot and --joints-deg say where the arm stood; the camera's pose needs --calibration, too")
    if calibration is not None and calibration.mode is CalibrationMode.EYE_IN_HAND and T_base_flange is None:
        raise InputError("the calibrated camera is on the flange: say where the arm stands, with --robot HOST or --joints-deg")
