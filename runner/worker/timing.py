"""The timed loop, and what brings a process to the state in which timing it means something."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Step = Callable[[], object]
"""Runs one batch."""
Clock = Callable[[], int]
"""Nanoseconds of a monotonic clock."""

WINDOW_NS = 250_000_000
"""A warm-up window: long enough to hold several batches of most models, short enough to end soon after steadiness."""
WINDOW_ITERATIONS = 3
STEADY_WINDOWS = 3
"""So many windows in a row must agree: two agree by chance too often."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the cyclic garbage collector out of a timed phase, as :mod:`timeit` does."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run_for(step: Step, *, minimum_ns: int, minimum_iterations: int, clock: Clock = time.monotonic_ns) -> list[int]:
    """Run batches for a time and a number at least.

    Returns:
        The clock before the first batch and after each batch, in nanoseconds: one more stamp than batches.
    """
    stamps = [clock()]
    end = stamps[0] + minimum_ns
    while len(stamps) <= minimum_iterations or stamps[-1] < end:
        step()
        stamps.append(clock())
    return stamps


def warm_up(step: Step, *, maximum_ns: int, tolerance: float, clock: Clock = time.monotonic_ns) -> tuple[bool, int]:
    """Run batches until the last windows' median times lie within `tolerance` of each other.

    Returns:
        Whether the speed became steady within `maximum_ns`, and how many batches ran.
    """
    medians: list[float] = []
    iterations = 0
    begin = clock()
    while True:
        stamps = run_for(step, minimum_ns=WINDOW_NS, minimum_iterations=WINDOW_ITERATIONS, clock=clock)
        iterations += len(stamps) - 1
        medians.append(statistics.median(after - before for before, after in itertools.pairwise(stamps)))
        last = medians[-STEADY_WINDOWS:]
        if len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + tolerance):
            return True, iterations
        if stamps[-1] - begin >= maximum_ns:
            return False, iterations
