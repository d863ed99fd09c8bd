"""Which threads compute, by their CPU time during untimed batches."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.worker.timing import Step, run_steps

MIN_BUSY_SHARE = 0.1
"""Minimum share of the busiest thread's CPU time: a thread below it is waiting, or sends requests."""


@dataclass(frozen=True)
class Busy:
    """The threads that computed."""

    threads: int
    """Threads with more than ``MIN_BUSY_SHARE`` of the busiest one's CPU time; 0 if the kernel reports no CPU times."""
    cores_used: float
    """CPU time of all threads divided by wall time."""
    cores: frozenset[int]
    """Union of the cores that these threads may use."""


@dataclass(frozen=True)
class _Sample:
    """State of all threads of this process at one time, by thread id."""

    time_s: float
    cpu_ns: dict[int, int]
    cores: dict[int, set[int]]


def observe(steps: Sequence[Step], seconds: float) -> Busy:
    """Run untimed batches, and sample the process's threads from a thread that otherwise sleeps.

    Args:
        steps: one per request in flight.
        seconds: minimum duration of the batches; CPU times are counted from a fifth of it to its end.
    """
    samples: list[_Sample] = []

    def watch() -> None:
        time.sleep(seconds / 5)
        samples.append(_sample())
        time.sleep(seconds * 4 / 5)
        samples.append(_sample())

    watcher = threading.Thread(target=watch)
    watcher.start()
    # Longer than the watcher: the threads of several requests end with the batches.
    minimum_ns = round(seconds * 1.5 * 1e9)
    run_steps(steps, minimum_ns=minimum_ns, minimum_iterations=1)
    watcher.join()
    first, last = samples
    spent = {thread: cpu - first.cpu_ns.get(thread, 0) for thread, cpu in last.cpu_ns.items()}
    maximum = max(spent.values(), default=0)
    busy = [thread for thread, cpu in spent.items() if cpu and cpu > MIN_BUSY_SHARE * maximum]
    return Busy(
        threads=len(busy),
        cores_used=sum(spent.values()) / 1e9 / (last.time_s - first.time_s),
        cores=frozenset().union(*(last.cores[thread] for thread in busy)),
    )


def _sample() -> _Sample:
    cpu_ns, cores = {}, {}
    for task in Path("/proc/self/task").iterdir():
        thread = int(task.name)
        try:
            # Read both or neither: a thread may end at any time.
            cpu, allowed = int((task / "schedstat").read_text().split()[0]), os.sched_getaffinity(thread)
        except OSError:
            continue
        cpu_ns[thread], cores[thread] = cpu, allowed
    return _Sample(time.monotonic(), cpu_ns, cores)
