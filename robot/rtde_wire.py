"""Packets of RTDE, protocol version 2: the real-time data exchange of Universal Robots' controllers, TCP port 30004.

Source: the guide "Real-Time Data Exchange (RTDE)" of Universal Robots. Every packet is a big-endian header, uint16 size of the whole packet
and uint8 type, and a payload. A data package is the recipe's uint8 and the recipe's fields, big-endian, without gaps.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum

RTDE_PORT = 30004
PROTOCOL_VERSION = 2
_HEADER = struct.Struct(">HB")

Value = bool | int | float | tuple[int, ...] | tuple[float, ...]


class PacketType(IntEnum):
    """The type byte, an ASCII letter."""

    REQUEST_PROTOCOL_VERSION = ord("V")
    GET_CONTROLLER_VERSION = ord("v")
    TEXT_MESSAGE = ord("M")
    DATA_PACKAGE = ord("U")
    SETUP_OUTPUTS = ord("O")
    SETUP_INPUTS = ord("I")
    START = ord("S")
    PAUSE = ord("P")


_KINDS = frozenset(PacketType)

_FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT32": "I",
    "INT32": "i",
    "UINT64": "Q",
    "DOUBLE": "d",
    "VECTOR3D": "3d",
    "VECTOR6D": "6d",
    "VECTOR6INT32": "6i",
    "VECTOR6UINT32": "6I",
}
_LENGTHS = {"VECTOR3D": 3, "VECTOR6D": 6, "VECTOR6INT32": 6, "VECTOR6UINT32": 6}


class WireError(Exception):
    """Bytes that are no RTDE packet."""


def pack_packet(kind: PacketType, payload: bytes = b"") -> bytes:
    """One packet."""
    return _HEADER.pack(_HEADER.size + len(payload), kind) + payload


def take_packets(buffer: bytearray) -> Iterator[tuple[PacketType, bytes]]:
    """Takes the complete packets off the front of a buffer. Raises `WireError` where it does not start with one."""
    while len(buffer) >= _HEADER.size:
        size, kind = _HEADER.unpack_from(buffer)
        if size < _HEADER.size or kind not in _KINDS:
            raise WireError(f"a packet of {size} bytes of type {kind}")
        if len(buffer) < size:
            return
        payload = bytes(buffer[_HEADER.size : size])
        del buffer[:size]
        yield PacketType(kind), payload


def pack_fields(types: Sequence[str], values: Sequence[Value]) -> bytes:
    """The fields of a recipe; vectors are tuples."""
    parts = (
        struct.pack(">" + _FORMATS[kind], *(value if kind in _LENGTHS else (value,))) for kind, value in zip(types, values, strict=True)
    )
    return b"".join(parts)


def unpack_fields(types: Sequence[str], payload: bytes) -> list[Value]:
    """The opposite of `pack_fields`; raises `WireError` where the payload is not as long as the types say."""
    layout = ">" + "".join(_FORMATS[kind] for kind in types)
    if struct.calcsize(layout) != len(payload):
        raise WireError(f"{len(payload)} bytes for {', '.join(types)}")
    flat = iter(struct.unpack(layout, payload))
    return [tuple(next(flat) for _ in range(_LENGTHS[kind])) if kind in _LENGTHS else next(flat) for kind in types]


OUTPUT_TYPES = (
    {
        "timestamp": "DOUBLE",
        "actual_execution_time": "DOUBLE",
        "speed_scaling": "DOUBLE",
        "target_speed_fraction": "DOUBLE",
        "actual_momentum": "DOUBLE",
        "actual_main_voltage": "DOUBLE",
        "actual_robot_voltage": "DOUBLE",
        "actual_robot_current": "DOUBLE",
        "payload": "DOUBLE",
        "robot_mode": "INT32",
        "safety_mode": "INT32",
        "runtime_state": "UINT32",
        "robot_status_bits": "UINT32",
        "safety_status_bits": "UINT32",
        "actual_digital_input_bits": "UINT64",
        "actual_digital_output_bits": "UINT64",
        "joint_mode": "VECTOR6INT32",
        "payload_cog": "VECTOR3D",
        "actual_tool_accelerometer": "VECTOR3D",
        "payload_inertia": "VECTOR6D",
    }
    | {
        name: "VECTOR6D"
        for name in (
            *("target_q", "target_qd", "target_qdd", "target_current", "target_moment"),
            *("actual_q", "actual_qd", "actual_current", "joint_control_output", "joint_temperatures", "actual_joint_voltage"),
            *("actual_TCP_pose", "actual_TCP_speed", "actual_TCP_force", "target_TCP_pose", "target_TCP_speed"),
        )
    }
    | {f"standard_analog_{way}{k}": "DOUBLE" for way in ("input", "output") for k in (0, 1)}
    | {f"output_int_register_{k}": "INT32" for k in range(48)}
    | {f"output_double_register_{k}": "DOUBLE" for k in range(48)}
)
"""What a controller of the CB series can send, as far as it is used here; type by name."""

INPUT_TYPES = (
    {
        "speed_slider_mask": "UINT32",
        "speed_slider_fraction": "DOUBLE",
        "standard_digital_output_mask": "UINT8",
        "standard_digital_output": "UINT8",
        "external_force_torque": "VECTOR6D",
    }
    | {f"input_int_register_{k}": "INT32" for k in range(48)}
    | {f"input_double_register_{k}": "DOUBLE" for k in range(48)}
)
"""What a client may write; type by name."""
