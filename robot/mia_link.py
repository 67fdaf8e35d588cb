"""The line to a Mia hand: two threads that keep it alive and read it, what was read last, and a watch that stops the hand and says why.

The first thing that goes wrong is kept: the motors are told to stand still, and from then on nothing is sent that could move them.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invgraphics.errors import InputError, MissingDependencyError
from robot.mia_conversion import count_rate
from robot.mia_protocol import (
    BAUD_RATE,
    KEEP_ALIVE,
    MOTORS,
    SPEED_LIMIT,
    Acknowledgement,
    GarbledLineError,
    Reading,
    Stream,
    decode,
    encode,
    speed_command,
    stream_command,
)
from robot.stops import MotionStoppedError, StopReason

if TYPE_CHECKING:
    import serial

_READ_SECONDS = 0.02
"""For which a read waits for bytes; then the watch looks at what is late."""
_STREAMS = {Stream.POSITION: "position", Stream.CURRENT: "current", Stream.GAUGE: "strain gauges"}
"""The streams that run, and what messages call what they bring."""
_LONGEST_LINE = 200
"""Bytes without a line feed after which they are thrown away; a hand's lines have fewer than 80."""
_LARGEST_COUNT = 400
"""Positions a little outside of their range are a matter of the motors' calibration, those far outside are not positions."""
_JUMP_MARGIN = 12
"""Counts by which two positions may differ besides what full speed allows."""
_LINES_JUDGED, _LEAST_BAD_LINES = 40, 8
"""So many lines are judged together; fewer bad ones than that among them are never too many."""


@dataclass(frozen=True)
class LinkLimits:
    """What a line may do before the hand counts as lost."""

    start_seconds: float = 1.5
    """For the first answer and the first line of every stream."""
    keep_alive_seconds: float = 0.5
    """Between two questions whether it is still there."""
    answer_seconds: float = 1.6
    """Without an answer to them."""
    stream_seconds: float = 0.5
    """Without a line of one of the streams."""
    acknowledge_seconds: float = 0.5
    """For a command's acknowledgement, from a hand that acknowledges."""
    write_seconds: float = 0.5
    """For the port to take a command."""
    bad_share: float = 0.25
    """Of the last 40 lines that may make no sense."""


@dataclass(frozen=True)
class Sample:
    """What a stream said last."""

    values: tuple[int, ...]
    time: float
    """Of its arrival, `time.monotonic`, seconds."""


class MiaLink:
    """An open line to a hand whose streams run. One thread may send; any may look, check and stop."""

    def __init__(self, port: str, limits: LinkLimits, observer: Callable[[str, str], None]):
        """Opens the port and waits for the hand; `observer` is told "sent" or "received" and the text of everything but the keep-alive.

        Raises:
            InputError: there is no such port, or it may not be opened.
            MotionStoppedError: nothing answers there, or it does not answer like a Mia hand.
        """
        self.port, self._limits, self._observer = port, limits, observer
        self.failure: MotionStoppedError | None = None
        """The first thing that went wrong."""
        self.acknowledges = False
        """Whether the hand echoes every command."""
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._samples: dict[Stream, Sample] = {}
        self._suspect: Sample | None = None
        self._echoes: deque[Acknowledgement] = deque(maxlen=64)
        self._lines: deque[bool] = deque(maxlen=_LINES_JUDGED)
        self._answered = time.monotonic()
        self._watching = False
        self._serial, self._port_errors = _open(port, limits.write_seconds)
        self._threads = [
            threading.Thread(target=target, name=f"mia {name}", daemon=True)
            for name, target in (("reader", self._read_for_ever), ("keep-alive", self._keep_alive))
        ]
        for thread in self._threads:
            thread.start()
        self._wait_for_start()

    def close(self) -> None:
        """Stops the motors and the streams, and closes the port."""
        if self.failure is None:
            self._stop_motors()
            for stream in _STREAMS:
                self._write(stream_command(stream, on=False))
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._serial.close()

    def check(self) -> None:
        """Raises `MotionStoppedError` where something has gone wrong."""
        if self.failure is not None:
            raise MotionStoppedError(str(self.failure), self.failure.reason)

    def latest(self, stream: Stream) -> Sample:
        """What a stream said last; fresh, or `check` raises."""
        self.check()
        with self._changed:
            return self._samples[stream]

    def newer(self, stream: Stream, than: float) -> Sample:
        """The next line of a stream that comes after a time (`time.monotonic`)."""
        with self._changed:
            self._changed.wait_for(lambda: self.failure is not None or self._samples[stream].time > than)
        return self.latest(stream)

    def send(self, *commands: str) -> None:
        """Sends commands right after each other, and then waits for their acknowledgements if the hand gives any."""
        self.check()
        with self._changed:
            self._echoes.clear()
        for command in commands:
            self._write(command, unless_failed=True)
        self.check()
        if not self.acknowledges:
            return
        seconds = self._limits.acknowledge_seconds
        with self._changed:
            self._changed.wait_for(lambda: self.failure is not None or all(map(self._acknowledged, commands)), seconds)
            missed = next((command for command in commands if not self._acknowledged(command)), None)
        self.check()
        if missed is not None:
            self.fail(
                StopReason.HAND_SILENT, f"the hand did not acknowledge {missed!r} within {seconds:g} s; it may not have understood it"
            )
            self.check()

    def stop_motors(self) -> None:
        """Tells every motor to stand still, whatever has gone wrong before; raises where the line is gone."""
        if not self._stop_motors():
            self.check()

    def fail(self, reason: StopReason, message: str) -> None:
        """Keeps what went wrong, unless something did before, and tells the motors to stand still."""
        with self._changed:
            if self.failure is not None:
                return
            self.failure = MotionStoppedError(f"{message} ({self.port})", reason)
        if not self._stop_motors():
            with self._changed:
                self.failure = MotionStoppedError(f"{message} ({self.port}); it could not be told to stop", reason)
        with self._changed:
            self._changed.notify_all()

    def _acknowledged(self, command: str) -> bool:
        return any(echo.answers(command) for echo in self._echoes)

    def _wait_for_start(self) -> None:
        """Raises where no hand answers, after closing the port."""
        for stream in _STREAMS:
            self._write(stream_command(stream, on=True))
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure is not None or all(stream in self._samples for stream in _STREAMS), self._limits.start_seconds
            )
            self.acknowledges = self._acknowledged(stream_command(Stream.POSITION, on=True))
            missing = [words for stream, words in _STREAMS.items() if stream not in self._samples]
            answered = bool(self._lines)
            self._watching = not missing
        if missing:
            what = f"sent no {', no '.join(missing)}" if answered else "did not answer"
            hint = "is it switched on, and is this its port?" if not answered else "is it a Mia hand?"
            self.fail(StopReason.HAND_SILENT, f"the hand {what} within {self._limits.start_seconds:g} s; {hint}")
        if self.failure is not None:
            self.close()
            self.check()

    def _stop_motors(self) -> bool:
        return all([self._write(speed_command(motor, 0)) for motor in MOTORS])

    def _write(self, command: str, *, unless_failed: bool = False) -> bool:
        """Whether the command was written.

        `unless_failed` is looked at while nobody else writes: a command is so never written behind the stop that follows a failure.
        """
        try:
            with self._writing:
                if unless_failed and self.failure is not None:
                    return False
                self._serial.write(encode(command))
        except self._port_errors as error:
            self._lose_port(error)
            return False
        if command != KEEP_ALIVE:
            self._observer("sent", command)
        return True

    def _lose_port(self, error: Exception) -> None:
        with self._changed:
            if self.failure is None:
                message = f"the port of the hand is gone: {error} ({self.port}); is the cable plugged in?"
                self.failure = MotionStoppedError(message, StopReason.HAND_SILENT)
            self._changed.notify_all()

    def _keep_alive(self) -> None:
        while self._write(KEEP_ALIVE):
            if self._closing.wait(self._limits.keep_alive_seconds):
                return

    def _read_for_ever(self) -> None:
        try:
            self._read_lines()
        finally:
            if not self._closing.is_set():
                self.fail(StopReason.HAND_FAULT, "the program listens to the hand no more")

    def _read_lines(self) -> None:
        buffer = bytearray()
        while not self._closing.is_set():
            try:
                buffer += self._serial.read(max(1, self._serial.in_waiting))
            except self._port_errors as error:
                self._lose_port(error)
                return
            *lines, rest = bytes(buffer).split(b"\n")
            buffer = bytearray(rest if len(rest) <= _LONGEST_LINE else b"")
            for line in lines:
                self._take(line)
            self._watch()

    def _take(self, line: bytes) -> None:
        sensible = False
        with self._changed:
            with suppress(GarbledLineError):
                sensible = self._note(decode(line), time.monotonic())
            self._lines.append(sensible)
            self._changed.notify_all()
        self._observer("received" if sensible else "garbled", line.decode("ascii", errors="backslashreplace"))

    def _note(self, reply: Acknowledgement | Reading, now: float) -> bool:
        """Whether the reply makes sense after what came before it."""
        if isinstance(reply, Acknowledgement):
            self._echoes.append(reply)
            if reply.answers(KEEP_ALIVE):
                self._answered = now
            return True
        sample = Sample(reply.values, now)
        if reply.stream is Stream.POSITION and not self._plausible(sample):
            self._suspect = sample
            return False
        self._samples[reply.stream] = sample
        return True

    def _plausible(self, sample: Sample) -> bool:
        """Whether the motors can have come there: from where they were, or from where an odd line has said that they are."""
        if max(abs(value) for value in sample.values) > _LARGEST_COUNT:
            return False
        before = self._samples.get(Stream.POSITION)
        return before is None or _within_reach(before, sample) or (self._suspect is not None and _within_reach(self._suspect, sample))

    def _watch(self) -> None:
        """Fails where answers or positions stay away, or too many lines make no sense."""
        if not self._watching or self.failure is not None:
            return
        now = time.monotonic()
        with self._changed:
            silence = now - self._answered
            age, late = max((now - self._samples[stream].time, words) for stream, words in _STREAMS.items())
            bad = self._lines.count(False)
        if bad >= max(_LEAST_BAD_LINES, self._limits.bad_share * len(self._lines)):
            self.fail(
                StopReason.HAND_FAULT, f"{bad} of the last {len(self._lines)} lines of the hand make no sense; look at cable and earth"
            )
        elif age > self._limits.stream_seconds:
            self.fail(StopReason.HAND_SILENT, f"the hand has sent no {late} for {age:.2f} s")
        elif silence > self._limits.answer_seconds:
            self.fail(StopReason.HAND_SILENT, f"the hand has not answered for {silence:.1f} s whether it is there")


def _within_reach(before: Sample, after: Sample) -> bool:
    seconds = after.time - before.time
    limits = [count_rate(SPEED_LIMIT, motor) * seconds + _JUMP_MARGIN for motor in MOTORS]
    return all(abs(b - a) <= limit for a, b, limit in zip(before.values, after.values, limits, strict=True))


def _open(port: str, write_seconds: float) -> tuple["serial.Serial", tuple[type[Exception], ...]]:
    """The port, and what it raises when it is gone."""
    try:
        import serial
    except ImportError as error:
        raise MissingDependencyError("the Mia hand needs pyserial: pip install 'invgraphics[robot]'") from error
    errors = (serial.SerialException, OSError)
    try:
        return serial.Serial(port, BAUD_RATE, timeout=_READ_SECONDS, write_timeout=write_seconds, exclusive=True), errors
    except (*errors, ValueError) as error:
        raise InputError(
            f"the port {port} of the Mia hand cannot be opened: {error}; it is a serial port such as /dev/ttyUSB0, "
            "free, and open to you (group dialout)"
        ) from error
