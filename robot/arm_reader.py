"""Asks a UR controller where its arm stands. It only listens: nothing is sent that could move the arm."""

import numpy as np
from jaxtyping import Float

from invgraphics.errors import InputError, MissingDependencyError

_FREQUENCY = 10.0
_STILL_SPEED = 0.002
"""Radians a second of any joint, above which the arm moves."""


def read_joint_positions(host: str) -> Float[np.ndarray, "6"]:
    """The joints (radians) of an arm that stands still, over RTDE.

    Raises:
        InputError: no controller answers there, or the arm moves.
        MissingDependencyError: ur-rtde is not installed.
    """
    try:
        from rtde_receive import RTDEReceiveInterface
    except ImportError as error:
        raise MissingDependencyError("the UR5 needs ur-rtde, for Linux: pip install 'invgraphics[robot]'") from error
    try:
        receiver = RTDEReceiveInterface(host, _FREQUENCY, ["actual_q", "actual_qd"])
    except RuntimeError as error:
        raise InputError(f"no UR controller answers at {host} (RTDE, port 30004): {error}; is it on, and on this network?") from error
    try:
        joints, speeds = np.array(receiver.getActualQ()), np.array(receiver.getActualQd())
    finally:
        receiver.disconnect()
    if abs(speeds).max() > _STILL_SPEED:
        raise InputError(f"the arm at {host} moves ({np.degrees(abs(speeds).max()):.2f} degrees/s); let go of it and wait until it stands")
    return joints
