"""Many independent pieces of work: one after another, on processes of this machine, or on a Ray cluster."""

import argparse
import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.synchronize import Lock
from typing import Any, TypeVar

import numba
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from grasp_sim.pool import count_cores
from invgraphics import __version__
from invgraphics.compilation import LOG, announce_compilation
from invgraphics.errors import InputError
from invgraphics.report.html import count

EXECUTORS = ("processes", "ray")
Item = TypeVar("Item")
T = TypeVar("T")


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """--workers and --executor."""
    parser.add_argument(
        "--workers",
        "--processes",
        type=int,
        metavar="N",
        help="images worked on at a time, each on one thread (default: half the cores, or all of a cluster's); the result does not depend "
        "on it",
    )
    parser.add_argument(
        "--executor", choices=EXECUTORS, default=EXECUTORS[0], help="where: processes of this machine, or a Ray cluster (RAY_ADDRESS)"
    )


def describe_machine() -> dict[str, object]:
    """Device and versions, for the record."""
    return {
        "device": f"{platform.processor() or platform.machine()}, {count_cores()} cores",
        "versions": {"invgraphics": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def choose_workers(workers: int | None, executor: str) -> int | None:
    """How many pieces of work are done at a time: as asked for, else half of this machine's cores; None for as many as a cluster has.

    Raises:
        InputError: fewer than one is asked for.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    return max(1, count_cores() // 2) if workers is None and executor == EXECUTORS[0] else workers


def show_progress(results: Iterable[T], total: int, completed: int, console: Console) -> Iterator[T]:
    """The results as they come, behind one progress bar."""
    if completed:
        console.print(f"{count(completed, 'image')} already done", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("images", total=total, completed=completed)
        for result in results:
            progress.advance(task)
            yield result


def run_all(
    function: Callable[[Item], T], items: Sequence[Item], bury: Callable[[Item], T], workers: int | None, executor: str = "processes"
) -> Iterator[T]:
    """The function's result of every item, as they come.

    Args:
        function: takes an item to its result on one thread; records what it can of a failure itself. Must survive pickling.
        items: names of images, for example; must survive pickling.
        bury: takes an item on which the process died to its result.
        workers: pieces of work done at a time; None for half the cores of this machine, or for all of a cluster's.
        executor: one of `EXECUTORS`. Ray starts on this machine unless the environment variable RAY_ADDRESS names a cluster; what the
            function reads and writes must lie on a file system that all machines share.

    Raises:
        InputError: Ray is asked for and not installed, or `workers` is less than 1.
    """
    workers = choose_workers(workers, executor)
    if executor == "ray":
        yield from _run_on_ray(function, items, bury, workers)
        return
    if workers == 1 or len(items) <= 1:
        yield from map(function, items)
        return
    yield from _run_on_processes(function, items, bury, workers)


def _run_on_processes(function: Callable[[Item], T], items: Sequence[Item], bury: Callable[[Item], T], workers: int) -> Iterator[T]:
    """Where a process dies, it takes its pool with it: what was not done then gets a process for each item."""
    left = list(items)
    with _make_pool(workers) as pool:
        futures = {pool.submit(function, item): item for item in items}
        try:
            for future in as_completed(futures):
                result = future.result()
                left.remove(futures[future])
                yield result
        except BrokenProcessPool:
            pass
        finally:
            # Leaving the pool waits for all that was handed to it: once interrupted, only for what has begun.
            pool.shutdown(wait=False, cancel_futures=True)
    for item in left:
        yield _run_alone(function, item, bury)


def _run_alone(function: Callable[[Item], T], item: Item, bury: Callable[[Item], T]) -> T:
    with _make_pool(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return bury(item)


def _make_pool(workers: int) -> ProcessPoolExecutor:
    context = get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start_worker, (context.Lock(),))


def _start_worker(notice: Lock) -> None:
    """All workers compile what is not compiled yet; whoever gets the lock says so for all of them."""
    take_one_thread()
    announce_compilation()
    logging.getLogger(LOG).addFilter(lambda record: notice.acquire(block=False))


def take_one_thread() -> None:
    """Keeps a worker to one thread, so that many of them share a machine and the result is the same."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _run_on_ray(function: Callable[[Item], T], items: Sequence[Item], bury: Callable[[Item], T], workers: int | None) -> Iterator[T]:
    """As many tasks at a time as asked for, else as the cluster has cores; a task whose process dies is not tried again."""
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    try:
        limit = int(ray.cluster_resources().get("CPU", 1)) if workers is None else workers
        remote = ray.remote(num_cpus=1, max_retries=0)(_call_on_one_thread)
        waiting, running = list(reversed(items)), {}
        while waiting or running:
            while waiting and len(running) < limit:
                item = waiting.pop()
                running[remote.remote(function, item)] = item
            (done,), _ = ray.wait(list(running), num_returns=1)
            item = running.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.WorkerCrashedError:
                yield bury(item)
            except ray.exceptions.RaySystemError as error:
                reason = " ".join(str(error).split())[-200:]
                raise InputError(f"a Ray worker cannot take work: {reason}; every machine needs the same version of invgraphics") from error
    finally:
        if started:
            ray.shutdown()


def _call_on_one_thread(function: Callable[[Any], Any], item: Any) -> Any:
    take_one_thread()
    return function(item)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("--executor ray needs Ray, which is not installed: pip install 'invgraphics[ray]'") from error
    return ray
