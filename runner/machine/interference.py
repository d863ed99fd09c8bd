"""Interference with a measurement: counters that are read before and after every slice, never while it runs.

Interference from outside contaminates a slice. What the measured processes cause themselves (the kernel's work for
their memory, the limit of their own control group, page faults of their own) is part of the result: it is reported and
the slice counts. A slice never counts as contaminated because of its own value. Shares are of the usable cores' time:
on two cores, 0.05 of one second is a tenth of a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from runner.machine.cgroup import groups, lines
from runner.protocol import Slice

TICKS = os.sysconf("SC_CLK_TCK")
MAX_STEAL = 0.02
"""Maximum share of the cores' time that a hypervisor may give to other guests."""
MAX_FOREIGN = 0.05
"""Maximum share that other processes may use. Idle daemons use 1 or 2 %."""
MAX_THROTTLED = 0.01
"""Share of the cores' time withheld by the control group's quota from which it is reported."""
MAX_STALL = 0.02
"""Maximum share of the time that processes may stall on memory or disk (the kernel's pressure stall information)."""
MAX_MAJOR_FAULTS = 20
"""Page faults per slice that read from disk from which they are reported: each takes about 0.1 ms on a solid-state
disk."""
MAX_CLOCK_STEP_S = 0.05
"""Maximum drift of the wall clock from the monotonic clock. More means a clock step or a suspended machine."""
RESOLUTION_S = 6 / TICKS
"""Smaller differences of tick counters, in seconds, are ignored: counters are not read at the same instant."""
KERNEL_THREADS = ("kswapd", "kcompactd", "khugepaged")
"""Kernel threads that reclaim and compact memory for the processes that use it. Their time is not foreign."""


@dataclass(frozen=True)
class Reading:
    """The machine's counters at one instant, in seconds."""

    now: float
    wall: float
    """Wall clock minus monotonic clock."""
    busy: float
    """CPU time of all processes on the cores."""
    steal: float
    throttled: float
    stalled: float
    """Time for which other processes than those of this control group stalled on memory or disk."""
    own: float
    """CPU time of this program, its workers and their children."""
    kernel: float = 0.0
    """CPU time of the kernel's threads that reclaim and compact memory."""
    own_stalled: float = 0.0
    """Time for which processes of this control group stalled on memory or disk."""


@dataclass(frozen=True)
class Noise:
    """Interference during a slice: shares of the cores' time, except both stalls (shares of the wall-clock time)."""

    steal: float = 0.0
    foreign: float = 0.0
    throttled: float = 0.0
    stalled: float = 0.0
    clock_step_s: float = 0.0
    major_faults: int = 0
    kernel: float = 0.0
    own_stalled: float = 0.0

    def disturbances(self) -> list[str]:
        """Return one message per limit of outside interference that was exceeded; an empty list for a clean slice."""
        found = []
        if self.foreign > MAX_FOREIGN:
            found.append(f"other processes used {self.foreign:.0%} of the cores' time")
        if self.steal > MAX_STEAL:
            found.append(f"the hypervisor took {self.steal:.0%} of the cores' time (steal)")
        if self.stalled > MAX_STALL:
            found.append(f"other processes stalled on memory or disk for {self.stalled:.0%} of the time")
        if self.clock_step_s > MAX_CLOCK_STEP_S:
            found.append(f"the wall clock jumped by {self.clock_step_s:.2f} s")
        return found

    def own_costs(self) -> list[str]:
        """Return one message per cost that the measured processes caused themselves: it is part of the result."""
        found = []
        if self.throttled > MAX_THROTTLED:
            found.append(
                f"the control group's quota withheld {self.throttled:.0%} of the cores' time: "
                "take fewer threading.threads"
            )
        if self.major_faults > MAX_MAJOR_FAULTS:
            found.append(f"{self.major_faults} page faults per slice read from disk: it needs more memory")
        if self.own_stalled > MAX_STALL:
            found.append(f"its control group stalled on memory or disk for {self.own_stalled:.0%} of the time")
        if self.kernel > MAX_FOREIGN:
            found.append(f"the kernel used {self.kernel:.0%} of the cores' time to reclaim and compact memory")
        return found


def worst(noises: Iterable[Noise]) -> Noise:
    """Return the maximum of each field."""
    noises = list(noises)
    return Noise(**{field.name: max(getattr(one, field.name) for one in noises) for field in fields(Noise)})


class Watch:
    """Reads the counters of a set of cores and of the measured processes."""

    def __init__(
        self,
        cores: Collection[int],
        pids: Sequence[int] = (),
        root: Path = Path("/"),
        *,
        usable_cores: float | None = None,
    ) -> None:
        """Set which cores and processes to watch.

        Args:
            cores: numbers of the cores that the measurement may use.
            pids: the measured processes.
            root: of the file system, for tests.
            usable_cores: cores' worth of time that a quota allows; None: all of `cores`. Others may use the rest
                without taking anything from the measurement.
        """
        self._cores = frozenset(f"cpu{core}" for core in cores)
        self._usable = min(len(self._cores) or 1, usable_cores or len(self._cores) or 1)
        self._pids = [os.getpid(), *pids]
        self._root, self._proc = root, root / "proc"
        self._kernel_threads = [pid for name, pid in _processes(self._proc) if name.startswith(KERNEL_THREADS)]

    def read(self) -> Reading:
        """Return the current counters; those that this kernel lacks are 0."""
        busy = steal = 0.0
        for line in lines(self._proc / "stat"):
            name, *ticks = line.split()
            if name in self._cores:
                user, nice, system, _, _, _, _, stolen, *_ = map(int, ticks)
                busy += (user + nice + system) / TICKS
                steal += stolen / TICKS
        own = sum(self._cpu_s(pid) for pid in self._with_children())
        kernel = sum(self._cpu_s(pid) for pid in self._kernel_threads)
        group, machine = self._stalled_in_group(), self._stalled(self._proc / "pressure", "{}")
        now = time.monotonic()
        return Reading(
            now=now,
            wall=time.time() - now,
            busy=busy,
            steal=steal,
            throttled=self._throttled(),
            stalled=machine if group is None else max(0.0, machine - group),
            own=own,
            kernel=kernel,
            own_stalled=group or 0.0,
        )

    def between(self, before: Reading, after: Reading, slices: Sequence[Slice] = ()) -> Noise:
        """Return the interference between two readings.

        Args:
            before: the earlier reading.
            after: the later one.
            slices: measured in between, one per instance; they add their major page faults.
        """
        seconds = max(after.now - before.now, 1e-9)
        time_of_cores = seconds * self._usable
        kernel = _above_resolution(after.kernel - before.kernel)
        spare = seconds * (max(1, len(self._cores)) - self._usable)
        foreign = (after.busy - before.busy) - (after.own - before.own) - kernel - spare
        return Noise(
            steal=_above_resolution(after.steal - before.steal) / time_of_cores,
            foreign=_above_resolution(foreign) / time_of_cores,
            throttled=(after.throttled - before.throttled) / time_of_cores,
            stalled=max(0.0, after.stalled - before.stalled) / seconds,
            clock_step_s=abs(after.wall - before.wall),
            major_faults=sum(one.major_faults for one in slices),
            kernel=kernel / time_of_cores,
            own_stalled=(after.own_stalled - before.own_stalled) / seconds,
        )

    def _with_children(self) -> list[int]:
        """Return this program, the measured processes, and all that they have started and that still runs."""
        found = dict.fromkeys(self._pids)
        waiting = list(self._pids[1:])  # the host's other children are workers, which are named
        while waiting:
            tasks = self._proc / str(waiting.pop()) / "task"
            for file in tasks.glob("*/children"):
                new = [int(pid) for line in lines(file) for pid in line.split() if int(pid) not in found]
                found |= dict.fromkeys(new)
                waiting += new
        return list(found)

    def _cpu_s(self, pid: int) -> float:
        """Return the CPU seconds of a process's threads and of its children that have ended, 0 if it has ended."""
        for line in lines(self._proc / str(pid) / "stat"):
            behind_name = line.rpartition(")")[2].split()
            ended_children = behind_name[13:15] if pid != os.getpid() else []  # the host's have been workers
            return sum(map(int, [*behind_name[11:13], *ended_children])) / TICKS
        return 0.0

    def _throttled(self) -> float:
        """Return the CPU seconds that the quotas of this process's control group and of its ancestors withheld."""
        total = 0.0
        for folder in groups("cpu", self._root):
            for line in lines(folder / "cpu.stat"):
                name, _, value = line.partition(" ")
                if name in ("throttled_usec", "throttled_time"):
                    total += int(value) / (1e6 if name == "throttled_usec" else 1e9)
        return total

    def _stalled_in_group(self) -> float | None:
        """Return the stalled seconds of this process's control group; None if it has no such counter of its own."""
        own = next(groups("memory", self._root), None)
        if own is None or own == self._root / "sys/fs/cgroup" or not lines(own / "memory.pressure"):
            return None
        return self._stalled(own, "{}.pressure")

    @staticmethod
    def _stalled(folder: Path, name: str) -> float:
        """Return the seconds for which at least one process stalled on memory, or all stalled on disk."""
        total = 0.0
        for resource, kind in (("memory", "some"), ("io", "full")):
            for line in lines(folder / name.format(resource)):
                if line.startswith(kind):
                    total += int(line.rpartition("total=")[2]) / 1e6
        return total


def _processes(proc: Path) -> Iterable[tuple[str, int]]:
    """Yield name and id of every process, kernel threads included."""
    for folder in proc.glob("[0-9]*"):
        for name in lines(folder / "comm"):
            yield name, int(folder.name)


def _above_resolution(seconds: float) -> float:
    return seconds if seconds > RESOLUTION_S else 0.0


def at_rest(cores: Collection[int], seconds: float = 0.5) -> list[str]:
    """Watch the machine while this program is idle, and return a message per disturbance.

    Args:
        cores: numbers of the cores that a measurement may use.
        seconds: how long to watch.
    """
    watch = Watch(cores)
    before = watch.read()
    time.sleep(seconds)
    return watch.between(before, watch.read()).disturbances()
