"""The host's side of the artifact cache: what lies in it, and what may be removed. ``python -m runner.cache [clean]``.

A worker holds a shared lock on the digest of every artifact that it uses, and sets the file's time when it begins to;
so what is in use, and what was not used for longest, can be seen from outside.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from runner.config.schema import NothingLaunched, RunConfig
from runner.machine.lock import only_measurement
from runner.protocol import DIGEST_FILE

GIB, MIB = 2**30, 2**20
NOISE = "noise"
"""Folder of the calibrated noise floors: measured, small, and not made again by itself."""
EXIT_OK, EXIT_BUSY = 0, 2


@dataclass(frozen=True)
class Artifact:
    """One entry of the cache."""

    path: Path
    bytes: int
    used_at: float
    """Wall-clock time of its last use, in seconds since 1970."""

    @property
    def kind(self) -> str:
        """What it is: the name without its hash."""
        return self.path.name.lstrip(".").split("-")[0]


class Artifacts:
    """The cache's folder."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder, which need not be there, and when each artifact was used before."""
        self._folder = folder
        self._before = {entry.path: entry.used_at for entry in self.entries()}

    def entries(self) -> list[Artifact]:
        """Return all artifacts that are whole, the longest unused first."""
        found = []
        for digest in self._folder.glob(f"*/{DIGEST_FILE}"):
            try:
                if not digest.parent.name.startswith("."):
                    found.append(Artifact(digest.parent, _size(digest.parent), digest.stat().st_mtime))
            except FileNotFoundError:  # removed meanwhile
                continue
        return sorted(found, key=lambda artifact: artifact.used_at)

    def others(self) -> list[Artifact]:
        """Return what else takes space: compilers' caches, and what makers that were killed have left."""
        known = {artifact.path for artifact in self.entries()}
        folders = [path for path in self._folder.glob("*") if path.is_dir() and path.name != NOISE]
        return [Artifact(path, _size(path), path.stat().st_mtime) for path in folders if path not in known]

    def trim(self, limit_gib: float) -> list[str]:
        """Remove what was not used for longest until the limit is kept; return what was done, a line each.

        What was used since this object was made is spared, and so is whatever a process holds.

        Args:
            limit_gib: size of all artifacts together.
        """
        entries, told = self.entries(), []
        total, removed = sum(entry.bytes for entry in entries), 0
        for entry in entries:
            if total - removed <= limit_gib * GIB:
                break
            if self._before.get(entry.path) != entry.used_at:
                continue
            try:
                removed += entry.bytes if remove(entry.path) else 0
            except OSError as error:  # another user's: the next may be ours
                told.append(f"cache: {entry.path.name} cannot be removed: {error.strerror}")
        if removed:
            told.append(f"cache: {removed / MIB:.0f} MiB that were not used for longest are removed")
        if total - removed > limit_gib * GIB:
            used = f"{(total - removed) / GIB:.1f} GiB"
            told.append(f"cache: {used} are in use by this sweep, more than cache_limit_gib={limit_gib:g}")
        return told


def remove(entry: Path) -> bool:
    """Remove an artifact, and return whether that was possible: not where a process uses it.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        with (entry / DIGEST_FILE).open("rb") as digest:
            fcntl.flock(digest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = entry.with_name(f".{entry.name}-gone-{os.getpid()}")
            entry.rename(gone)  # at once, so that nobody finds half of it
    except BlockingIOError:
        return False
    shutil.rmtree(gone)
    return True


def _remove_any(path: Path) -> bool:
    """Remove an artifact, or a folder that is none; return whether that was possible."""
    if (path / DIGEST_FILE).exists():
        return remove(path)
    shutil.rmtree(path)
    return True


def _size(folder: Path) -> int:
    return sum(_bytes(path) for path in folder.rglob("*"))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    except FileNotFoundError:  # removed meanwhile
        return 0


def _by_kind(artifacts: Sequence[Artifact]) -> Iterator[tuple[str, list[Artifact]]]:
    """Yield the artifacts of each kind, the largest kind first."""
    kinds: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        kinds.setdefault(artifact.kind, []).append(artifact)
    yield from sorted(kinds.items(), key=lambda item: -sum(one.bytes for one in item[1]))


def show(artifacts: Sequence[Artifact], title: str, console: Console) -> None:
    """Print how much of the space each kind takes."""
    table = Table(title=title)
    for name in ("kind", "entries", "MiB", "last used"):
        table.add_column(name, justify="right" if name in ("entries", "MiB") else "left")
    for kind, found in _by_kind(artifacts):
        used = datetime.datetime.fromtimestamp(max(one.used_at for one in found), datetime.UTC)
        size = sum(one.bytes for one in found) / MIB
        table.add_row(kind, str(len(found)), f"{size:.1f}", used.strftime("%Y-%m-%d %H:%M UTC"))
    table.add_section()
    table.add_row("all", str(len(artifacts)), f"{sum(one.bytes for one in artifacts) / MIB:.1f}", "")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what the cache holds, by kind; `clean` removes all but the calibrated noise floors."""
    parser = argparse.ArgumentParser(prog="python -m runner.cache", description=main.__doc__)
    parser.add_argument("action", nargs="?", choices=["show", "clean"], default="show")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    folder = options.output_dir / "cache"
    artifacts, console = Artifacts(folder), Console()
    if options.action == "show":
        show([*artifacts.entries(), *artifacts.others()], str(folder), console)
        return EXIT_OK
    try:
        with only_measurement(wait=False, tell=print, remedy="wait until it has ended"):
            found = [*artifacts.entries(), *artifacts.others()]
            removed = [one for one in found if _remove_any(one.path)]
            for lock in folder.glob("*.lock"):
                lock.unlink()
            show(removed, f"removed from {folder}", console)
            for left in [one for one in found if one not in removed]:
                console.print(f"{left.path.name} stays: a process uses it", highlight=False)
    except NothingLaunched as error:
        print(f"nothing was removed: {error}", file=sys.stderr)
        return EXIT_BUSY
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
