"""The control groups of this process, version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it; none where there is no such thing.

    Args:
        controller: cpu or memory; with version 2 all are in one hierarchy.
        root: of the file system, for tests.
    """
    hierarchies = root / "sys/fs/cgroup"
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = hierarchies / controller if controllers else hierarchies
        own = base / path.strip("/")
        yield from (own, *(above for above in own.parents if above.is_relative_to(base)))


def lines(file: Path) -> list[str]:
    """Return the lines of a counter's file, none where this kernel has no such counter."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
