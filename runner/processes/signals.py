"""Ctrl-C, SIGTERM and SIGHUP: the first finishes the current slice, the second ends everything at once.

A signal that was ignored when this process started (nohup) stays ignored. Signals belong to the whole process, so their
state is in this module.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

MESSAGE = b"\nfinishing this slice; once more to stop at once\n"


@dataclass
class _State:
    count: int = 0
    """How many signals to end this process has received."""
    held: int = 0
    """How many deferring blocks are open."""
    pending: bool = False


_state = _State()


def install_handlers() -> None:
    """Handle the signals that end a process from now on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- what a handler is called with
    _state.count += 1
    if _state.count > 1 or not _state.held:
        raise KeyboardInterrupt
    _state.pending = True
    try:
        os.write(sys.stderr.fileno(), MESSAGE)  # not a print: it might be what the signal has interrupted
    except (OSError, ValueError):  # no one can read it; the signal is handled all the same
        return


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Defer the first Ctrl-C until the block completes.

    Raises:
        KeyboardInterrupt: after the block, if a signal arrived in it; inside it, at the second one.
    """
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if _state.pending and not _state.held:
        _state.pending = False
        raise KeyboardInterrupt
