"""The timed loop, and the warm-up that precedes it."""

from __future__ import annotations

import gc
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

Step = Callable[[], object]
"""Runs one batch."""
Clock = Callable[[], int]
"""Nanoseconds of a monotonic clock."""

WINDOW_NS = 250_000_000
"""Minimum length of a warm-up window: several batches of most models, and warm-up still ends soon after the speed is
steady."""
WINDOW_ITERATIONS = 3
"""Minimum batches in a warm-up window."""
STEADY_WINDOWS = 3
"""Consecutive windows that must agree; two agree by chance too often."""


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Disable the cyclic garbage collector during a timed phase, as :mod:`timeit` does."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run_steps(
    steps: Sequence[Step],
    *,
    settle_ns: int,
    settle_iterations: int,
    minimum_ns: int,
    minimum_iterations: int,
    clock: Clock = time.monotonic_ns,
) -> list[list[int]]:
    """Repeat one step, or several concurrently, each on its own thread: first untimed, then timed.

    Every concurrent step continues until all have reached their minimum, so that none runs alone while it is timed.

    Args:
        steps: one per request in flight.
        settle_ns: minimum untimed nanoseconds of each step.
        settle_iterations: minimum untimed batches of each step.
        minimum_ns: minimum timed nanoseconds of each step.
        minimum_iterations: minimum timed batches of each step.
        clock: returns nanoseconds of a monotonic clock.

    Returns:
        For each step, the clock before its first timed batch and after each timed batch.

    Raises:
        Exception: any exception of a step.
    """
    settle = partial(run_for, minimum_ns=settle_ns, minimum_iterations=settle_iterations, clock=clock)
    time_it = partial(run_for, minimum_ns=minimum_ns, minimum_iterations=minimum_iterations, clock=clock)
    if len(steps) == 1:
        settle(steps[0])
        return [time_it(steps[0])]
    done = [threading.Event() for _ in steps]

    def run(step: Step, enough: threading.Event) -> list[int]:
        try:
            settle(step)
            stamps = time_it(step)
        finally:
            enough.set()  # also if the step fails: the others must end
        while not all(other.is_set() for other in done):
            step()
            stamps.append(clock())
        return stamps

    with ThreadPoolExecutor(len(steps)) as pool:
        lanes = [pool.submit(run, step, own) for step, own in zip(steps, done, strict=True)]
    return [lane.result() for lane in lanes]


def run_for(step: Step, *, minimum_ns: int, minimum_iterations: int, clock: Clock = time.monotonic_ns) -> list[int]:
    """Run batches until a minimum time and a minimum number are reached.

    Returns:
        The clock before the first batch and after each batch, in nanoseconds: batches + 1 stamps.
    """
    stamps = [clock()]
    end = stamps[0] + minimum_ns
    while len(stamps) <= minimum_iterations or stamps[-1] < end:
        step()
        stamps.append(clock())
    return stamps


def warm_up(
    steps: Sequence[Step], *, maximum_ns: int, tolerance: float, clock: Clock = time.monotonic_ns
) -> tuple[bool, int]:
    """Run batches until the median batch times of the last STEADY_WINDOWS windows agree.

    Args:
        steps: one per request in flight.
        maximum_ns: stop after this many nanoseconds.
        tolerance: relative spread at which the windows agree: largest median ≤ smallest × (1 + tolerance).
        clock: returns nanoseconds of a monotonic clock.

    Returns:
        Whether the speed became steady within `maximum_ns`, and the number of batches that ran.
    """
    medians: list[float] = []
    iterations = 0
    begin = clock()
    while True:
        lanes = run_steps(
            steps,
            settle_ns=0,
            settle_iterations=0,
            minimum_ns=WINDOW_NS,
            minimum_iterations=WINDOW_ITERATIONS,
            clock=clock,
        )
        times = [after - before for stamps in lanes for before, after in itertools.pairwise(stamps)]
        iterations += len(times)
        medians.append(statistics.median(times))
        last = medians[-STEADY_WINDOWS:]
        if len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + tolerance):
            return True, iterations
        if clock() - begin >= maximum_ns:
            return False, iterations
