"""``--dry-run``: the runs of a command with their expected time and memory; nothing is launched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.config.durations import in_words
from runner.config.labels import describe
from runner.machine.facts import this_machine
from runner.planning.estimate import RunEstimate, estimate
from runner.planning.resume import reusable_runs
from runner.results.plan import Plan

NO_TERMINAL_WIDTH = 200
"""Width of the table in characters if the output is not a terminal."""


def print_dry_run(plans: Sequence[Plan]) -> None:
    """Print every run with its expected time and memory, and the totals."""
    config = plans[0].config
    output_dir = Path(config.output_dir)
    estimates = estimate(plans, output_dir)
    reused = reusable_runs(output_dir / "sweeps" / config.resume, plans)[0] if config.resume else {}
    console = Console()
    if not console.is_terminal:
        console.width = NO_TERMINAL_WIDTH
    table = Table(
        title=Text(f"dry run: {_runs(len(plans))}, baseline {describe(plans[0].baseline)}"), title_justify="left"
    )
    for name in ("#", "run", "expected time", "peak memory", "from"):
        table.add_column(name, justify="right" if name in ("#", "expected time", "peak memory") else "left")
    left: list[RunEstimate] = []
    for number, (plan, one) in enumerate(zip(plans, estimates, strict=True)):
        if number in reused:
            cells = ["0 s", "–", "already measured: reused"]
        else:
            left.append(one)
            cells = _cells(one)
        table.add_row(str(number + 1), *(Text(cell) for cell in (plan.label, *cells)))
    console.print(table)
    for line in _sums(left):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cells(one: RunEstimate) -> list[str]:
    memory = "not known" if one.rss_peak_mib is None else f"{one.rss_peak_mib:.0f} MiB"
    source = "its settings; preparation is not included"
    if one.earlier:
        source = f"{_runs(one.earlier, 'earlier')} of this kind"
    return [_span(one.seconds_low, one.seconds_high), memory, source]


def _runs(count: int, what: str = "") -> str:
    """Return a number of runs in words."""
    return " ".join(filter(None, (str(count), what, "run" if count == 1 else "runs")))


def _span(low: float, high: float) -> str:
    """Return a range of durations; a single duration if both ends have the same text."""
    ends = [in_words(low), in_words(high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _sums(left: Sequence[RunEstimate]) -> list[str]:
    """Return the total time of the runs, and the largest memory beside that of the machine."""
    if not left:
        return ["nothing is left to measure"]
    total = _span(sum(one.seconds_low for one in left), sum(one.seconds_high for one in left))
    lines = [f"{_runs(len(left))} to measure: {total}, one after the other; nothing was launched"]
    unknown = sum(one.earlier == 0 for one in left)
    if unknown:
        lines.append(f"{_runs(unknown)} without an earlier run of the same kind here: preparation time is not included")
    peaks = [one.rss_peak_mib for one in left if one.rss_peak_mib is not None]
    if peaks:
        lines.append(
            f"memory: {max(peaks):.0f} MiB in the largest candidate, plus its baseline; "
            f"this machine has {this_machine().memory_gib:.1f} GiB"
        )
    return lines
