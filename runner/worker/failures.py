"""Reasons why a worker cannot run a job; each has the status of the row in the table.

JobFailure
├── Unsupported   the combination of settings cannot exist
├── Unavailable   something is not installed
├── BadInput      the user's file or setting is not usable (status: failed)
│   └── Refused   the same, with the field, what was received and what is allowed
└── BuildFailed   the process that makes artifacts failed; its failure is the job's
"""

from __future__ import annotations

import traceback

from runner.protocol import Failure, Mistaken


class JobFailure(Exception):
    """A job cannot run. The text is one line: the problem and its remedy."""

    status = "failed"


class Unsupported(JobFailure):
    """The combination of settings cannot exist; the reason names the nearest one that can."""

    status = "unsupported"


class Unavailable(JobFailure):
    """Something is not installed; the reason names the command that installs it."""

    status = "unavailable"


class BadInput(JobFailure):
    """A file or a setting of the user is not usable."""


class Refused(BadInput):
    """A setting or a file cannot be used: its field, the value received, the values allowed, and the remedy."""

    def __init__(self, field: str, received: object, allowed: str, remedy: str = "") -> None:
        """Store the parts; the text is one line with all of them."""
        self.mistake = Mistaken(field, "nothing" if received is None else str(received), allowed, remedy)
        text = f"{field}: received {self.mistake.received}; allowed: {allowed}"
        super().__init__(f"{text}. {remedy}" if remedy else text)


class BuildFailed(JobFailure):
    """The process that makes artifacts failed; its failure is the job's."""

    def __init__(self, failure: Failure) -> None:
        """Store the other process's failure."""
        super().__init__(failure.reason)
        self.failure = failure


def as_failure(error: BaseException) -> Failure:
    """Return the message that reports an exception to the host."""
    if isinstance(error, BuildFailed):
        return error.failure
    details = "".join(traceback.format_exception(error))
    if isinstance(error, JobFailure):
        return Failure(error.status, str(error), exception=type(error).__name__, traceback=details)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("runner"):
        return Failure(
            "unavailable", f"{error.name} is not installed: run make setup", exception=str(error), traceback=details
        )
    text = f"{type(error).__name__}: {error}".strip()
    return Failure("failed", gist(error, 300), exception=text[:2000], traceback=details)


def gist(error: BaseException, length: int = 160) -> str:
    """Return the type of an exception and the first line of its text that says something.

    OpenVINO begins with the places in its source from which an exception comes.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from src/", "Check 'false' failed"))]
    return f"{type(error).__name__}: {telling[0] if telling else ''}".rstrip(": ")[:length]
