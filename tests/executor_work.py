"""Work for executors, in a module that their processes can import."""

import os
import time
from pathlib import Path

import numba


def measure_length(item: str, base: int, parent: int) -> tuple[str, int]:
    """The item and a number; kills any process but the parent over the item "deadly"."""
    if item == "deadly" and os.getpid() != parent:
        os._exit(1)
    return item, base + len(item)


def leave_a_mark(item: int, folder: Path) -> int:
    """A file for the item. All but the first wait for the file "interrupted", and a little longer."""
    (folder / str(item)).touch()
    end = time.monotonic() + 60.0
    while item and not (folder / "interrupted").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2 * bool(item))
    return item


def compile_in_company(item: int, folder: Path, workers: int) -> int:
    """Compiles something, and is done once as many processes have."""
    result = numba.njit(lambda x: x + item)(item)
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 120.0
    while len(list(folder.iterdir())) < workers:
        assert time.monotonic() < end, "the other workers never came"
        time.sleep(0.05)
    return result
