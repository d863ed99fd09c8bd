"""One measurement at a time on a machine: a lock file that names its holder."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from runner.errors import NothingLaunched

LOCK_VARIABLE = "RUNNER_LOCK"
"""Environment variable that overrides the lock's path, for tests."""
FOLDERS = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 -- shared by all users; links are not followed


class MachineBusy(NothingLaunched):
    """Another measurement runs on this machine."""


def lock_file() -> Path:
    """Return the lock's path: the same for every checkout and user of this machine, independent of TMPDIR."""
    if wanted := os.environ.get(LOCK_VARIABLE):
        return Path(wanted)
    folder = next((place for place in FOLDERS if os.access(place, os.W_OK)), Path(tempfile.gettempdir()))
    return folder / "runner-measuring.lock"


@contextmanager
def measurement_lock(
    *, wait: bool, report: Callable[[str], None], path: Path | None = None, remedy: str = "add wait=true"
) -> Iterator[None]:
    """Hold the machine's lock. The kernel releases it when this process ends, even by SIGKILL.

    Args:
        wait: wait until the holder releases it.
        report: called with a message that names the holder, before waiting.
        path: of the lock; :func:`lock_file` by default.
        remedy: the option that makes the command wait, for the error message.

    Raises:
        MachineBusy: another process holds the lock and `wait` is false.
        NothingLaunched: the lock file cannot be opened.
    """
    path = path or lock_file()
    try:
        opened = _open(path)
    except OSError as error:
        raise NothingLaunched(f"the lock {path} cannot be opened: {error.strerror}") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = f"process {file.read().strip() or 'unknown'}"
            if not wait:
                raise MachineBusy(
                    f"{holder} is measuring on this machine, and concurrent measurements disturb each other: {remedy}"
                ) from None
            report(f"waiting for {holder}, which is measuring on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _open(path: Path) -> TextIO:
    """Open the lock file, writable by all users: a measurement by another user disturbs too."""
    plain = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # do not follow a link that another user has placed there
    try:
        return os.fdopen(os.open(path, plain), "r+", encoding="utf-8")
    except FileNotFoundError:
        file = os.fdopen(os.open(path, plain | os.O_CREAT), "r+", encoding="utf-8")
        os.fchmod(file.fileno(), 0o666)
        return file
