"""Says so when numba compiles: it is silent, and the first use of a new installation waits for a minute or two.

`renderers` and `grasp_sim` announce it on the log `invgraphics` from when they are imported. Where nobody listens to it, in a notebook
say, Python prints it on stderr; the command line prints it as its own.
"""

import functools
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

from numba.core import event

LOG = "invgraphics"
NOTICE = "compiling for this processor, once for each installation; a minute or two"


class CompilationWatch(event.Listener):
    """Counts kernels as they are compiled; those that are read from numba's cache do not count. Use it as a context manager."""

    def __init__(self, say: Callable[[str], None]):
        """`say` is given the notice when the first kernel is compiled."""
        self.count = 0
        """How many were compiled so far."""
        self._say, self._depth = say, 0

    def __enter__(self) -> "CompilationWatch":
        event.register("numba:compile", self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        event.unregister("numba:compile", self)

    def on_start(self, event: Any) -> None:
        """A kernel, or one that a kernel calls, begins to be compiled."""
        if self.count == 0 and self._depth == 0:
            self._say(NOTICE)
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """It is compiled."""
        self._depth -= 1
        self.count += 1


@functools.cache
def announce_compilation() -> None:
    """Logs the notice, as a warning, when this process compiles its first kernel. Once announced, it is not announced again."""
    event.register("numba:compile", CompilationWatch(logging.getLogger(LOG).warning))
