"""Whether a process was killed for lack of memory: by the kernel's counters.

SIGKILL says nothing of who sent it. The kernel counts the processes that it kills for memory: per control group
(`oom_kill` in memory.events or memory.oom_control) and for the whole machine (in /proc/vmstat, since Linux 4.13).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner.machine.cgroup import groups, lines

REMEDY = "take a smaller batch_size or fewer instances, or give it more memory"


@dataclass(frozen=True)
class OomKills:
    """How many processes were killed for lack of memory so far."""

    group: int
    """In this process's control group."""
    machine: int

    def since(self, before: OomKills) -> str:
        """Return in words what has happened since an earlier reading, empty if nothing has."""
        if (kills := self.group - before.group) > 0:
            return f"out of memory, by the control group's counter (oom_kill rose by {kills}): {REMEDY}"
        if (kills := self.machine - before.machine) > 0:
            return f"out of memory, by the kernel's counter (oom_kill rose by {kills}): {REMEDY}"
        return ""


def read_oom_kills(root: Path = Path("/")) -> OomKills:
    """Return the counters now; 0 if this kernel has none.

    Args:
        root: of the file system, for tests.
    """
    own = next(groups("memory", root), None)  # those above it count other groups' too
    files = [own / name for name in ("memory.events", "memory.oom_control")] if own else []
    return OomKills(group=max(map(_counter, files), default=0), machine=_counter(root / "proc/vmstat"))


def _counter(file: Path) -> int:
    return next((int(line.split()[1]) for line in lines(file) if line.startswith("oom_kill ")), 0)
