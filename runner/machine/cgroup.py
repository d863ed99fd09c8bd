"""The control groups of this process, version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Yield the folders of this process's control group and of its ancestors; none without control groups.

    Args:
        controller: cpu or memory. Version 2 has all controllers in one hierarchy.
        root: of the file system, for tests.
    """
    hierarchies = root / "sys/fs/cgroup"
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = hierarchies / controller if controllers else hierarchies
        if controllers and not base.is_dir():
            base = hierarchies / controllers  # mounted together, without a link per controller
        own = base / path.strip("/")
        yield from (own, *(above for above in own.parents if above.is_relative_to(base)))


def lines(file: Path) -> list[str]:
    """Return the lines of a counter's file; an empty list if this kernel has no such counter."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def quota_cores(root: Path = Path("/")) -> float | None:
    """Return the CPU time that control groups allow this process, in cores: the lowest limit on the way to the root.

    The limit of every ancestor applies too. Version 2 stores it in ``cpu.max``, version 1 in ``cpu.cfs_quota_us`` and
    ``cpu.cfs_period_us``: https://docs.kernel.org/scheduler/sched-bwc.html.

    Args:
        root: of the file system, for tests.

    Returns:
        None if no group sets a limit.
    """
    limits = [limit for folder in groups("cpu", root) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _limit(folder: Path) -> float | None:
    """Return the limit of one group in cores; None if it sets none or lacks the controller."""
    for line in lines(folder / "cpu.max"):
        quota, period = line.split()
        return None if quota == "max" else int(quota) / int(period)
    quotas, periods = lines(folder / "cpu.cfs_quota_us"), lines(folder / "cpu.cfs_period_us")
    if not quotas or not periods or int(quotas[0]) <= 0:  # -1: no limit
        return None
    return int(quotas[0]) / int(periods[0])
