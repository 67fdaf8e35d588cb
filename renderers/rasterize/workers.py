"""A small pool of threads that run compiled loops (which release the interpreter's lock) over ranges of work."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

_find_core = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


class Workers:
    """Runs a function over ranges on the calling thread and `threads - 1` others.

    Ranges are handed out in order to whoever is free; results come back in the order of the ranges. Threads are started at the
    first call that needs them, and again in a forked process. Where the system allows, the others keep off the core that the caller runs
    on: woken for a millisecond of work, they would often be put there, and wait until the caller has done it all.
    """

    def __init__(self, threads: int | None = None):
        """`threads` defaults to torch's own number of threads at the time of each call."""
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._pool_owner = (0, 0)
        self._lock = threading.Lock()
        self._helper = threading.local()
        self._cores: set[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

    @property
    def threads(self) -> int:
        """How many threads share the work."""
        return self._threads or torch.get_num_threads()

    def run(self, function: Callable, ranges: Sequence[tuple[int, int]], *arguments: object) -> list:
        """`[function(start, stop, *arguments) for start, stop in ranges]`, spread over the threads."""
        helpers = min(self.threads, len(ranges)) - 1
        if helpers < 1:
            return [function(start, stop, *arguments) for start, stop in ranges]
        results: list = [None] * len(ranges)
        remaining = iter(range(len(ranges)))

        def work() -> None:
            for index in remaining:
                results[index] = function(*ranges[index], *arguments)

        def work_elsewhere(core: int) -> None:
            self._leave(core)
            work()

        pool = self._started_pool()
        core = _find_core() if _find_core is not None else -1
        futures = [pool.submit(work_elsewhere, core) for _ in range(helpers)]
        work()
        for future in futures:
            future.result()
        return results

    def split(self, count: int, least: int) -> list[tuple[int, int]]:
        """Cut `range(count)` into ranges of at least a quarter of `least`, at most four a thread.

        Into one if the count is less than `least`: so much of it should take about 0.2 ms, which is when waking a helper begins to pay.
        """
        parts = min(4 * count // least, 4 * self.threads) if count >= least and self.threads > 1 else 1
        edges = [count * part // parts for part in range(parts + 1)]
        return [(edges[part], edges[part + 1]) for part in range(parts) if edges[part] < edges[part + 1]]

    def _leave(self, core: int) -> None:
        """Keep the helper that runs this off a core, if it may run on others."""
        if getattr(self._helper, "left", -1) == core:
            return
        others = self._cores - {core}
        if others:
            os.sched_setaffinity(0, others)
        self._helper.left = core

    def _started_pool(self) -> ThreadPoolExecutor:
        owner = (os.getpid(), self.threads)
        with self._lock:
            if self._pool is None or self._pool_owner != owner:
                if self._pool is not None and self._pool_owner[0] == os.getpid():
                    self._pool.shutdown(wait=False)
                self._pool = ThreadPoolExecutor(max_workers=self.threads - 1, thread_name_prefix="rasterizer")
                self._pool_owner = owner
        return self._pool
