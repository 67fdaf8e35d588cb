"""What the commands that take a picture have in common: which camera, and where the arm stood."""

import argparse
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from invgraphics.errors import InputError
from robot.arm_reader import read_joint_positions
from robot.kinematics import forward_kinematics
from robot.realsense import CapturedFrame, RealSenseCamera, RealSenseSettings, open_camera, open_recording
from robot.stops import MotionStoppedError


def add_camera_arguments(parser: argparse.ArgumentParser) -> None:
    """Which camera."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--serial", help="serial number of the RealSense camera (default: the only one connected)")
    source.add_argument(
        "--recording", type=Path, metavar="FILE", help="a recording of a RealSense camera, .bag or .db3, instead of a camera"
    )
    parser.add_argument("--frames", type=int, default=5, help="pictures over which the depth's median is taken (default 5)")


def add_arm_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the arm stands."""
    arm = parser.add_mutually_exclusive_group()
    arm.add_argument("--robot", metavar="HOST", help="address of the UR5's controller, which is asked where the arm stands; nothing moves")
    arm.add_argument(
        "--joints-deg", type=float, nargs=6, metavar="J", help="the six joints as the teach pendant shows them, degrees, base to wrist 3"
    )


def take_picture(arguments: argparse.Namespace) -> CapturedFrame | None:
    """A picture of the camera or recording that the arguments name; None where it sends none, which is said on stderr."""
    try:
        with _open_camera(arguments) as camera:
            return camera.capture()
    except MotionStoppedError as error:
        print(f"invgraphics {arguments.command}: {error}", file=sys.stderr)
        return None


def _open_camera(arguments: argparse.Namespace) -> AbstractContextManager[RealSenseCamera]:
    settings = RealSenseSettings(frames=arguments.frames)
    if arguments.recording is not None:
        return open_recording(arguments.recording, settings)
    return open_camera(arguments.serial, settings)


def read_flange_pose(arguments: argparse.Namespace) -> Float[np.ndarray, "4 4"] | None:
    """`T_base_flange` as the arguments tell it; None where they do not."""
    if arguments.robot is not None:
        return forward_kinematics(read_joint_positions(arguments.robot))
    if arguments.joints_deg is None:
        return None
    joints = np.radians(arguments.joints_deg)
    if abs(joints).max() > 2 * np.pi:
        raise InputError(f"--joints-deg reaches {max(map(abs, arguments.joints_deg)):g} degrees; a UR5's joints turn by 360 at most")
    return forward_kinematics(joints)
