"""What the person sees while a sweep works: one line that says where it is, and a line per finished run.

Where the output is not a terminal nothing is shown until the closing table. The line is drawn only when something
happens, between timed phases: a display that refreshed itself would take time from the worker being timed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from runner.analysis.statistics import Estimate
from runner.config.durations import in_words
from runner.results.result import Result
from runner.results.status import Status

STATUS_STYLES = {Status.ok: "green", Status.unsupported: "dim", Status.unavailable: "yellow"}
"""Every other status is an error: red."""


class BrokenPipeSafeConsole(Console):
    """A console whose end is not the sweep's: where nobody reads any more, it falls silent."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; rich would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python itself complains at the end


def say(console: Console, line: str) -> None:
    """Tell the person something that is not as it should be; where nobody can be told, on standard error."""
    try:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    except OSError as error:  # a pipe that was closed, or a file on a full disk: the sweep is worth more
        print(f"{line} (not shown where it should be: {error})", file=sys.stderr)


class Progress:
    """The progress display of one sweep."""

    def __init__(self, console: Console, total: int) -> None:
        """Keep where to draw and how many runs there will be."""
        self._console = console
        self._total = total
        self._title = ""
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._show(lambda live: live.start())
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Take the line away."""
        self._show(lambda live: live.stop())

    def begin(self, number: int, label: str, left_s: float | None) -> None:
        """Announce a run, its number from 0, and how long the rest is expected to take, where that is known."""
        left = f"about {in_words(left_s)} left · " if left_s is not None else ""
        self._title = f"[{number + 1}/{self._total}] {left}{label}"
        self.phase("start")

    def phase(self, name: str) -> None:
        """Say what the run is doing."""
        self._draw(name)

    def round(self, number: int, contaminated: int, limit: int, speedup: Estimate | None) -> None:
        """Say which round is done, how many were contaminated, and the speedup so far."""
        text = f"round {number} of {limit} at most" + (f" ({contaminated} contaminated)" if contaminated else "")
        if speedup is not None:
            text += f", {speedup.value:.2f}× ({speedup.low:.2f}–{speedup.high:.2f})"
        self._draw(text)

    def end(self, number: int, result: Result, *, kept: bool) -> None:
        """Leave a line for a finished run, or for one that was there already."""
        line = Text.assemble(
            f"[{number + 1}/{self._total}] {result.label}: ",
            (str(result.status), STATUS_STYLES.get(result.status, "red")),
            ", kept" if kept else "",
        )
        if (measured := result.shown) is not None:
            line.append(f", {measured.throughput.value:.1f} samples/s, {measured.speedup.value:.2f}× the baseline")
        elif result.reason:
            line.append(f", {result.reason}")
        self._show(lambda _: self._console.print(line))

    def _draw(self, what: str) -> None:
        self._show(lambda live: live.update(Text(f"{self._title} · {what}"), refresh=True))

    def _show(self, how: Callable[[Live], None]) -> None:
        """Draw something where there is a terminal, as long as there is one."""
        if self._live is None:
            return
        try:
            how(self._live)
        except OSError as error:  # it has hung up: the sweep is worth more
            self._live = None
            print(f"nothing is shown any more: {error}", file=sys.stderr)
