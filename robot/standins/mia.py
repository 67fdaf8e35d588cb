"""A Mia hand that is not there: a pseudo-terminal that speaks its protocol byte for byte, motors that take time, obstacles, and faults.

    with MiaStandIn() as hand:
        hand.plant.block("j_mrl_fle", at=120)
        driver = MiaHand(hand.port)

The protocol is written here a second time, from the wire's side, so that a mistake in `robot.mia_protocol` shows. Where the motors
belong to a simulated hand, give a `plant` of your own that moves it.
"""

import os
import pty
import re
import threading
import time
import tty
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np

from robot.standins.mia_motors import BlockableMotors, Drive, MotorState

TICK = 0.01
"""Seconds between two steps of the hand's own controller; the streams share its 100 lines a second."""

_COMMAND_BYTES = 18
_NAMES = {"1": "j_thumb_fle", "2": "j_mrl_fle", "3": "j_index_fle"}
_GAUGE_SHARES = {"j_mrl_fle": (0, 5), "j_index_fle": (2, 1), "j_thumb_fle": (3, 4)}
"""Places of a finger's two strain gauges in their line."""
_GAUGE_REST, _GAUGE_SPAN = 20, 600
_CURRENT_REST, _CURRENT_SPAN = 8, 700
_PREFIXES = {"P": "enc", "S": "spe", "C": "cur", "A": "adc"}
_FACTORY_GRASPS = {
    "C": {"1": (0, 200), "2": (0, 255), "3": (0, 255)},
    "P": {"1": (0, 150), "2": (0, 0), "3": (40, 235)},
    "L": {"1": (60, 230), "2": (180, 180), "3": (-200, -200)},
    "S": {"1": (0, 160), "2": (0, 235), "3": (0, 235)},
    "T": {"1": (0, 150), "2": (30, 225), "3": (40, 225)},
}
"""Rest and closed counts by grasp and motor; a real hand's own are not published."""

_POSITION = re.compile(r"@([123])P([+-])0(\d{3})(\d{2})\.{6}")
_SPEED = re.compile(r"@([123])S([+-])\.{4}(\d{2})(\d{2})\.{4}")
_FORCE = re.compile(r"@([123])F\+\.{4}(\d{2})(\d{2})\.{4}")
_STREAM = re.compile(r"@AD([PSCA])([01])\.{11}")
_GRASP = re.compile(r"@AG([CPLST])([aAM])(\d{3})(\d{2})\.{6}")
_REFERENCE = re.compile(r"@([123])G([CPLST])([+-]\d{3})([+-]\d{3})\+(\d{3})")


@runtime_checkable
class MotorPlant(Protocol):
    """What the hand's controller moves."""

    def advance(self, seconds: float, drives: Mapping[str, Drive]) -> Mapping[str, MotorState]:
        """Moves every motor as its drive says, and tells where it stands and how hard it is held up."""
        ...


class MiaFault(Enum):
    """What can go wrong with the line or the hand; `amount` is what `inject` takes with it."""

    SILENT = "sends nothing at all, and obeys"
    DEAD_KEEP_ALIVE = "streams, but does not answer the keep-alive"
    DELAYED = "sends every line `amount` seconds late"
    TRUNCATED = "cuts a share `amount` of the lines short"
    CORRUPTED = "changes a bit in a share `amount` of the lines"
    NOISE = "puts random bytes between a share `amount` of the lines"
    WRONG_STREAM = "sends speeds where positions were asked for"
    NO_GAUGES = "sends positions and currents, but no strain gauges"
    FROZEN = "sends the same positions for ever"
    DEAF = "acknowledges motion commands, and does not move"
    UNACKNOWLEDGED = "does not acknowledge motion commands, and does not move"
    RUNAWAY = "turns the motors the other way"
    RESTARTED = "starts anew: streams off, motors off"
    UNPLUGGED = "the cable comes off"


@dataclass
class _Line:
    due: float
    data: bytes


@dataclass
class _State:
    """What the hand's controller remembers; lost when it restarts."""

    streams: list[str] = field(default_factory=list)
    drives: dict[str, Drive] = field(default_factory=dict)
    grasps: dict[str, dict[str, tuple[int, int]]] = field(default_factory=lambda: {k: dict(v) for k, v in _FACTORY_GRASPS.items()})
    turn: int = 0


class MiaStandIn:
    """A hand at the other end of `port`, from `with` to the end of its block."""

    def __init__(self, plant: MotorPlant | None = None, *, acknowledges: bool = True, seed: int = 0):
        """`acknowledges` is the newer firmware, which echoes every command; the older one answers the keep-alive only."""
        self.plant = plant if plant is not None else BlockableMotors()
        self.port = ""
        """Path of the pseudo-terminal, as `MiaHand` takes it."""
        self.received: list[tuple[float, str]] = []
        """Every command understood, with the time (`time.monotonic`) at which it came."""
        self.misunderstood: list[bytes] = []
        """What came and is no command."""
        self._acknowledges = acknowledges
        self._generator = np.random.default_rng(seed)
        self._state, self._faults = _State(), dict[MiaFault, float]()
        self._motors: dict[str, MotorState] = dict(self.plant.advance(0.0, {}))
        self._lock, self._closing = threading.RLock(), threading.Event()
        self._outgoing: list[_Line] = []
        self._shown = [0.0, 0.0, 0.0]
        self._incoming = bytearray()

    def __enter__(self) -> "MiaStandIn":
        """Opens the pseudo-terminal and starts the hand."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run, name="mia stand-in", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the hand and closes the pseudo-terminal."""
        self._closing.set()
        self._thread.join()
        self._unplug()

    def inject(self, fault: MiaFault, amount: float = 1.0) -> float:
        """A fault from now on; the value is the time (`time.monotonic`) of its start."""
        with self._lock:
            self._faults[fault] = amount
            if fault is MiaFault.RESTARTED:
                self._state = _State()
                del self._faults[fault]
            if fault is MiaFault.UNPLUGGED:
                self._unplug()
            return time.monotonic()

    def clear(self) -> None:
        """No faults any more (a cable that came off stays off)."""
        with self._lock:
            self._faults = {fault: amount for fault, amount in self._faults.items() if fault is MiaFault.UNPLUGGED}

    def motor_counts(self) -> dict[str, float]:
        """Where the motors truly stand, counts by motor name."""
        with self._lock:
            return {name: state.counts for name, state in self._motors.items()}

    def motion_commands(self, since: float = 0.0) -> list[str]:
        """Commands received after a time that make a motor move; those that stop it are not among them."""
        with self._lock:
            return [text for when, text in self.received if when > since and _moves(text)]

    def stop_time(self, since: float) -> float | None:
        """When, after a time, all three motors had been told to stand still; None if they were not."""
        with self._lock:
            times = {text[1]: when for when, text in reversed(self.received) if when > since and _stops(text)}
        return max(times.values()) if len(times) == len(_NAMES) else None

    def _run(self) -> None:
        last = time.monotonic()
        while not self._closing.wait(TICK):
            now = time.monotonic()
            with self._lock:
                if MiaFault.UNPLUGGED in self._faults:
                    return
                self._receive()
                self._motors = dict(self.plant.advance(now - last, self._obeyed_drives()))
                self._send_next_stream(now)
                self._deliver(now)
            last = now

    def _receive(self) -> None:
        self._incoming += _read(self._master)
        while (end := self._incoming.find(b"*\r")) >= 0:
            data, self._incoming = bytes(self._incoming[:end]), self._incoming[end + 2 :]
            if len(data) + 2 == _COMMAND_BYTES and data.isascii():
                self._obey(data.decode("ascii"), time.monotonic())
            else:
                self.misunderstood.append(data)

    def _obey(self, text: str, now: float) -> None:
        keep_alive = text == "@?AreYouPlugged?"
        if not keep_alive and not self._understand(text):
            self.misunderstood.append(text.encode("ascii"))
            return
        self.received.append((now, text))
        silent = MiaFault.DEAD_KEEP_ALIVE in self._faults if keep_alive else not self._acknowledges
        if not silent and not (MiaFault.UNACKNOWLEDGED in self._faults and (_moves(text) or _stops(text))):
            self._queue(now, f"<{text[1:]}\n".encode("ascii"))

    def _understand(self, text: str) -> bool:
        state = self._state
        if match := _POSITION.fullmatch(text):
            number, sign, counts, percent = match.groups()
            state.drives[_NAMES[number]] = Drive(target=float(f"{sign}{counts}"), percent=float(percent))
        elif match := _SPEED.fullmatch(text):
            number, sign, speed, percent = match.groups()
            state.drives[_NAMES[number]] = Drive(speed=float(f"{sign}{speed}"), percent=float(percent))
        elif match := _FORCE.fullmatch(text):
            number, force, percent = match.groups()
            state.drives[_NAMES[number]] = Drive(target=255.0, percent=min(float(force), float(percent)))
        elif match := _STREAM.fullmatch(text):
            state.streams = [letter for letter in state.streams if letter != match[1]] + [match[1]] * int(match[2])
        elif match := _REFERENCE.fullmatch(text):
            state.grasps[match[2]][match[1]] = (int(match[3]), int(match[4]))
        elif match := _GRASP.fullmatch(text):
            self._grasp(*match.groups())
        else:
            return False
        return True

    def _grasp(self, letter: str, how: str, closing: str, percent: str) -> None:
        share = {"a": 0.0, "A": 1.0, "M": float(closing) / 100}[how]
        for number, (rest, closed) in self._state.grasps[letter].items():
            self._state.drives[_NAMES[number]] = Drive(target=rest + share * (closed - rest), percent=float(percent))

    def _obeyed_drives(self) -> dict[str, Drive]:
        if MiaFault.DEAF in self._faults or MiaFault.UNACKNOWLEDGED in self._faults:
            return {}
        if MiaFault.RUNAWAY in self._faults:
            return {name: drive.reversed(self._motors[name].counts) for name, drive in self._state.drives.items()}
        return self._state.drives

    def _send_next_stream(self, now: float) -> None:
        """One line a tick, the streams taking turns."""
        if not self._state.streams:
            return
        self._state.turn = (self._state.turn + 1) % len(self._state.streams)
        letter = self._state.streams[self._state.turn]
        if letter == "P" and MiaFault.WRONG_STREAM in self._faults:
            letter = "S"
        if not (letter == "A" and MiaFault.NO_GAUGES in self._faults):
            self._queue(now, _format(_PREFIXES[letter], self._values(letter)))

    def _values(self, letter: str) -> list[float]:
        states = [self._motors[name] for name in _NAMES.values()]
        if letter == "P":
            if MiaFault.FROZEN not in self._faults:
                self._shown = [state.counts for state in states]
            return [*self._shown, 0.0]
        if letter == "S":
            return [*(state.speed for state in states), 0.0]
        if letter == "C":
            return [*(_CURRENT_REST * (state.speed != 0) + _CURRENT_SPAN * state.load for state in states), 0.0]
        gauges = self._generator.normal(_GAUGE_REST, 1.0, 8)
        for name, (main, side) in _GAUGE_SHARES.items():
            gauges[main] += _GAUGE_SPAN * self._motors[name].load
            gauges[side] += 0.3 * _GAUGE_SPAN * self._motors[name].load
        return gauges.tolist()

    def _queue(self, now: float, line: bytes) -> None:
        if MiaFault.SILENT in self._faults:
            return
        self._outgoing.append(_Line(now + self._faults.get(MiaFault.DELAYED, 0.0), self._spoil(line)))

    def _spoil(self, line: bytes) -> bytes:
        data = bytearray(line)
        if self._hits(MiaFault.CORRUPTED):
            data[self._generator.integers(len(data) - 1)] ^= 1 << int(self._generator.integers(7))
        if self._hits(MiaFault.TRUNCATED):
            del data[int(self._generator.integers(1, len(data) - 1)) : -1]
        if self._hits(MiaFault.NOISE):
            data[:0] = self._generator.integers(0, 256, int(self._generator.integers(1, 60)), dtype=np.uint8).tobytes()
        return bytes(data)

    def _hits(self, fault: MiaFault) -> bool:
        return fault in self._faults and self._generator.random() < self._faults[fault]

    def _deliver(self, now: float) -> None:
        while self._outgoing and self._outgoing[0].due <= now:
            _write(self._master, self._outgoing.pop(0).data)

    def _unplug(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1


def _format(prefix: str, values: list[float]) -> bytes:
    fields = " ; ".join(f"{'-' if round(value) < 0 else '+'}{abs(round(value)):05d}" for value in values)
    return f"{prefix} : {fields}\n".encode("ascii")


def _moves(text: str) -> bool:
    return (text[1] in "123" and text[2] in "PSF" and not _stops(text)) or text.startswith("@AG")


def _stops(text: str) -> bool:
    match = _SPEED.fullmatch(text)
    return match is not None and int(match[3]) == 0


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    """Writes what the line takes; a hand does not wait for a reader either."""
    try:
        os.write(descriptor, data)
    except BlockingIOError:
        return
