"""The closing table of a sweep; ``runner report`` prints the same table of any past sweep."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.analysis import findings
from runner.protocol import Finding
from runner.reporting.columns import Column, columns, few_columns
from runner.reporting.notes import notes
from runner.results.metrics import Row
from runner.results.store import NOTES_FILE

if TYPE_CHECKING:
    import pandas as pd

UNFOLDED = 10_000
"""Maximum width in characters of all columns, or of a table that goes to a file: their cells are not folded."""


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame from the tracking store."""
    return [{str(name): value for name, value in record.items()} for record in frame.to_dict("records")]


def rich_table(rows: Sequence[Row], title: str, shown: Sequence[Column]) -> Table:
    """Return the table with some columns, for a terminal."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for column in shown:
        table.add_column(Text(column.title), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.show(row)) for column in shown))  # as Text, because a label may contain markup
    return table


def markdown_table(rows: Sequence[Row], *, wide: bool = True) -> str:
    """Return the table as Markdown, with all columns or with few."""
    shown = columns(rows) if wide else few_columns(rows)
    lines = [
        "| " + " | ".join(column.title for column in shown) + " |",
        "|" + "|".join("---:" if column.right else "---" for column in shown) + "|",
    ]
    lines += ["| " + " | ".join(column.show(row).replace("|", "\\|") for column in shown) + " |" for row in rows]
    return "\n".join(lines)


def csv_table(rows: Sequence[Row]) -> str:
    """Return every parameter, metric and tag of every row, unrounded, as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:  # NaN, which a frame has where a row lacks a value, is the only value that differs from itself
        writer.writerow({name: value for name, value in row.items() if value == value})  # noqa: PLR0124
    return stream.getvalue()


def write_tables(
    rows: Sequence[dict[str, Any]], title: str, conclusions: Sequence[str], folder: Path
) -> tuple[list[Path], list[str]]:
    """Write the table, the conclusions, and for a published table the figure.

    Args:
        rows: as :func:`runner.results.metrics.row` returns them.
        title: of the figure.
        conclusions: from all rows, one line each.
        folder: of the sweep.

    Returns:
        The written files, and a message if not all could be written.
    """
    files: list[Path] = []
    try:
        texts = {
            "table.md": markdown_table(rows) + "\n",
            "table.csv": csv_table(rows),
            NOTES_FILE: "".join(f"{line}\n" for line in conclusions),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
            files.append(folder / name)
        if any(one["tags.table"] for one in rows):
            from runner.reporting.figure import draw

            files += draw(rows, title, folder)
    except Exception as error:  # such as a full disk or a failed figure: still print the numbers
        return files, [f"some files of the table could not be written: {error!r}"]
    return files, []


def print_table(
    console: Console, rows: Sequence[Row], title: str, conclusions: Sequence[str] = (), *, wide: bool = False
) -> None:
    """Print the table, the notes on its rows, and the conclusions from all rows.

    Args:
        console: where to; cells are folded only if few columns do not fit a terminal.
        rows: of the table.
        title: of the table.
        conclusions: from all rows, one line each.
        wide: whether to print all columns.
    """
    table = rich_table(rows, title, columns(rows) if wide else few_columns(rows))
    if wide or not console.is_terminal:
        needed = console.measure(table, options=console.options.update(max_width=UNFOLDED)).maximum
        console.width = max(console.width, needed)
    console.print(table)
    for line in [*notes(rows), *conclusions]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_evidence(console: Console, evidence: Mapping[str, Sequence[Finding]]) -> None:
    """Print the requested and the observed settings of every row, by label."""
    for label, found in evidence.items():
        console.print(f"\n{label}", style="bold", markup=False, highlight=False)
        for line in findings.lines(found):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
