"""Which threads compute: their CPU time while untimed batches run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.worker.timing import Step, run_steps

BUSY_SHARE = 0.1
"""Of the busiest thread's CPU time: a thread with less is waiting, or sends requests."""


@dataclass(frozen=True)
class Busy:
    """What computed."""

    threads: int
    """Threads that had at least a tenth of the busiest one's CPU time; 0 if the kernel does not report it."""
    cores_used: float
    """CPU seconds of all threads per second."""
    cores: frozenset[int]
    """Cores that the threads which computed may use, one or the other of them."""


@dataclass(frozen=True)
class _Sample:
    """Every thread of this process at one moment."""

    time_s: float
    cpu_ns: dict[int, int]
    cores: dict[int, set[int]]


def observe(steps: Sequence[Step], seconds: float) -> Busy:
    """Run untimed batches and watch the process's threads meanwhile, from a thread that sleeps.

    Args:
        steps: one per request in flight.
        seconds: batches run so long at least; the threads are looked at from a fifth of it to its end.
    """
    samples: list[_Sample] = []

    def watch() -> None:
        time.sleep(seconds / 5)
        samples.append(_sample())
        time.sleep(seconds * 4 / 5)
        samples.append(_sample())

    watcher = threading.Thread(target=watch)
    watcher.start()
    longer = round(seconds * 1.5 * 1e9)  # than the watcher: the threads of several requests end with them
    run_steps(steps, settle_ns=0, settle_iterations=0, minimum_ns=longer, minimum_iterations=1)
    watcher.join()
    first, last = samples
    spent = {thread: cpu - first.cpu_ns.get(thread, 0) for thread, cpu in last.cpu_ns.items()}
    most = max(spent.values(), default=0)
    busy = [thread for thread, cpu in spent.items() if cpu and cpu > BUSY_SHARE * most]
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
            # Both or neither: a thread may end at any moment.
            cpu, allowed = int((task / "schedstat").read_text().split()[0]), os.sched_getaffinity(thread)
        except OSError:
            continue
        cpu_ns[thread], cores[thread] = cpu, allowed
    return _Sample(time.monotonic(), cpu_ns, cores)
