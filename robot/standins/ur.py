"""A stand-in of a UR controller on the network: RTDE 30004, dashboard 29999, script ports 30001 to 30003, over an arm model.

It listens on the standard ports, which ur-rtde cannot be told to change, of any loopback address (127.0.0.2, ...), so that several can run
side by side. One thread serves all of it and advances the controller in cycles of 8 ms; faults are injected between two cycles. The state
messages that a real controller sends on the script ports are not sent: no client here reads them.
"""

import contextlib
import itertools
import os
import queue
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from robot.rtde_wire import (
    INPUT_TYPES,
    OUTPUT_TYPES,
    PROTOCOL_VERSION,
    RTDE_PORT,
    PacketType,
    pack_fields,
    pack_packet,
    take_packets,
    unpack_fields,
)
from robot.standins.ur_controller import CYCLE, Controller

DASHBOARD_PORT = 29999
SCRIPT_PORTS = (30001, 30002, 30003)
_GREETING = b"Connected: Universal Robots Dashboard Server\n"
_ADDRESSES = itertools.count()
"""One of its own for every stand-in of this process, so that two that start at once do not want the same."""
_MOST_LATE = 10
"""Cycles by which the clock may lag before it forgets them."""


@dataclass
class LinkFaults:
    """What is wrong with the line; changed between two cycles."""

    silent: bool = False
    """No data packages are sent."""
    frozen: Controller | None = None
    """Data packages go on telling this state."""
    drop_every: int = 0
    """Every n-th data package is lost."""
    delay: float = 0.0
    """Seconds by which data packages are late."""
    mangle: Callable[[bytes], bytes] | None = None
    """What becomes of a data package on its way."""
    refuse_version: bool = False
    """Protocol version 2 is refused."""
    dashboard_silent: bool = False
    """The dashboard server accepts and says nothing."""
    drop_scripts: bool = False
    """Programs that are sent never start."""


@dataclass(eq=False)
class _Client:
    """One connection."""

    socket: socket.socket
    port: int
    buffer: bytearray = field(default_factory=bytearray)
    outputs: tuple[str, ...] = ()
    every: int = 1
    """Cycles between two data packages."""
    recipes: list[tuple[str, ...]] = field(default_factory=list)
    started: bool = False
    late: deque[tuple[float, bytes]] = field(default_factory=deque)
    """Data packages that are on their way, with the times of their arrival."""


class URStandIn:
    """The controller on the network; a context manager."""

    def __init__(self, controller: Controller, address: str | None = None, *, speedup: float = 1.0, patience: float = 0.0):
        """`address` is a loopback address on which the standard ports are free; one is looked for where not given.

        With a `speedup` a cycle takes that much less time than the 8 ms that the controller takes it for. A client that steers the arm
        by setpoints is waited for, up to `patience` seconds a cycle: what a busy computer makes late is late for both. A real controller
        waits for nobody.
        """
        self.address = address or _find_free_address()
        self._period, self._patience = CYCLE / speedup, patience
        self._unanswered = False
        """Whether the setpoint that follows the last state has not come yet."""
        self.controller = controller
        self.link = LinkFaults()
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[int, socket.socket] = {}
        self._clients: list[_Client] = []
        self._requests: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._cycles = 0
        self._thread = threading.Thread(target=self._serve, name=f"ur stand-in {self.address}", daemon=True)

    def __enter__(self) -> "URStandIn":
        for port in (RTDE_PORT, DASHBOARD_PORT, *SCRIPT_PORTS):
            self._listeners[port] = _listen(self.address, port)
            self._selector.register(self._listeners[port], selectors.EVENT_READ, port)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._close_clients(hard=False)
        for listener in self._listeners.values():
            listener.close()
        self._selector.close()

    def inject(self, change: Callable[[], None]) -> float:
        """Applies a change between two cycles; the monotonic time just before it was done, by the stand-in's own thread."""
        done, times = threading.Event(), list[float]()

        def timed() -> None:
            times.append(time.monotonic())
            change()

        self._requests.put((timed, done))
        if not done.wait(5.0):
            raise TimeoutError("the stand-in's loop does not run")
        return times[0]

    def reset_connections(self, ports: tuple[int, ...] = (RTDE_PORT, DASHBOARD_PORT, *SCRIPT_PORTS)) -> None:
        """Sends a TCP reset on every connection to these ports; to be called through `inject`."""
        self._close_clients(hard=True, ports=ports)

    def close_connections(self) -> None:
        """Closes every connection as a controller that shuts down does; to be called through `inject`."""
        self._close_clients(hard=False)

    def stop_listening(self) -> None:
        """Refuses new connections from now on; to be called through `inject`."""
        for listener in self._listeners.values():
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()

    def _serve(self) -> None:
        due = time.monotonic() + self._period
        while not self._stopping.is_set():
            for key, _ in self._selector.select(max(self._next_cycle(due) - time.monotonic(), 0.0)):
                self._attend(key)
            if time.monotonic() >= self._next_cycle(due):
                self._cycle()
                due += self._period
                if time.monotonic() - due > _MOST_LATE * self._period:
                    due = time.monotonic() + self._period

    def _next_cycle(self, due: float) -> float:
        return due + self._patience if self._unanswered else due

    def _cycle(self) -> None:
        while not self._requests.empty():
            change, done = self._requests.get()
            change()
            done.set()
        self.controller.cycle()
        self._cycles += 1
        self._unanswered = self.controller.expects_setpoint
        for client in list(self._clients):
            if client.port == RTDE_PORT:
                self._send_state(client)

    def _attend(self, key: selectors.SelectorKey) -> None:
        if isinstance(key.data, int):
            connection, _ = key.fileobj.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = _Client(connection, key.data)
            self._clients.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)
            if client.port == DASHBOARD_PORT and not self.link.dashboard_silent:
                self._send(client, _GREETING)
        elif key.data in self._clients:
            self._read(key.data)

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.buffer += data
        if client.port == RTDE_PORT:
            for kind, payload in take_packets(client.buffer):
                self._answer_rtde(client, kind, payload)
        elif client.port == DASHBOARD_PORT:
            self._answer_dashboard(client)
        else:
            self._take_script(client)

    def _answer_dashboard(self, client: _Client) -> None:
        while b"\n" in client.buffer:
            line, _, rest = bytes(client.buffer).partition(b"\n")
            client.buffer[:] = rest
            if not self.link.dashboard_silent:
                self._send(client, self.controller.answer(line.decode()).encode() + b"\n")

    def _take_script(self, client: _Client) -> None:
        """A program ends with `end` at the start of a line; a line outside any program is one by itself."""
        text = client.buffer.decode()
        is_complete = text.endswith("\nend\n") if text.lstrip().startswith("def ") else text.endswith("\n")
        if is_complete:
            client.buffer.clear()
            if not self.link.drop_scripts:
                self.controller.start_script(text)

    def _answer_rtde(self, client: _Client, kind: PacketType, payload: bytes) -> None:
        if kind is PacketType.DATA_PACKAGE:
            self._take_inputs(client, payload)
            return
        answers: dict[PacketType, Callable[[], bytes]] = {
            PacketType.REQUEST_PROTOCOL_VERSION: lambda: bytes([self._accepts(payload)]),
            PacketType.GET_CONTROLLER_VERSION: lambda: struct.pack(">4I", *self.controller.identity.version),
            PacketType.SETUP_OUTPUTS: lambda: self._set_outputs(client, payload),
            PacketType.SETUP_INPUTS: lambda: self._set_inputs(client, payload),
            PacketType.START: lambda: self._start(client, True),
            PacketType.PAUSE: lambda: self._start(client, False),
        }
        if kind in answers:
            self._send(client, pack_packet(kind, answers[kind]()))

    def _accepts(self, payload: bytes) -> bool:
        return int.from_bytes(payload, "big") == PROTOCOL_VERSION and not self.link.refuse_version

    def _set_outputs(self, client: _Client, payload: bytes) -> bytes:
        (frequency,) = struct.unpack_from(">d", payload)
        client.outputs = _names(payload[8:])
        client.every = max(round(1 / (frequency * CYCLE)), 1)
        types = [OUTPUT_TYPES.get(name, "NOT_FOUND") for name in client.outputs]
        return bytes([0 if "NOT_FOUND" in types else 1]) + ",".join(types).encode()

    def _set_inputs(self, client: _Client, payload: bytes) -> bytes:
        names = _names(payload)
        taken = {name for other in self._clients if other is not client for recipe in other.recipes for name in recipe}
        types = ["IN_USE" if name in taken else INPUT_TYPES.get(name, "NOT_FOUND") for name in names]
        if {"IN_USE", "NOT_FOUND"} & set(types):
            return bytes([0]) + ",".join(types).encode()
        client.recipes.append(names)
        return bytes([len(client.recipes)]) + ",".join(types).encode()

    def _start(self, client: _Client, started: bool) -> bytes:
        client.started = started and bool(client.outputs)
        return bytes([client.started == started])

    def _take_inputs(self, client: _Client, payload: bytes) -> None:
        self._unanswered = False
        recipe = client.recipes[payload[0] - 1]
        for name, value in zip(recipe, unpack_fields([INPUT_TYPES[name] for name in recipe], payload[1:]), strict=True):
            self.controller.write_input(name, value)
            if name in ("input_int_register_0", "input_int_register_24"):
                self.controller.note_command(int(value))

    def _send_state(self, client: _Client) -> None:
        while client.late and client.late[0][0] <= time.monotonic():
            self._send(client, client.late.popleft()[1])
        if not client.started or self._cycles % client.every or self.link.silent:
            return
        if self.link.drop_every and self._cycles % self.link.drop_every == 0:
            return
        state = self.link.frozen or self.controller
        fields = pack_fields([OUTPUT_TYPES[name] for name in client.outputs], [state.field(name) for name in client.outputs])
        packet = pack_packet(PacketType.DATA_PACKAGE, b"\x01" + fields)
        if self.link.mangle is not None:
            packet = self.link.mangle(packet)
        if self.link.delay or client.late:
            client.late.append((time.monotonic() + self.link.delay, packet))
        else:
            self._send(client, packet)

    def _send(self, client: _Client, data: bytes) -> None:
        try:
            client.socket.sendall(data)
        except OSError:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.socket)
            client.socket.close()

    def _close_clients(self, hard: bool, ports: tuple[int, ...] = (RTDE_PORT, DASHBOARD_PORT, *SCRIPT_PORTS)) -> None:
        for client in [client for client in self._clients if client.port in ports]:
            if hard:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._drop(client)


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    return listener


def _find_free_address() -> str:
    """A loopback address on whose RTDE port nothing listens."""
    start = os.getpid() % 200 + next(_ADDRESSES)
    for offset in range(250):
        address = f"127.0.{1 + (start + offset) // 250 % 250}.{1 + (start + offset) % 250}"
        with contextlib.suppress(OSError), _listen(address, RTDE_PORT):
            return address
    raise OSError("no loopback address with a free RTDE port was found")


def _names(payload: bytes) -> tuple[str, ...]:
    return tuple(name for name in payload.decode().split(",") if name)
