"""The closing table of a sweep; ``runner report`` prints the same table of any past sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.analysis import findings
from runner.protocol import Finding
from runner.reporting.notes import notes
from runner.results.metrics import DASH, Row, number, word
from runner.results.store import NOTES_FILE

if TYPE_CHECKING:
    import pandas as pd

DISPENSABLE = (
    "prepare s", "p99 ms", "published samples/s", "peak share", "Δ pp (95 % interval)", "Δ (95 % interval)", "agree %",
    "first token ms", "ms per token", "SQNR dB", "evidence", "p50 ms", "gate", "top-1", "quality",
)  # fmt: skip
"""Columns that a narrow terminal leaves out, in this order."""
UNFOLDED = 10_000
"""Maximum width in characters if the output is not a terminal, so that cells of a file are not folded."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    title: str
    show: Callable[[Row], str]
    right: bool = True


def _plain(name: str, pattern: str, scale: float = 1.0) -> Callable[[Row], str]:
    """Return a function that shows one metric of a row."""

    def show(row: Row) -> str:
        value = number(row, name)
        return DASH if value is None else pattern.format(value * scale)

    return show


def _interval(name: str, low: str, high: str, pattern: str, unit: str = "") -> Callable[[Row], str]:
    """Return a function that shows a metric of a row with its interval."""

    def show(row: Row) -> str:
        values = [number(row, part) for part in (name, low, high)]
        if any(value is None for value in values):
            return DASH
        shown = [pattern.format(value) for value in values]
        return f"{shown[0]}{unit} ({shown[1]} … {shown[2]})"

    return show


def _sqnr(row: Row) -> str:
    value = number(row, "sqnr_db")
    if value is not None:
        return f"{value:.1f}"
    judged_by_logits = number(row, "agreement_top1") is not None and number(row, "perplexity") is None
    return "exact" if judged_by_logits else DASH


def _quality(row: Row) -> str:
    """Return the task's accuracy metric: top-1, F1 or perplexity."""
    for name, pattern in (("accuracy_top1", "{:.3f}"), ("f1", "F1 {:.3f}"), ("perplexity", "perplexity {:.2f}")):
        value = number(row, name)
        if value is not None:
            return pattern.format(value)
    return DASH


def _delta(unit: str = "") -> Callable[[Row], str]:
    """Return a function that shows the accuracy delta of a row with its interval."""
    return _interval("accuracy_delta_pp", "accuracy_delta_ci_low_pp", "accuracy_delta_ci_high_pp", "{:+.2f}", unit)


def _delta_of_task(row: Row) -> str:
    """Return the delta in percentage points, or in per cent of the likelihood per token."""
    return _delta(" pp" if number(row, "perplexity") is None else " %")(row)


def _tail(row: Row) -> str:
    """Return the 99th percentile; if there are too few batches for it, the slowest batch, marked (max)."""
    value, slowest = number(row, "latency_p99_ms"), number(row, "latency_max_ms")
    if value is not None:
        return f"{value:.1f}"
    return DASH if slowest is None else f"{slowest:.1f} (max)"


def _published_speedup(row: Row) -> str:
    value = number(row, "published_speedup")
    if value is None:
        return DASH
    high = number(row, "published_speedup_high")
    if high is not None:
        return f"{value:g}× to {high:g}×"
    return f"{value:.2f}×" + (" (derived)" if word(row, "published") == "derived" else "")


PUBLISHED_COLUMNS = (
    Column("published samples/s", _plain("published_throughput", "{:.2f}")),
    Column("published speedup", _published_speedup),
)
"""Columns of published numbers, shown before the measured ones in a published table."""
TABLE_COLUMNS = (
    Column("row verdict", lambda row: word(row, "row_verdict"), right=False),
    Column("peak share", _plain("peak_share", "{:.0f} %", 100)),
)
"""Additional columns of a published table, shown after the speedup."""
TOKEN_COLUMNS = (
    Column("tokens/s", _plain("tokens_per_s", "{:.1f}")),
    Column("first token ms", _plain("first_token_ms", "{:.1f}")),
    Column("ms per token", _plain("token_ms", "{:.2f}")),
)
"""Columns of rows that generate text, shown after the latency; the first also for texts that differ in length."""
TASK_COLUMNS = {
    "top-1": Column("quality", _quality),
    "Δ pp (95 % interval)": Column("Δ (95 % interval)", _delta_of_task),
}
"""Replacements of columns, by title, if not all rows are classifiers."""
COLUMNS = (
    Column("configuration", lambda row: word(row, "label"), right=False),
    Column("samples/s (95 % interval)", _interval("throughput", "throughput_ci_low", "throughput_ci_high", "{:.1f}")),
    Column("speedup (95 % interval)", _interval("speedup", "speedup_ci_low", "speedup_ci_high", "{:.2f}", "×")),
    Column("verdict", lambda row: word(row, "verdict"), right=False),
    Column("p50 ms", _plain("latency_p50_ms", "{:.1f}")),
    Column("p99 ms", _tail),
    Column("top-1", _quality),
    Column("Δ pp (95 % interval)", _delta()),
    Column("agree %", _plain("agreement_top1", "{:.1f}", 100)),
    Column("SQNR dB", _sqnr),
    Column("gate", lambda row: word(row, "accuracy_gate"), right=False),
    Column("evidence", lambda row: word(row, "evidence"), right=False),
    Column("prepare s", _plain("prepare_s", "{:.1f}")),
    Column("status", lambda row: word(row, "status"), right=False),
)
MEASURED_TITLES = frozenset(column.title for column in COLUMNS[1:6])
"""Titles of columns that rows have only if they are measured: speed and latency."""
CLASS_TITLES = frozenset({"top-1", "Δ pp (95 % interval)", "agree %", "gate"})
"""Titles of columns that only models with known outputs have."""
CHECK_COLUMN = Column("seconds", _plain("wall_s", "{:.1f}"))
"""Column of rows that are only checked, shown before the status."""


def columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns for the rows; published tables and generated text have additional ones."""
    ours = list(COLUMNS)
    if all(row.get("params.measure.check") == "True" for row in rows):
        ours = [column for column in ours if column.title not in MEASURED_TITLES]
        ours.insert(-1, CHECK_COLUMN)
    tasks = {row.get("params.model.task") for row in rows}
    labelled = any(number(row, "accuracy_top1") is not None for row in rows)  # arrays may have labels
    if tasks and tasks <= {"tensors", "embedding"} and not labelled:
        ours = [column for column in ours if column.title not in CLASS_TITLES]
    if tasks == {"embedding"}:
        ours.insert(-3, Column("same neighbour %", _plain("agreement_top1", "{:.1f}", 100)))
    if any(number(row, name) is not None for row in rows for name in ("f1", "perplexity")):
        ours = [TASK_COLUMNS.get(column.title, column) for column in ours]
    if any(number(row, "tokens_per_s") is not None for row in rows):
        after = [column.title for column in ours].index("p99 ms") + 1
        generated = any(number(row, "first_token_ms") is not None for row in rows)
        ours[after:after] = TOKEN_COLUMNS if generated else TOKEN_COLUMNS[:1]
    if not any(word(row, "table") != DASH for row in rows):
        return ours
    named = {column.title: index for index, column in enumerate(ours)}
    # Rows that are only checked have no speed.
    speed, status = named.get("speedup (95 % interval)", 0), named["status"]
    printed = PUBLISHED_COLUMNS if any(number(row, "published_speedup") is not None for row in rows) else ()
    return [ours[0], *printed, *ours[1 : speed + 1], *TABLE_COLUMNS, *ours[speed + 1 : status], ours[status]]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame from the tracking store."""
    return [{str(name): value for name, value in record.items()} for record in frame.to_dict("records")]


def rich_table(rows: Sequence[Row], title: str) -> Table:
    """Return the table with all columns, for a terminal."""
    return _rich_table(rows, title, columns(rows))


def _rich_table(rows: Sequence[Row], title: str, shown: Sequence[Column]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for column in shown:
        table.add_column(Text(column.title), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.show(row)) for column in shown))  # as Text, because a label may contain markup
    return table


def _narrowed(console: Console, rows: Sequence[Row], title: str) -> tuple[Table, list[str]]:
    """Return the table with the columns that fit the terminal, and the titles of those left out."""
    shown = columns(rows)
    left_out: list[str] = []
    unfolded = console.options.update(max_width=UNFOLDED)
    for dispensable in DISPENSABLE:
        table = _rich_table(rows, title, shown)
        if console.measure(table, options=unfolded).maximum <= console.width:
            break
        left_out += [column.title for column in shown if column.title == dispensable]
        shown = [column for column in shown if column.title != dispensable]
    return _rich_table(rows, title, shown), left_out


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    shown = columns(rows)
    lines = [
        "| " + " | ".join(column.title for column in shown) + " |",
        "|" + "|".join("---:" if column.right else "---" for column in shown) + "|",
    ]
    lines += ["| " + " | ".join(column.show(row).replace("|", "\\|") for column in shown) + " |" for row in rows]
    return "\n".join(lines)


def csv_table(rows: Sequence[Row]) -> str:
    """Return every parameter, metric and tag of every row, unrounded, as CSV."""
    import pandas as pd

    return str(pd.DataFrame(list(rows)).to_csv(index=False))


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


def print_table(console: Console, rows: Sequence[Row], title: str, conclusions: Sequence[str] = ()) -> None:
    """Print the table, the notes on its rows, and the conclusions from all rows."""
    left_out: list[str] = []
    if console.is_terminal:
        table, left_out = _narrowed(console, rows, title)
    else:
        table = rich_table(rows, title)
        needed = console.measure(table, options=console.options.update(max_width=UNFOLDED)).maximum
        console.width = max(console.width, needed)
    console.print(table)
    if left_out:
        message = f"left out for this terminal's width: {', '.join(left_out)} (runner report --format markdown)"
        console.print(message, markup=False, highlight=False, soft_wrap=True)
    for line in [*notes(rows), *conclusions]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_evidence(console: Console, evidence: Mapping[str, Sequence[Finding]]) -> None:
    """Print the requested and the observed settings of every row, by label."""
    for label, found in evidence.items():
        console.print(f"\n{label}", style="bold", markup=False, highlight=False)
        for line in findings.lines(found):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
