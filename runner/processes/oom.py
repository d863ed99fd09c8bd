"""Detect out-of-memory kills by the kernel's counters.

SIGKILL does not carry its sender. The kernel counts its out-of-memory kills per control group (`oom_kill` in
memory.events or memory.oom_control) and for the whole machine (in /proc/vmstat, since Linux 4.13).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner.machine.cgroup import groups, lines

REMEDY = "take a smaller batch_size or fewer instances, or raise the memory limit"


@dataclass(frozen=True)
class OomKills:
    """Numbers of out-of-memory kills so far."""

    group: int
    """In this process's control group."""
    machine: int

    def since(self, before: OomKills) -> str:
        """Return a message about the kills since an earlier reading; empty if there were none."""
        if (kills := self.group - before.group) > 0:
            return f"out of memory, by the control group's counter (oom_kill rose by {kills}): {REMEDY}"
        if (kills := self.machine - before.machine) > 0:
            return f"out of memory, by the kernel's counter (oom_kill rose by {kills}): {REMEDY}"
        return ""


def read_oom_kills(root: Path = Path("/")) -> OomKills:
    """Return the current counters; 0 if this kernel has none.

    Args:
        root: of the file system, for tests.
    """
    own = next(groups("memory", root), None)  # ancestors also count other groups' kills
    files = [own / name for name in ("memory.events", "memory.oom_control")] if own else []
    return OomKills(group=max(map(_counter, files), default=0), machine=_counter(root / "proc/vmstat"))


def _counter(file: Path) -> int:
    return next((int(line.split()[1]) for line in lines(file) if line.startswith("oom_kill ")), 0)
