"""Ctrl-C, and being told to end: once, and the current slice is finished first; twice, and everything ends at once.

A terminal that hangs up tells it too; what whoever started this process had it ignore (nohup) stays ignored.

Signals belong to the whole process, so what is known of them stands in this module.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

TOLD = b"\nfinishing this slice; once more to stop at once\n"


@dataclass
class _Asked:
    count: int = 0
    """How often this process was told to end."""
    held: int = 0
    """How many blocks are open that are to be finished first."""
    pending: bool = False


_asked = _Asked()


def install_handlers() -> None:
    """Take what tells a process to end, from now on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- what a handler is called with
    _asked.count += 1
    if _asked.count > 1 or not _asked.held:
        raise KeyboardInterrupt
    _asked.pending = True
    try:
        os.write(sys.stderr.fileno(), TOLD)  # not a print: it might be what the signal has interrupted
    except (OSError, ValueError):  # nobody reads it; what is told is done all the same
        return


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Put a first Ctrl-C off until the block is done.

    Raises:
        KeyboardInterrupt: behind the block, where it came meanwhile; within it, where it came a second time.
    """
    _asked.held += 1
    try:
        yield
    finally:
        _asked.held -= 1
    if _asked.pending and not _asked.held:
        _asked.pending = False
        raise KeyboardInterrupt
