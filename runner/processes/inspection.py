"""Ask about a model in a process of its own: only the worker's wing imports what reads one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from runner.errors import Mistake
from runner.paths import import_folder
from runner.protocol import Failure, Inspect, Inspected, Message, Mistaken, ProtocolError, decode, encode

TIMEOUT_S = 600.0
"""Limit for reading a file of many GB from a slow disk, in seconds."""


def inspect(path: Path, shapes: Sequence[str] = (), forms: Sequence[Sequence[str]] = ()) -> Inspected | Mistake:
    """Return what a model file is, or the mistake that keeps it from being used.

    Args:
        path: the file.
        shapes: shapes of inputs, as in `model.shapes`.
        forms: kinds and precisions of forms; the answer says which can be made of the file.
    """
    asked = tuple((kind, precision) for kind, precision in forms)
    try:
        found = path.stat()
    except OSError:
        return _inspect(path.absolute(), tuple(shapes), asked, 0, 0)
    return _inspect(path.absolute(), tuple(shapes), asked, found.st_size, found.st_mtime_ns)


@cache
def _inspect(
    path: Path, shapes: tuple[str, ...], forms: tuple[tuple[str, str], ...], _size: int, _time_ns: int
) -> Inspected | Mistake:
    """Inspect a file once, for all rows of a sweep; size and time tell whether it has changed."""
    answer = ask(Inspect(str(path), list(shapes), [list(form) for form in forms]))
    if isinstance(answer, Mistaken):
        return Mistake(answer.field, answer.received, answer.allowed, answer.remedy)
    if isinstance(answer, Failure):
        return Mistake("model.path", str(path), "a model file that can be read", answer.reason)
    assert isinstance(answer, Inspected)
    return answer


def ask(question: Message) -> Message:
    """Return the answer of a process of its own to a question about a model; a failure if it dies."""
    with tempfile.TemporaryDirectory(prefix="runner-inspect-") as folder:
        request, reply = Path(folder) / "request", Path(folder) / "reply"
        request.write_bytes(encode(question))
        command = [sys.executable, "-P", "-m", "runner.worker.inspect", str(request), str(reply)]
        stderr = ""
        try:
            done = subprocess.run(
                command, env=_environment(), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
            stderr = done.stderr
            return decode(reply.read_bytes())
        except (OSError, subprocess.TimeoutExpired, ProtocolError) as error:
            last = (stderr.strip().splitlines() or [str(error)])[-1]
            return Failure("failed", f"Reading it ended with: {last}")


def _environment() -> dict[str, str]:
    """Return the environment of the process: that of this one, with this package to import."""
    return os.environ | {"PYTHONPATH": str(import_folder())}
