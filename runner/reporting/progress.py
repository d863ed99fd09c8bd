"""What the user sees while a sweep runs.

On a terminal: one line that says where the sweep is, the provisional speedups of the present block, and a line per
finished run. It is drawn only when something happens, between timed phases: a display that refreshed itself would take
time from the worker being timed. Elsewhere, as in a batch job's log: one plain line per finished run, when it finishes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from runner.config.durations import in_words
from runner.results.result import Result
from runner.results.status import Status

log = logging.getLogger(__name__)

STATUS_STYLES = {Status.ok: "green", Status.unsupported: "dim", Status.dropped: "dim", Status.unavailable: "yellow"}
"""Every other status is an error: red."""


class BrokenPipeSafeConsole(Console):
    """A console that goes quiet on a broken pipe instead of ending the sweep."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; rich would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python itself complains at the end


def say(console: Console, line: str) -> None:
    """Print a message for the user; on standard error if the console cannot be written."""
    try:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    except OSError as error:  # a closed pipe, or a file on a full disk: the sweep matters more
        print(f"{line} (not shown on standard output: {error})", file=sys.stderr)


class Progress:
    """The progress display of one sweep."""

    def __init__(self, console: Console, total: int) -> None:
        """Keep the console and the number of runs."""
        self._console = console
        self._total = total
        self._title = ""
        self._standing: list[str] = []
        """What the finished replicates of the present block give, a line for each of its runs."""
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._silent = False

    def __enter__(self) -> Self:
        """Start drawing."""
        self._show(lambda live: live.start())
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Remove the line."""
        self._show(lambda live: live.stop())

    def begin(self, numbers: Sequence[int], labels: Sequence[str], left_s: float | None) -> None:
        """Announce the runs of a block.

        Args:
            numbers: of the runs, from 0.
            labels: of the runs.
            left_s: seconds that these and the following runs are expected to take; None if that is not known.
        """
        left = f"about {in_words(left_s)} left · " if left_s is not None else ""
        first = f"[{numbers[0] + 1}/{self._total}] {left}"
        self._standing = []
        self._title = first + (labels[0] if len(labels) == 1 else f"{len(labels)} runs side by side")
        self.phase("start")

    def phase(self, name: str) -> None:
        """Show which phase the run is in, and log it."""
        log.info("%s · %s", self._title, name)
        self._draw(name)

    def round(self, replicate: int, replicates: int, number: int, rounds: int) -> None:
        """Show which round of which replicate is finished.

        Args:
            replicate: number of the replicate, from 1.
            replicates: how many are planned.
            number: of the round within the replicate, from 1; contaminated rounds count.
            rounds: how many clean ones are planned.
        """
        more = f" ({number - rounds} repeated)" if number > rounds else ""
        self._draw(f"replicate {replicate} of {replicates}, round {min(number, rounds)} of {rounds}{more}")

    def provisional(self, speedups: Sequence[tuple[str, float | None]]) -> None:
        """Show what the replicates so far give; there is no interval before the last of them.

        Args:
            speedups: label and speedup of each run of the block; None for a run without a number.
        """
        self._standing = [f"  {label}: {value:.2f}×" for label, value in speedups if value is not None]
        if self._standing:
            self._standing.insert(0, "  provisional, without an interval:")
        log.info("provisional: %s", "; ".join(line.strip() for line in self._standing[1:]))

    def end(self, number: int, result: Result, *, reused: bool, left_s: float | None) -> None:
        """Print a line for a finished run.

        Args:
            number: of the run, from 0.
            result: of the run.
            reused: whether an earlier command measured it.
            left_s: seconds that the following runs are expected to take; None if that is not known.
        """
        words = [f", {word}" for word in _outcome(result, reused=reused)]
        if left_s and number + 1 < self._total:
            words.append(f", about {in_words(left_s)} left")
        status = (str(result.status), STATUS_STYLES.get(result.status, "red"))
        line = Text.assemble(f"[{number + 1}/{self._total}] {result.label}: ", status, *words)
        if self._live is not None:
            self._show(lambda _: self._console.print(line, soft_wrap=True))
        else:
            self._print(line.plain)

    def _print(self, line: str) -> None:
        """Print a plain line at once, as long as standard output takes it."""
        if self._silent:
            return
        try:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._console.file.flush()  # a log is read while it grows
        except OSError as error:  # a full disk behind standard output: the sweep matters more
            self._silent = True
            print(f"no further progress is shown: {error}", file=sys.stderr)

    def _draw(self, what: str) -> None:
        lines = [f"{self._title} · {what}", *self._standing]
        self._show(lambda live: live.update(Text("\n".join(lines)), refresh=True))

    def _show(self, draw: Callable[[Live], None]) -> None:
        """Draw on the terminal, if there is one and as long as it exists."""
        if self._live is None:
            return
        try:
            draw(self._live)
        except OSError as error:  # the terminal was closed: the sweep matters more
            self._live, self._silent = None, True
            print(f"no further progress is shown: {error}", file=sys.stderr)


def _outcome(result: Result, *, reused: bool) -> list[str]:
    """Return what a finished run ended in, in a few words."""
    words = ["reused"] if reused else []
    if (measured := result.shown) is not None:
        speedup = measured.speedup
        words += [
            f"{measured.throughput.value:.1f} samples/s",
            f"{speedup.value:.2f}× ({speedup.low:.2f} … {speedup.high:.2f}) the baseline",
            str(measured.verdict),
        ]
    elif result.reason:
        words.append(result.reason)
    return words
