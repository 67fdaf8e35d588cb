"""Says so when numba compiles: it is silent, and the first use of a new installation waits for a minute or two."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from numba.core import event

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
