"""The host's side of the artifact cache: list and remove artifacts.

A worker holds a shared lock on the digest file of every artifact that it uses, and updates the file's time at the first
use. The lock shows the host what is in use, the time what is least recently used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from runner.config.schema import RunConfig
from runner.paths import default_cache
from runner.protocol import DIGEST_FILE

GIB, MIB = 2**30, 2**20
NOT_ARTIFACTS = frozenset({"noise", "system", "import", "pages"})
"""Folders of the cache that hold no artifacts and are kept: calibrated noise floors, the scripts of pages and, for an
installed program, system libraries and the link through which workers import the package."""


@dataclass(frozen=True)
class Artifact:
    """One entry of the cache."""

    path: Path
    bytes: int
    used_at: float
    """Wall-clock time of its last use, in seconds since 1970."""

    @property
    def kind(self) -> str:
        """Kind of artifact: its name without the hash."""
        return self.path.name.lstrip(".").split("-")[0]


class Artifacts:
    """The cache's folder."""

    def __init__(self, folder: Path) -> None:
        """Record when each artifact was last used.

        Args:
            folder: of the cache; it need not exist.
        """
        self._folder = folder
        self._before = {entry.path: entry.used_at for entry in self.entries()}

    def entries(self) -> list[Artifact]:
        """Return all complete artifacts, least recently used first."""
        found = []
        for digest in self._folder.glob(f"*/{DIGEST_FILE}"):
            try:
                if not digest.parent.name.startswith("."):
                    found.append(Artifact(digest.parent, _size(digest.parent), digest.stat().st_mtime))
            except FileNotFoundError:  # removed in the meantime
                continue
        return sorted(found, key=lambda artifact: artifact.used_at)

    def others(self) -> list[Artifact]:
        """Return other folders that use space: caches of compilers, and incomplete artifacts of killed workers."""
        known = {artifact.path for artifact in self.entries()}
        folders = [path for path in self._folder.glob("*") if path.is_dir() and path.name not in NOT_ARTIFACTS]
        return [Artifact(path, _size(path), path.stat().st_mtime) for path in folders if path not in known]

    def trim(self, limit_gib: float) -> list[str]:
        """Remove the least recently used artifacts until the limit is met.

        Artifacts that were used since this object was created, or that a process uses, are kept.

        Args:
            limit_gib: maximum size of all artifacts together, in GiB.

        Returns:
            Messages about removed artifacts, failures to remove, and a limit that is still exceeded.
        """
        entries, messages = self.entries(), []
        total, removed = sum(entry.bytes for entry in entries), 0
        for entry in entries:
            if total - removed <= limit_gib * GIB:
                break
            if self._before.get(entry.path) != entry.used_at:
                continue
            try:
                removed += entry.bytes if remove(entry.path) else 0
            except OSError as error:  # owned by another user: try the next
                messages.append(f"cache: {entry.path.name} cannot be removed: {error.strerror}")
        if removed:
            messages.append(f"cache: removed {removed / MIB:.0f} MiB of the least recently used artifacts")
        if total - removed > limit_gib * GIB:
            used = f"{(total - removed) / GIB:.1f} GiB"
            messages.append(f"cache: this sweep uses {used}, more than cache_limit_gib={limit_gib:g}")
        return messages


def cache_folder(config: RunConfig) -> Path:
    """Return the absolute path of the artifact cache."""
    return Path(config.cache_dir).absolute() if config.cache_dir else default_cache(Path(config.output_dir))


def remove(entry: Path) -> bool:
    """Remove an artifact unless a process uses it.

    Returns:
        Whether it was removed.

    Raises:
        OSError: it cannot be removed, for example because another user owns it.
    """
    try:
        with (entry / DIGEST_FILE).open("rb") as digest:
            fcntl.flock(digest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = entry.with_name(f".{entry.name}-gone-{os.getpid()}")
            entry.rename(gone)  # atomic: no process sees a partly removed artifact
    except BlockingIOError:
        return False
    shutil.rmtree(gone)
    return True


def remove_any(path: Path) -> bool:
    """Remove an artifact or any other folder of the cache; return whether it was removed.

    Raises:
        OSError: it cannot be removed.
    """
    if (path / DIGEST_FILE).exists():
        return remove(path)
    shutil.rmtree(path)
    return True


def _size(folder: Path) -> int:
    return sum(_bytes(path) for path in folder.rglob("*"))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    except FileNotFoundError:  # removed in the meantime
        return 0
