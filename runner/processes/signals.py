"""Handling of Ctrl-C, SIGTERM and SIGHUP: the first finishes the current slice, the second ends everything at once.

A signal that was ignored when this process started (nohup) stays ignored. Signal handlers are global to a process, so
their state is global to this module.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

MESSAGE = b"\nfinishing this slice; interrupt again to stop at once\n"


@dataclass
class _State:
    count: int = 0
    """Number of signals received so far."""
    held: int = 0
    """Number of open :func:`defer_interrupt` blocks."""
    pending: bool = False


_state = _State()


def install_handlers() -> None:
    """Install the handlers of SIGINT, SIGTERM and SIGHUP."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a handler's signature
    _state.count += 1
    if _state.count > 1 or not _state.held:
        raise KeyboardInterrupt
    _state.pending = True
    try:
        os.write(sys.stderr.fileno(), MESSAGE)  # not print(), which the signal may have interrupted
    except (OSError, ValueError):  # standard error is closed; the signal is handled anyway
        return


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Defer the first Ctrl-C until the block completes.

    Raises:
        KeyboardInterrupt: after the block if a signal arrived in it; inside the block at the second signal.
    """
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if _state.pending and not _state.held:
        _state.pending = False
        raise KeyboardInterrupt
