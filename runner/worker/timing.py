"""The timed loop, and what brings a process to the state in which timing it means something."""

from __future__ import annotations

import gc
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

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


@dataclass
class Timed:
    """Batches of one phase."""

    stamps_ns: list[int]
    """The clock when the phase began, and at the end of each batch, in order."""
    latencies_ns: list[int] = field(default_factory=list)
    """How long each batch took; empty with one at a time, where the stamps tell it."""


def run_steps(
    steps: Sequence[Step],
    *,
    settle_ns: int,
    settle_iterations: int,
    minimum_ns: int,
    minimum_iterations: int,
    clock: Clock = time.monotonic_ns,
) -> Timed:
    """Run one step over and over, or several at once, each on a thread of its own; settle first, then time.

    With several, the batches of all threads are counted together, and a batch that was in flight when the timed phase
    began counts by its end: so does one that would have ended in it at any other moment.

    Raises:
        Exception: whatever a step raises.
    """
    if len(steps) == 1:
        run_for(steps[0], minimum_ns=settle_ns, minimum_iterations=settle_iterations, clock=clock)
        return Timed(run_for(steps[0], minimum_ns=minimum_ns, minimum_iterations=minimum_iterations, clock=clock))
    settling = Flight(steps, clock)
    settling.fly(settle_ns, settle_iterations, minimum_ns, minimum_iterations)
    return settling.timed


class Flight:
    """Several steps at once, until enough batches have ended."""

    def __init__(self, steps: Sequence[Step], clock: Clock) -> None:
        """Keep the steps."""
        self._steps = steps
        self._clock = clock
        self._ended: list[tuple[int, int]] = []
        self._failed: list[BaseException] = []
        self._stop = False
        self._changed = threading.Condition()
        self.timed = Timed([])

    def fly(self, settle_ns: int, settle_iterations: int, minimum_ns: int, minimum_iterations: int) -> None:
        """Run all steps through a settling and a timed phase.

        Raises:
            Exception: whatever a step raises.
        """
        threads = [threading.Thread(target=self._repeat, args=(step,), daemon=True) for step in self._steps]
        for thread in threads:
            thread.start()
        try:
            settled = self._wait_for(0, settle_ns, settle_iterations)
            last = self._wait_for(settled, minimum_ns, minimum_iterations)
        finally:
            self._stop = True
            for thread in threads:
                thread.join()
        if self._failed:
            raise self._failed[0]
        within = self._ended[settled - 1 : last]
        self.timed = Timed([end for _, end in within], [end - begin for begin, end in within[1:]])

    def _repeat(self, step: Step) -> None:
        try:
            while not self._stop:
                begin = self._clock()
                step()
                with self._changed:
                    self._ended.append((begin, self._clock()))
                    self._changed.notify()
        except Exception as error:  # the thread that started this one raises it
            with self._changed:
                self._failed.append(error)
                self._changed.notify()

    def _wait_for(self, begin: int, minimum_ns: int, minimum_iterations: int) -> int:
        """Return how many batches have ended when, since the batch number `begin`, time and number are reached."""
        with self._changed:
            start = self._ended[begin - 1][1] if begin else self._clock()
            while not self._failed:
                count = len(self._ended)
                enough = count - begin >= max(minimum_iterations, 1)
                if enough and self._ended[-1][1] - start >= minimum_ns:
                    return count
                self._changed.wait()
        return begin


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


def warm_up(
    steps: Sequence[Step], *, maximum_ns: int, tolerance: float, clock: Clock = time.monotonic_ns
) -> tuple[bool, int]:
    """Run batches until the last windows' median times lie within `tolerance` of each other.

    Returns:
        Whether the speed became steady within `maximum_ns`, and how many batches ran.
    """
    medians: list[float] = []
    iterations = 0
    begin = clock()
    while True:
        stamps = run_steps(
            steps,
            settle_ns=0,
            settle_iterations=0 if len(steps) == 1 else len(steps),
            minimum_ns=WINDOW_NS,
            minimum_iterations=WINDOW_ITERATIONS * len(steps),
            clock=clock,
        ).stamps_ns
        iterations += len(stamps) - 1
        medians.append(statistics.median(after - before for before, after in itertools.pairwise(stamps)))
        last = medians[-STEADY_WINDOWS:]
        if len(last) == STEADY_WINDOWS and max(last) <= min(last) * (1 + tolerance):
            return True, iterations
        if stamps[-1] - begin >= maximum_ns:
            return False, iterations
