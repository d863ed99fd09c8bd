"""What the person sees while a sweep works: one line that says where it is, and a line per finished run.

Where the output is not a terminal nothing is shown until the closing table. The line is drawn only when something
happens, between timed phases: a display that refreshed itself would take time from the worker being timed.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from runner.result import Result, Status
from runner.statistics import Estimate

STATUS_STYLES = {Status.ok: "green", Status.unsupported: "dim", Status.unavailable: "yellow"}
"""Every other status is an error: red."""


class Screen:
    """The progress display of one sweep."""

    def __init__(self, console: Console, total: int) -> None:
        """Keep where to draw and how many runs there will be."""
        self._console = console
        self._total = total
        self._number = 0
        self._label = ""
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()

    def begin(self, label: str) -> None:
        """Announce the next run."""
        self._number += 1
        self._label = label
        self.phase("start")

    def phase(self, name: str) -> None:
        """Say what the run is doing."""
        self._draw(name)

    def round(self, number: int, disturbed: int, limit: int, speedup: Estimate | None) -> None:
        """Say which round is done, how many were disturbed, and the speedup so far."""
        text = f"round {number} of {limit} at most" + (f" ({disturbed} disturbed)" if disturbed else "")
        if speedup is not None:
            text += f", {speedup.value:.2f}× ({speedup.low:.2f}–{speedup.high:.2f})"
        self._draw(text)

    def end(self, result: Result) -> None:
        """Leave a line for the finished run."""
        if self._live is None:
            return
        line = Text.assemble(
            f"[{self._number}/{self._total}] {result.label}: ",
            (str(result.status), STATUS_STYLES.get(result.status, "red")),
        )
        if (measured := result.shown) is not None:
            line.append(f", {measured.throughput.value:.1f} samples/s, {measured.speedup.value:.2f}× the baseline")
        elif result.reason:
            line.append(f", {result.reason}")
        self._console.print(line)

    def _draw(self, what: str) -> None:
        if self._live is not None:
            self._live.update(Text(f"[{self._number}/{self._total}] {self._label} · {what}"), refresh=True)
