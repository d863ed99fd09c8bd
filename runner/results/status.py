"""How a run ended, and the exception that ends one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Status(StrEnum):
    """How a run ended."""

    ok = "ok"
    """Measured."""
    unsupported = "unsupported"
    """This combination cannot exist."""
    unavailable = "unavailable"
    """Something is not installed."""
    invalid = "invalid"
    """A requested setting did not take effect, or the outputs are no answers: no number is shown."""
    failed = "failed"
    """An exception."""
    crashed = "crashed"
    """Died by a signal."""
    timeout = "timeout"
    """Ran past its limit."""
    interrupted = "interrupted"
    """Interrupted by the user."""


HARMLESS = frozenset({Status.ok, Status.unsupported, Status.unavailable})
"""Statuses that leave a sweep's exit code at 0."""


class RunFailed(Exception):
    """A run ends without a measurement."""

    def __init__(self, status: Status, reason: str, *, exception: str = "", log_tail: str = "") -> None:
        """Keep how it ended, the one line that says why, and the end of the worker's log."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.exception = exception
        self.log_tail = log_tail


@contextmanager
def attribute_failure_to(whose: str) -> Iterator[None]:
    """Name whose failure it is, if it is not the candidate's own.

    Raises:
        RunFailed: what the block raises, `whose` before its reason.
    """
    try:
        yield
    except RunFailed as failure:
        raise RunFailed(
            failure.status, f"{whose}: {failure.reason}", exception=failure.exception, log_tail=failure.log_tail
        ) from failure
