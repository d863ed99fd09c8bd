"""One measurement at a time on a machine: a lock file that names its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from runner.errors import NothingLaunched

LOCK_VARIABLE = "RUNNER_LOCK"
"""Environment variable that overrides the lock's path, for tests."""
FOLDER = Path("/tmp")  # noqa: S108 -- writable by root and by every user, unlike /run/lock; links are not followed
MAX_WAIT_S = 24 * 3600.0
"""Longest wait for another measurement to end."""
POLL_S = 1.0
OPEN_TRIES = 20
"""Another user's file can be opened a moment after it was made, when its permissions are set."""


class MachineBusy(NothingLaunched):
    """Another measurement runs on this machine."""


def lock_file() -> Path:
    """Return the lock's path: the same for every checkout and user of this machine, independent of TMPDIR.

    Containers on one machine share it if RUNNER_LOCK names a file in a folder that all of them mount.
    """
    if wanted := os.environ.get(LOCK_VARIABLE):
        return Path(wanted)
    folder = FOLDER if os.access(FOLDER, os.W_OK) else Path(tempfile.gettempdir())
    return folder / "runner-measuring.lock"


@contextmanager
def measurement_lock(
    *,
    wait: bool,
    report: Callable[[str], None],
    path: Path | None = None,
    remedy: str = "add wait=true",
    max_wait_s: float = MAX_WAIT_S,
) -> Iterator[None]:
    """Hold the machine's lock. The kernel releases it when this process ends, even by SIGKILL.

    Args:
        wait: wait until the holder releases it.
        report: called with a message that names the holder, before waiting.
        path: of the lock; :func:`lock_file` by default.
        remedy: the option that makes the command wait, for the error message.
        max_wait_s: longest wait, in seconds.

    Raises:
        MachineBusy: another process holds the lock, and `wait` is false or the longest wait is over.
        NothingLaunched: the lock file cannot be opened.
    """
    path = path or lock_file()
    try:
        opened = _open(path)
    except OSError as error:
        raise NothingLaunched(f"the lock {path} cannot be opened: {error.strerror}") from error
    with opened as file:
        if not _try(file):
            holder = f"process {file.read().strip() or 'unknown'}"
            if not wait:
                raise MachineBusy(
                    f"{holder} is measuring on this machine, and concurrent measurements disturb each other: {remedy}"
                )
            report(f"waiting for {holder}, which is measuring on this machine, at most {max_wait_s / 3600:.3g} h")
            deadline = time.monotonic() + max_wait_s
            while not _try(file):
                if time.monotonic() >= deadline:
                    raise MachineBusy(f"{holder} still measured on this machine after {max_wait_s / 3600:.3g} h")
                time.sleep(POLL_S)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _try(file: TextIO) -> bool:
    """Take the lock if it is free; return whether it was."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> TextIO:
    """Open the lock file, writable by all users: a measurement by another user disturbs too.

    Raises:
        OSError: it cannot be opened.
    """
    plain = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # do not follow a link that another user has placed there
    for left in reversed(range(OPEN_TRIES)):
        try:
            return os.fdopen(os.open(path, plain), "r+", encoding="utf-8")
        except FileNotFoundError:
            with suppress(FileExistsError):  # another process made it meanwhile
                # Linux refuses O_CREAT on another user's file in /tmp (fs.protected_regular), so it is exclusive.
                made = os.open(path, plain | os.O_CREAT | os.O_EXCL)
                os.fchmod(made, 0o666)
                return os.fdopen(made, "r+", encoding="utf-8")
        except PermissionError:
            if not left:
                raise
            time.sleep(0.05)
    raise FileNotFoundError(errno.ENOENT, "it disappears again and again", str(path))
