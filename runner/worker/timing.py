"""The timed loop, and the warm-up that precedes it."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

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
FAULT_IN_ITERATIONS = 10
"""Maximum batches of a warm-up whose end speed is known. Runtimes that optimise while they run need two or three."""


class Rotation:
    """A step that runs another batch at each call: several in turn, for batches that differ in length."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """Store a step for each batch."""
        self._steps = list(steps)
        self._next = 0

    @property
    def period(self) -> int:
        """Number of batches."""
        return len(self._steps)

    def __call__(self) -> object:
        """Run the next batch."""
        step = self._steps[self._next]
        self._next = (self._next + 1) % len(self._steps)
        return step()


def period_of(step: Step) -> int:
    """Return after how many calls a step repeats itself; only whole periods can be compared."""
    return step.period if isinstance(step, Rotation) else 1


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


@dataclass(frozen=True)
class Settling:
    """When the untimed batches before a timed phase end: as soon as one is as fast as expected."""

    minimum_ns: int = 0
    """Minimum duration."""
    maximum_iterations: int = 0
    """Number of batches after which it ends in any case, once `minimum_ns` have passed."""
    expected_ns: float | None = None
    """Batch time of the phase before; None: unknown, so that `maximum_iterations` decides."""
    tolerance: float = 0.03
    """Largest relative excess over `expected_ns` of a batch that is as fast as expected."""

    def run(self, step: Step, clock: Clock = time.monotonic_ns) -> int:
        """Run untimed batches and return their number."""
        begin = last = clock()
        iterations, duration = 0, math.inf
        while not self._has_ended(iterations, last - begin, duration):
            step()
            now = clock()
            duration, last = now - last, now
            iterations += 1
        return iterations

    def _has_ended(self, iterations: int, elapsed_ns: float, last_ns: float) -> bool:
        as_expected = self.expected_ns is not None and last_ns <= self.expected_ns * (1 + self.tolerance)
        return elapsed_ns >= self.minimum_ns and (iterations >= self.maximum_iterations or as_expected)


class Timed(NamedTuple):
    """The batches of one or several concurrent steps."""

    lanes: list[list[int]]
    """For each step, the clock before its first timed batch and after each timed batch."""
    untimed: int
    """Number of batches before the timed ones, of all steps."""

    @property
    def median_ns(self) -> float:
        """Median time of a timed batch, in ns."""
        return statistics.median(
            after - before for stamps in self.lanes for before, after in itertools.pairwise(stamps)
        )


def run_steps(
    steps: Sequence[Step],
    *,
    minimum_ns: int,
    minimum_iterations: int,
    settling: Settling | None = None,
    clock: Clock = time.monotonic_ns,
) -> Timed:
    """Repeat one step, or several concurrently, each on its own thread: first untimed, then timed.

    Every concurrent step continues until all have reached their minimum, so that none runs alone while it is timed.

    Args:
        steps: one per request in flight.
        minimum_ns: minimum timed nanoseconds of each step.
        minimum_iterations: minimum timed batches of each step.
        settling: when the untimed batches of each step end; None: there are none.
        clock: returns nanoseconds of a monotonic clock.

    Raises:
        Exception: any exception of a step.
    """
    settle = partial((settling or Settling()).run, clock=clock)
    time_it = partial(run_for, minimum_ns=minimum_ns, minimum_iterations=minimum_iterations, clock=clock)
    if len(steps) == 1:
        untimed = settle(steps[0])
        return Timed([time_it(steps[0])], untimed)
    done = [threading.Event() for _ in steps]

    def run(step: Step, enough: threading.Event) -> tuple[list[int], int]:
        try:
            untimed = settle(step)
            stamps = time_it(step)
        finally:
            enough.set()  # also if the step fails: the others must end
        while not all(other.is_set() for other in done) or (len(stamps) - 1) % period_of(step):
            step()
            stamps.append(clock())
        return stamps, untimed

    with ThreadPoolExecutor(len(steps)) as pool:
        results = [lane.result() for lane in [pool.submit(run, *pair) for pair in zip(steps, done, strict=True)]]
    return Timed([stamps for stamps, _ in results], sum(untimed for _, untimed in results))


def run_for(step: Step, *, minimum_ns: int, minimum_iterations: int, clock: Clock = time.monotonic_ns) -> list[int]:
    """Run batches until a minimum time and a minimum number are reached, and whole periods of the step.

    Returns:
        The clock before the first batch and after each batch, in nanoseconds: batches + 1 stamps.
    """
    stamps = [clock()]
    end = stamps[0] + minimum_ns
    period = period_of(step)
    while len(stamps) <= minimum_iterations or stamps[-1] < end or (len(stamps) - 1) % period:
        step()
        stamps.append(clock())
    return stamps


class WarmedUp(NamedTuple):
    """How a warm-up ended."""

    steady: bool
    """Whether the speed became steady within the maximum time."""
    iterations: int
    """Number of batches that ran."""
    batch_ns: float
    """Median time of a batch in the last window, in ns."""


def warm_up(steps: Sequence[Step], *, maximum_ns: int, tolerance: float, clock: Clock = time.monotonic_ns) -> WarmedUp:
    """Run batches until the median batch times of the last STEADY_WINDOWS windows agree.

    Args:
        steps: one per request in flight.
        maximum_ns: stop after this many nanoseconds.
        tolerance: relative spread at which the windows agree: largest median ≤ smallest × (1 + tolerance).
        clock: returns nanoseconds of a monotonic clock.
    """
    medians: list[float] = []
    iterations = 0
    begin = clock()
    while True:
        window = run_steps(steps, minimum_ns=WINDOW_NS, minimum_iterations=WINDOW_ITERATIONS, clock=clock)
        iterations += sum(len(stamps) - 1 for stamps in window.lanes)
        medians.append(window.median_ns)
        last = medians[-STEADY_WINDOWS:]
        if len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + tolerance):
            return WarmedUp(steady=True, iterations=iterations, batch_ns=medians[-1])
        if clock() - begin >= maximum_ns:
            return WarmedUp(steady=False, iterations=iterations, batch_ns=medians[-1])


def fault_in(
    steps: Sequence[Step], *, expected_ns: float, tolerance: float, clock: Clock = time.monotonic_ns
) -> WarmedUp:
    """Run batches until one is as fast as it was in an earlier process of the same job, at most FAULT_IN_ITERATIONS.

    Args:
        steps: one per request in flight.
        expected_ns: batch time of the earlier process.
        tolerance: largest relative excess of a batch that is as fast.
        clock: returns nanoseconds of a monotonic clock.
    """
    settling = Settling(maximum_iterations=FAULT_IN_ITERATIONS, expected_ns=expected_ns, tolerance=tolerance)
    timed = run_steps(steps, minimum_ns=0, minimum_iterations=1, settling=settling, clock=clock)
    steady = timed.untimed < FAULT_IN_ITERATIONS * len(steps)
    return WarmedUp(steady, timed.untimed + sum(len(stamps) - 1 for stamps in timed.lanes), timed.median_ns)
