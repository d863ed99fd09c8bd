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
"""Environment variable that names another file: for tests."""
FOLDERS = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 -- all users share it; a link there is not followed


class MachineBusy(NothingLaunched):
    """Another measurement runs on this machine."""


def lock_file() -> Path:
    """Return the lock's path, the same for every checkout and user of the machine, independent of TMPDIR."""
    if wanted := os.environ.get(LOCK_VARIABLE):
        return Path(wanted)
    folder = next((place for place in FOLDERS if os.access(place, os.W_OK)), Path(tempfile.gettempdir()))
    return folder / "runner-measuring.lock"


@contextmanager
def measurement_lock(
    *, wait: bool, report: Callable[[str], None], path: Path | None = None, remedy: str = "add wait=true"
) -> Iterator[None]:
    """Hold the machine's lock; the kernel gives it back when this process ends, however it ends.

    Args:
        wait: wait for the holder to end.
        report: called with a message that names the process it waits for.
        path: of the lock, :func:`lock_file` by default.
        remedy: what the person can do instead of being refused.

    Raises:
        MachineBusy: another process holds it, and `wait` is false.
        NothingLaunched: the file cannot be opened.
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
                    f"{holder} measures on this machine, and two would be each other's noise: {remedy}"
                ) from None
            report(f"waiting for {holder}, which measures on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _open(path: Path) -> TextIO:
    """Open the file for whoever measures here: another user's measurement disturbs as much as one's own."""
    plain = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # never through a link that somebody else has put there
    try:
        return os.fdopen(os.open(path, plain), "r+", encoding="utf-8")
    except FileNotFoundError:
        file = os.fdopen(os.open(path, plain | os.O_CREAT), "r+", encoding="utf-8")
        os.fchmod(file.fileno(), 0o666)
        return file
