"""The log of everything that was commanded and everything that the machine said: JSON lines, one a record, written as they come.

Every record has `time` (UTC, ISO 8601), `clock` (monotonic seconds, to compare records of one run) and `kind`; the rest depends on it.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from invgraphics.errors import InputError

FORMAT = "invgraphics robot log 1"


class RobotLog:
    """A file that is only appended to; any thread may write. A context manager."""

    def __init__(self, path: Path):
        """Starts the file; `FileExistsError` where there is one already, for a log is never overwritten."""
        self.path = path
        self._file = path.open("x", encoding="utf-8")
        self._lock = threading.Lock()
        self.write("log", format=FORMAT)

    def __enter__(self) -> "RobotLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, kind: str, *, clock: float | None = None, **entries: Any) -> None:
        """One record; arrays, tuples and enums become lists and names. After `close` records are dropped."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"time": now, "clock": round(time.monotonic() if clock is None else clock, 6), "kind": kind, **entries}
        line = json.dumps(record, default=_plain) + "\n"
        with self._lock:
            if not self._file.closed:
                self._file.write(line)
                if kind != "state":
                    self._file.flush()

    def close(self) -> None:
        """Writes what is left."""
        with self._lock:
            self._file.close()


@dataclass(frozen=True)
class Record:
    """One line of a log."""

    clock: float
    """Monotonic seconds; only differences mean something."""
    kind: str
    entries: Mapping[str, Any]
    """All that the line says."""


def read_log(path: Path) -> Iterator[Record]:
    """The records of a log in order; `InputError` where a line is none. A last line that was cut off by a crash is left out."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entries = json.loads(line)
                yield Record(float(entries["clock"]), str(entries["kind"]), entries)
            except (ValueError, KeyError, TypeError):
                if line.endswith("\n"):
                    raise InputError(f"{path}, line {number}: not a record of a robot log") from None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a log")
