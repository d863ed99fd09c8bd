"""A cache of artifacts on disk, keyed by everything that they depend on.

An entry is a folder named after a hash of its key. One process at a time makes it, under a temporary name, and renames
it into place. A file in it has the digests of the other files; an entry that does not match them is made again. A
process that uses an entry holds a shared lock on that file until it ends, and updates the file's time: the host removes
entries that are not locked, the least recently used first (:mod:`runner.results.artifacts`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from runner.job import HOST_ENVIRONMENT
from runner.protocol import DIGEST_FILE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How to make one artifact, and everything that it depends on."""

    kind: str
    """The kind of artifact: a word that is valid in a file name."""
    key: dict[str, Any]
    """Everything that the artifact depends on, as JSON values."""
    build: Callable[[Path], None]
    """Writes the artifact's files to an empty folder."""
    environment: str = HOST_ENVIRONMENT
    """The environment that makes it. The digest of its installed versions is part of the key; see :class:`Cache`."""


class Missing(Exception):
    """An artifact is not in the cache, and this process must not make it; the text is the entry's name."""

    def __init__(self, entry: str, environment: str) -> None:
        """Store the entry's name, and the environment whose interpreter makes it."""
        super().__init__(entry)
        self.environment = environment


Fetch = Callable[[Recipe], Path]
"""Returns an artifact's folder: :meth:`Cache.get` makes a missing artifact, :meth:`Cache.require` raises Missing."""


class Cache:
    """A folder of artifacts that all processes of this machine may share."""

    def __init__(self, folder: Path, environments: Mapping[str, str], here: str = HOST_ENVIRONMENT) -> None:
        """Store the folder; the first artifact creates it.

        Args:
            folder: the folder.
            environments: digest of the installed versions of each environment, by name.
            here: the environment of this process.
        """
        self._folder = folder
        self._environments = environments
        self._here = here
        self._locks: dict[str, _SharedLock] = {}
        """By identity, the entries that this object verified."""
        self.made: list[str] = []
        """Kinds of the artifacts that this object made."""

    def name(self, recipe: Recipe) -> str:
        """Return the name of an artifact's entry: its kind, and 20 hexadecimal digits of the SHA-256 of its key.

        Raises:
            KeyError: the job has no digest of the recipe's environment.
        """
        text = json.dumps(self._key(recipe), sort_keys=True)
        return f"{recipe.kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    def _key(self, recipe: Recipe) -> dict[str, Any]:
        return {**recipe.key, "environment": self._environments[recipe.environment]}

    def find(self, recipe: Recipe) -> Path | None:
        """Return the artifact's folder if it exists and matches its digest, else None."""
        name = self.name(recipe)
        entry = self._folder / name
        if name in self._locks:
            return entry
        digest = entry / DIGEST_FILE
        try:
            lock = _SharedLock(digest)  # before the files are read: a locked entry is not removed
            whole = _digest_files(entry) == json.loads(digest.read_text())["files"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.warning("cache entry %s has no readable digest (%r): making it again", name, error)
            return None
        if not whole:
            log.warning("cache entry %s does not match its digest: making it again", name)
            return None
        with contextlib.suppress(PermissionError):  # another user's cache is usable without updating the time
            os.utime(digest)
        self._locks[name] = lock
        return entry

    def require(self, recipe: Recipe) -> Path:
        """Return the artifact's folder.

        Raises:
            Missing: it is not in the cache.
        """
        found = self.find(recipe)
        if found is None:
            raise Missing(self.name(recipe), recipe.environment)
        return found

    def get(self, recipe: Recipe) -> Path:
        """Return the artifact's folder; make the artifact if it is not in the cache.

        Raises:
            Missing: another environment makes it.
        """
        if recipe.environment != self._here:
            return self.require(recipe)
        found = self.find(recipe)
        if found is not None:
            return found
        self._folder.mkdir(parents=True, exist_ok=True)
        name = self.name(recipe)
        entry = self._folder / name
        with FileLock(self._folder / f"{name}.lock"):
            found = self.find(recipe)  # another process may have made it while this one waited
            if found is not None:
                return found
            log.info("making %s", name)
            for abandoned in self._folder.glob(f".{name}-*"):  # by a maker that was killed
                shutil.rmtree(abandoned, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self._folder))
            try:
                recipe.build(partial)
                digest = {"key": self._key(recipe), "files": _digest_files(partial)}
                (partial / DIGEST_FILE).write_text(json.dumps(digest, indent=1))
                _sync(partial)
                shutil.rmtree(entry, ignore_errors=True)  # if it exists, it does not match its digest
                partial.rename(entry)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        self.made.append(recipe.kind)
        return self.require(recipe)


class _SharedLock:
    """A shared lock on a file, held as long as this object exists."""

    def __init__(self, file: Path) -> None:
        """Wait for the lock.

        Raises:
            FileNotFoundError: the file does not exist.
        """
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        """Release the lock, if it was acquired."""
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def _digest_files(folder: Path) -> dict[str, str]:
    digests = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != DIGEST_FILE:
            with file.open("rb") as stream:
                digests[str(file.relative_to(folder))] = hashlib.file_digest(stream, "blake2b").hexdigest()
    return digests


def _sync(folder: Path) -> None:
    """Flush the files to disk before the rename makes them visible."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
