"""Output about this machine: its inventory as a table, and its peaks as a line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from runner.planning.inventory import Entry
from runner.protocol import Peaks


def peak_line(peaks: Peaks) -> str:
    """Return the peaks of a machine as one line."""
    shown = ", ".join(
        f"{precision} {peaks.gops[f'{precision}_1']:.0f} / {peaks.gops[f'{precision}_{peaks.cores}']:.0f}"
        for precision in ("fp32", "bf16", "int8")
        if f"{precision}_1" in peaks.gops  # an emulated precision has no peak
    )
    return f"peak of a matrix product, 10⁹ operations/s on 1 / {peaks.cores} cores: {shown}"


def print_inventory(console: Console, title: str, entries: Sequence[Entry], peaks: Peaks | None) -> None:
    """Print what is available and missing on a machine, and its peaks if they were measured."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("what", "found", "remedy or note"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(entry.name, entry.found or "no", entry.remedy, style=None if entry.found else "yellow")
    console.print(table)
    if peaks is not None:
        console.print(peak_line(peaks), highlight=False)
