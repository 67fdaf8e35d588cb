"""The pool that spreads compiled loops over threads."""

import os
import threading
import time
from itertools import pairwise

import pytest

from renderers.rasterize.workers import Workers


def test_results_come_in_the_order_of_the_ranges():
    workers = Workers(threads=3)
    ranges = workers.split(100, 4)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 100
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    assert workers.run(lambda start, stop, scale: scale * (stop - start), ranges, 2) == [2 * (b - a) for a, b in ranges]


def test_little_work_is_left_to_the_caller():
    workers = Workers(threads=4)
    assert workers.split(99, 100) == [(0, 99)]
    assert workers.split(0, 100) == []
    assert all(stop - start >= 25 for start, stop in workers.split(150, 100))
    assert len(workers.split(100_000, 100)) == 16


def test_errors_reach_the_caller():
    def fail(start: int, stop: int) -> None:
        raise ValueError(f"{start} to {stop}")

    with pytest.raises(ValueError, match="0 to 1"):
        Workers(threads=2).run(fail, [(0, 1)])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_helpers_keep_off_the_callers_core_and_the_caller_stays_free():
    before = os.sched_getaffinity(0)
    places: dict[int, set[int]] = {}

    def note(start: int, stop: int) -> None:
        places[threading.get_ident()] = os.sched_getaffinity(0)
        time.sleep(0.05)

    Workers(threads=2).run(note, [(0, 1), (1, 2)])
    helper = next(cores for thread, cores in places.items() if thread != threading.get_ident())
    assert len(places) == 2
    assert len(helper) == len(before) - 1
    assert os.sched_getaffinity(0) == before
