"""Memory that this machine, or this process's control group, has left."""

from __future__ import annotations

from pathlib import Path

from runner.machine.cgroup import groups, lines

MIB = 2**20
UNLIMITED = 2**60
"""Version 1 of control groups writes a number near 2⁶³ if there is no limit."""


def available_mib(root: Path = Path("/")) -> float | None:
    """Return the MiB that a new process can use: the least of the kernel's estimate and what each group has left.

    Args:
        root: of the file system, for tests.

    Returns:
        None if this kernel reports neither.
    """
    found = [int(line.split()[1]) / 1024 for line in lines(root / "proc/meminfo") if line.startswith("MemAvailable:")]
    for folder in groups("memory", root):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            values = [int(line) for name in (limit, used) for line in lines(folder / name)[:1] if line.isdigit()]
            if len(values) == 2 and values[0] < UNLIMITED:
                found.append((values[0] - values[1] + _reclaimable(folder)) / MIB)
    return min(found, default=None)


def _reclaimable(folder: Path) -> int:
    """Return the bytes of a group's page cache that the kernel drops first when memory is needed."""
    for line in lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0
