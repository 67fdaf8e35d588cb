"""Asks a UR controller where its arm stands and how it is. It only listens: nothing is sent that could move the arm.

It speaks RTDE by itself, for a single look needs no client that keeps a connection, and works where ur-rtde has no wheel.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from invgraphics.errors import InputError
from robot.rtde_wire import OUTPUT_TYPES, PROTOCOL_VERSION, RTDE_PORT, PacketType, WireError, pack_packet, take_packets, unpack_fields
from robot.ur_states import RobotMode, RuntimeState, find_hindrance

_FIELDS = ("actual_q", "actual_qd", "robot_mode", "safety_status_bits")
_FREQUENCY = 10.0
"""Hertz at which the controller is asked to send; the first state is all that is taken."""
_TIMEOUT = 3.0
"""Seconds for the connection, and for each answer."""
_STILL_SPEED = 0.002
"""Radians a second of any joint, above which the arm moves."""


@dataclass(frozen=True)
class ArmState:
    """One look at an arm."""

    joints: Float[np.ndarray, "6"]
    """Radians."""
    speeds: Float[np.ndarray, "6"]
    """Radians a second."""
    robot_mode: int
    """A `RobotMode`, if the controller says what the guide says."""
    safety_bits: int

    @property
    def still(self) -> bool:
        """Whether it stands."""
        return bool(abs(self.speeds).max() <= _STILL_SPEED)

    def describe(self) -> str:
        """How it is, for a person. Whether a program runs does not count: the driver starts its own."""
        hindrance = find_hindrance(self.robot_mode, self.safety_bits, RuntimeState.PLAYING)
        modes = {int(mode): mode.name for mode in RobotMode}
        words = "ready to move" if hindrance is None else f"{hindrance.reason.value}: {hindrance.words}"
        degrees = " ".join(f"{joint:.2f}" for joint in np.degrees(self.joints))
        return f"mode {modes.get(self.robot_mode, self.robot_mode)}, joints {degrees} degrees, {words}"


def read_arm(host: str) -> ArmState:
    """How the arm at a controller's address is now, over RTDE.

    Raises:
        InputError: no controller answers there, or not as RTDE version 2 has it.
    """
    types = [OUTPUT_TYPES[name] for name in _FIELDS]
    try:
        with socket.create_connection((host, RTDE_PORT), timeout=_TIMEOUT) as connection:
            packets = _receive(connection)
            connection.sendall(pack_packet(PacketType.REQUEST_PROTOCOL_VERSION, struct.pack(">H", PROTOCOL_VERSION)))
            _expect(packets, PacketType.REQUEST_PROTOCOL_VERSION, b"\x01", host)
            connection.sendall(pack_packet(PacketType.SETUP_OUTPUTS, struct.pack(">d", _FREQUENCY) + ",".join(_FIELDS).encode()))
            recipe = _expect(packets, PacketType.SETUP_OUTPUTS, None, host)
            if recipe[1:].decode("ascii", errors="replace").split(",") != types:
                raise InputError(f"the controller at {host} does not send {', '.join(_FIELDS)}: it answered {recipe[1:]!r}")
            connection.sendall(pack_packet(PacketType.START))
            _expect(packets, PacketType.START, b"\x01", host)
            values = unpack_fields(types, _expect(packets, PacketType.DATA_PACKAGE, None, host)[1:])
    except (OSError, WireError) as error:
        raise InputError(f"no UR controller answers at {host}, port {RTDE_PORT}: {error}; is it on, and on this network?") from error
    joints, speeds, robot_mode, safety_bits = values
    return ArmState(np.array(joints), np.array(speeds), robot_mode, safety_bits)


def read_joint_positions(host: str) -> Float[np.ndarray, "6"]:
    """The joints (radians) of an arm that stands still.

    Raises:
        InputError: no controller answers there, or the arm moves.
    """
    state = read_arm(host)
    if not state.still:
        fastest = np.degrees(abs(state.speeds).max())
        raise InputError(f"the arm at {host} moves ({fastest:.2f} degrees/s); let go of it and wait until it stands")
    return state.joints


def _receive(connection: socket.socket) -> Iterator[tuple[PacketType, bytes]]:
    """Packets as they come; text messages of the controller are left out."""
    buffer = bytearray()
    while chunk := connection.recv(4096):
        buffer += chunk
        yield from (packet for packet in take_packets(buffer) if packet[0] is not PacketType.TEXT_MESSAGE)
    raise ConnectionError("it closed the connection")


def _expect(packets: Iterator[tuple[PacketType, bytes]], kind: PacketType, payload: bytes | None, host: str) -> bytes:
    """The next packet's payload, if it is of that kind (and of that payload)."""
    got, content = next(packets)
    if got is not kind or (payload is not None and content != payload):
        raise InputError(
            f"the controller at {host} answered {got.name} {content!r} where {kind.name} was due; does it speak RTDE version 2?"
        )
    return content
