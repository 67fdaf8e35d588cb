"""`invgraphics devices`: whether arm, hand and camera answer, and how they are. Nothing moves."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from invgraphics.errors import InputError
from robot.arm_reader import read_arm
from robot.mia_hand import MiaHand
from robot.realsense import open_camera, open_recording
from robot.stops import MotionStoppedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--robot", metavar="HOST", help="address of the UR5's controller")
    parser.add_argument(
        "--hand", metavar="PORT", help="serial port of the Mia hand, such as /dev/ttyUSB0; its motors are told to stand still"
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--camera", nargs="?", const="", metavar="SERIAL", help="the RealSense camera, or the one with this serial number")
    camera.add_argument("--recording", type=Path, metavar="FILE", help="a recording in its place, .bag or .db3")


def run(arguments: argparse.Namespace) -> int:
    """Asks each device that is named, and prints a line about it. 0 where all are well, else 1."""
    asked: dict[str, Callable[[], str]] = {}
    if arguments.robot is not None:
        asked["arm"] = lambda: read_arm(arguments.robot).describe()
    if arguments.hand is not None:
        asked["hand"] = lambda: _ask_hand(arguments.hand)
    if arguments.camera is not None or arguments.recording is not None:
        asked["camera"] = lambda: _ask_camera(arguments.camera, arguments.recording)
    if not asked:
        raise InputError("name a device: --robot HOST, --hand PORT, --camera or --recording FILE")
    return max([_ask(name, question) for name, question in asked.items()])


def _ask(name: str, question: Callable[[], str]) -> int:
    try:
        print(f"{name}: {question()}")
    except (InputError, MotionStoppedError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def _ask_hand(port: str) -> str:
    with MiaHand(port) as hand:
        positions = ", ".join(f"{name} {radians:.2f} rad" for name, radians in hand.motor_positions().items())
        echo = "acknowledges commands" if hand.acknowledges else "acknowledges the keep-alive only (older firmware)"
        return f"answers, {echo}; {positions}"


def _ask_camera(serial: str | None, recording: Path | None) -> str:
    with open_recording(recording) if recording else open_camera(serial or None) as camera:
        frame = camera.capture()
    height, width = frame.counts.shape
    depth = frame.depth[frame.counts > 0]
    return (
        f"{frame.model} {frame.serial}, {width}x{height}, focal length {frame.K[0, 0]:.1f} pixels, depth in units of {frame.unit:g} m, "
        f"{100 * len(depth) / frame.counts.size:.0f} % of the pixels, median {np.median(depth):.3f} m"
    )
