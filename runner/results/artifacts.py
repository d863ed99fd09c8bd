"""The host's side of the artifact cache: what it holds, and what may be removed.

A worker holds a shared lock on the digest of every artifact that it uses, and updates the
file's time when it starts to: the host sees what is in use, and what has not been used for longest.
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
NOT_ARTIFACTS = frozenset({"noise", "system", "import"})
"""Folders beside the artifacts that are not made again by themselves: calibrated noise floors; and, for an installed
program, system libraries and the link that workers import the package through."""


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
        folders = [path for path in self._folder.glob("*") if path.is_dir() and path.name not in NOT_ARTIFACTS]
        return [Artifact(path, _size(path), path.stat().st_mtime) for path in folders if path not in known]

    def trim(self, limit_gib: float) -> list[str]:
        """Remove the longest unused artifacts until the limit is met; return a line for each thing done.

        Artifacts that were used since this object was made, or that a process holds, stay.

        Args:
            limit_gib: size of all artifacts together.
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
            except OSError as error:  # another user's: try the next
                messages.append(f"cache: {entry.path.name} cannot be removed: {error.strerror}")
        if removed:
            messages.append(f"cache: {removed / MIB:.0f} MiB, the longest unused, were removed")
        if total - removed > limit_gib * GIB:
            used = f"{(total - removed) / GIB:.1f} GiB"
            messages.append(f"cache: {used} are in use by this sweep, more than cache_limit_gib={limit_gib:g}")
        return messages


def cache_folder(config: RunConfig) -> Path:
    """Return the folder of the artifact cache, absolute."""
    return Path(config.cache_dir).absolute() if config.cache_dir else default_cache(Path(config.output_dir))


def remove(entry: Path) -> bool:
    """Remove an artifact, and return whether that was possible: a process may use it.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        with (entry / DIGEST_FILE).open("rb") as digest:
            fcntl.flock(digest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = entry.with_name(f".{entry.name}-gone-{os.getpid()}")
            entry.rename(gone)  # atomically, so that no process finds half of it
    except BlockingIOError:
        return False
    shutil.rmtree(gone)
    return True


def remove_any(path: Path) -> bool:
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
