"""Processes that work through tasks in order, the same whatever their number."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from types import TracebackType

import numba
import torch


class TrialPool:
    """Processes for trials; use it as a context manager, and for as many searches as you like.

    With one process everything runs in the calling one. A script that uses more needs the usual `if __name__ == "__main__"` guard.
    """

    def __init__(self, processes: int | None = None):
        """`processes` defaults to the cores that this process may use. They start with the first task."""
        self.processes = processes if processes is not None else count_cores()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "TrialPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None

    def map(self, function: Callable, tasks: Sequence[tuple]) -> Iterator:
        """`function(*task)` of every task, in order, as results come. Closing the iterator drops tasks that have not begun."""
        if self.processes == 1 or len(tasks) < 2:
            return (function(*task) for task in tasks)
        if self._executor is None:
            self._executor = ProcessPoolExecutor(self.processes, mp_context=_context(), initializer=_take_one_thread)
        return self._executor.map(function, *zip(*tasks, strict=True))


def _take_one_thread() -> None:
    """Processes share the cores; threads of each on top would only be in each other's way."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def count_cores() -> int:
    """Cores that this process may use, where the system tells, else all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _context() -> BaseContext:
    """Clean processes, not copies of this one with its threads and locks; the modules are imported once where the system allows."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["grasp_sim.trial"])
    return context
