"""The status of a run, and the exception that ends one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Status(StrEnum):
    """How a run ended."""

    ok = "ok"
    """Measured."""
    unsupported = "unsupported"
    """The combination of settings is not possible."""
    unavailable = "unavailable"
    """A required program, library or package is not installed."""
    invalid = "invalid"
    """A requested setting did not take effect, or the outputs are not valid; no number is shown."""
    failed = "failed"
    """Ended by an exception."""
    crashed = "crashed"
    """Killed by a signal."""
    timeout = "timeout"
    """Exceeded its time limit."""
    interrupted = "interrupted"
    """Interrupted by the user."""
    dropped = "dropped"
    """Left out by a search: it breaks a bound, or is slower than another beyond doubt. Its numbers are stored, not
    shown."""


HARMLESS = frozenset({Status.ok, Status.unsupported, Status.unavailable, Status.dropped})
"""Statuses that leave a sweep's exit code at 0."""


class RunFailed(Exception):
    """A run ends without a measurement."""

    def __init__(self, status: Status, reason: str, *, exception: str = "", log_tail: str = "") -> None:
        """Store the outcome.

        Args:
            status: of the run.
            reason: one line.
            exception: the exception's type and message; empty if there was none.
            log_tail: last lines of the worker's log, or a traceback.
        """
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.exception = exception
        self.log_tail = log_tail


@contextmanager
def attribute_failure_to(owner: str) -> Iterator[None]:
    """Prefix the reason of a failure with its owner, if that is not the candidate.

    Args:
        owner: for example "its baseline".

    Raises:
        RunFailed: the block's RunFailed, with `owner` before its reason.
    """
    try:
        yield
    except RunFailed as failure:
        raise RunFailed(
            failure.status, f"{owner}: {failure.reason}", exception=failure.exception, log_tail=failure.log_tail
        ) from failure
