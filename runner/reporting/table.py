"""The closing table of a sweep, and the same table of any past one: ``python -m runner.report``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from runner.analysis import findings
from runner.analysis.statistics import Verdict
from runner.config.schema import TrackingConfig
from runner.protocol import Finding
from runner.results.result import Result
from runner.results.rows import number

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
DASH = "–"
DISPENSABLE = (
    "prepare s", "p99 ms", "published samples/s", "peak share", "Δ pp (95 % interval)", "Δ (95 % interval)", "agree %",
    "first token ms", "ms per token", "SQNR dB", "evidence", "p50 ms", "gate", "top-1", "quality",
)  # fmt: skip
"""Columns that a narrow terminal does without, the first to go first."""
UNFOLDED = 10_000
"""Columns at most where the output is not a terminal: a table is never folded into a file."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    title: str
    show: Callable[[Row], str]
    right: bool = True


def _word(row: Row, name: str) -> str:
    value = row.get(f"tags.{name}")
    return value if isinstance(value, str) and value else DASH


def _plain(name: str, pattern: str, scale: float = 1.0) -> Callable[[Row], str]:
    """Return a cell that shows one metric."""

    def show(row: Row) -> str:
        value = number(row, name)
        return DASH if value is None else pattern.format(value * scale)

    return show


def _interval(name: str, low: str, high: str, pattern: str, unit: str = "") -> Callable[[Row], str]:
    """Return a cell that shows a metric with its interval."""

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
    """Return what a task is judged by: top-1, F1, or perplexity."""
    for name, pattern in (("accuracy_top1", "{:.3f}"), ("f1", "F1 {:.3f}"), ("perplexity", "perplexity {:.2f}")):
        value = number(row, name)
        if value is not None:
            return pattern.format(value)
    return DASH


def _delta(unit: str = "") -> Callable[[Row], str]:
    """Return a cell that shows what accuracy was lost."""
    return _interval("accuracy_delta_pp", "accuracy_delta_ci_low_pp", "accuracy_delta_ci_high_pp", "{:+.2f}", unit)


def _delta_of_task(row: Row) -> str:
    """Return what was lost in percentage points, or in per cent of a token's likelihood."""
    return _delta(" pp" if number(row, "perplexity") is None else " %")(row)


def _published_speedup(row: Row) -> str:
    value = number(row, "published_speedup")
    if value is None:
        return DASH
    high = number(row, "published_speedup_high")
    if high is not None:
        return f"{value:g}× to {high:g}×"
    return f"{value:.2f}×" + (" (derived)" if _word(row, "published") == "derived" else "")


PUBLISHED_COLUMNS = (
    Column("published samples/s", _plain("published_throughput", "{:.2f}")),
    Column("published speedup", _published_speedup),
)
"""What a table of published rows shows beside the measured speedup."""
TABLE_COLUMNS = (
    Column("row verdict", lambda row: _word(row, "row_verdict"), right=False),
    Column("peak share", _plain("peak_share", "{:.0f} %", 100)),
)
"""What it shows before the status."""
TOKEN_COLUMNS = (
    Column("tokens/s", _plain("tokens_per_s", "{:.1f}")),
    Column("first token ms", _plain("first_token_ms", "{:.1f}")),
    Column("ms per token", _plain("token_ms", "{:.2f}")),
)
"""What rows that generate text show behind their latency."""
TASK_COLUMNS = {
    "top-1": Column("quality", _quality),
    "Δ pp (95 % interval)": Column("Δ (95 % interval)", _delta_of_task),
}
"""What stands in the place of a column where not all rows are classifiers."""
COLUMNS = (
    Column("configuration", lambda row: _word(row, "label"), right=False),
    Column("samples/s (95 % interval)", _interval("throughput", "throughput_ci_low", "throughput_ci_high", "{:.1f}")),
    Column("speedup (95 % interval)", _interval("speedup", "speedup_ci_low", "speedup_ci_high", "{:.2f}", "×")),
    Column("verdict", lambda row: _word(row, "verdict"), right=False),
    Column("p50 ms", _plain("latency_p50_ms", "{:.1f}")),
    Column("p99 ms", _plain("latency_p99_ms", "{:.1f}")),
    Column("top-1", _quality),
    Column("Δ pp (95 % interval)", _delta()),
    Column("agree %", _plain("agreement_top1", "{:.1f}", 100)),
    Column("SQNR dB", _sqnr),
    Column("gate", lambda row: _word(row, "accuracy_gate"), right=False),
    Column("evidence", lambda row: _word(row, "evidence"), right=False),
    Column("prepare s", _plain("prepare_s", "{:.1f}")),
    Column("status", lambda row: _word(row, "status"), right=False),
)


def columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns that the rows need: those of a published table have more, and those that generate text."""
    ours = list(COLUMNS)
    if any(number(row, name) is not None for row in rows for name in ("f1", "perplexity")):
        ours = [TASK_COLUMNS.get(column.title, column) for column in ours]
    if any(number(row, "tokens_per_s") is not None for row in rows):
        behind = [column.title for column in ours].index("p99 ms") + 1
        ours[behind:behind] = TOKEN_COLUMNS
    if not any(_word(row, "table") != DASH for row in rows):
        return ours
    named = {column.title: index for index, column in enumerate(ours)}
    speed, status = named["speedup (95 % interval)"], named["status"]
    printed = PUBLISHED_COLUMNS if any(number(row, "published_speedup") is not None for row in rows) else ()
    return [ours[0], *printed, *ours[1 : speed + 1], *TABLE_COLUMNS, *ours[speed + 1 : status], ours[status]]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame that the tracking store gave."""
    return [{str(name): value for name, value in record.items()} for record in frame.to_dict("records")]


def rich_table(rows: Sequence[Row], title: str) -> Table:
    """Return the table for a terminal."""
    return _rich_table(rows, title, columns(rows))


def _rich_table(rows: Sequence[Row], title: str, shown: Sequence[Column]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in shown:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(column.show(row) for column in shown))
    return table


def _narrowed(console: Console, rows: Sequence[Row], title: str) -> tuple[Table, list[str]]:
    """Return the table with as many columns as a terminal is wide, and the titles of those that were left out."""
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
    """Return the table in Markdown."""
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


def notes(rows: Sequence[Row]) -> list[str]:
    """Return a line for each row that needs one: why there is no number, or what would settle it."""
    lines = []
    for row in rows:
        label, reason = _word(row, "label"), _word(row, "reason")
        if reason != DASH:
            lines.append(f"{label}: {_word(row, 'status')}: {reason}")
        if _word(row, "row_reason") != DASH:
            lines.append(f"{label}: {_word(row, 'row_verdict')}: {_word(row, 'row_reason')}")
        if _word(row, "notes") != DASH:
            lines.append(f"{label}: {_word(row, 'notes')}")
        if _word(row, "verdict") == Verdict.too_noisy:
            disturbed = number(row, "rounds_disturbed") or 0
            lines.append(
                f"{label}: too noisy: {disturbed:.0f} rounds were disturbed ({_word(row, 'disturbances')}): "
                "stop what else runs here, or measure at another time"
            )
        more = number(row, "rounds_more")
        if more is not None:
            lines.append(
                f"{label}: inconclusive: about {more:.0f} more rounds would settle it: {_more_rounds(row, more)}"
            )
        if number(row, "steady") == 0:
            lines.append(
                f"{label}: its speed or the baseline's was not steady after warming up: raise measure.warmup_s"
            )
        if number(row, "goal_reached") == 0:
            lines.append(
                f"{label}: the interval is wider than the goal: raise measure.rounds_max or quieten the machine"
            )
        images = number(row, "accuracy_gate_samples")
        if "uncertain" in _word(row, "accuracy_gate"):
            needed = "no number of" if images is None else f"about {images:.0f}"
            have = number(row, "accuracy_samples") or 0
            lines.append(f"{label}: the gate is uncertain on {have:.0f} samples: {needed} samples would decide it")
    return lines


def _more_rounds(row: Row, more: float) -> str:
    """Return the overrides that measure so many rounds more."""
    rounds, processes = number(row, "rounds") or 0, number(row, "processes") or 1
    if processes > 1:
        wanted = math.ceil(processes * (rounds + more) / rounds)
        return f"measure.processes_min={wanted} measure.processes_max={wanted}"
    return f"measure.rounds_min={rounds + more:.0f} measure.rounds_max={rounds + more:.0f}"


def time_line(results: Sequence[Result], wall_s: float, besides: Mapping[str, float] | None = None) -> str:
    """Return where the time of a sweep went; `besides` are seconds of phases outside its runs."""
    spent: dict[str, float] = dict(besides or {})
    for result in results:
        for phase, seconds in result.phases.items():
            spent[phase] = spent.get(phase, 0.0) + seconds
    timed = spent.pop("timed", 0.0)
    spent["host"] = wall_s - timed - sum(spent.values())
    rest = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in sorted(spent.items(), key=lambda item: -item[1]))
    factor = f"{wall_s / timed:.2f} × the timed seconds; " if timed else ""
    return f"{wall_s:.1f} s in all, {timed:.1f} s timed ({factor}the rest: {rest})"


def print_table(console: Console, rows: Sequence[Row], title: str, conclusions: Sequence[str] = ()) -> None:
    """Print the table, the notes on its rows, and what was concluded from all of them."""
    left_out: list[str] = []
    if console.is_terminal:
        table, left_out = _narrowed(console, rows, title)
    else:
        table = rich_table(rows, title)
        needed = console.measure(table, options=console.options.update(max_width=UNFOLDED)).maximum
        console.width = max(console.width, needed)
    console.print(table)
    if left_out:
        told = f"left out for this terminal's width: {', '.join(left_out)} (python -m runner.report --format markdown)"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    for line in [*notes(rows), *conclusions]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_evidence(console: Console, evidence: Mapping[str, Sequence[Finding]]) -> None:
    """Print what was asked and observed in every row, by its label."""
    for label, found in evidence.items():
        console.print(f"\n{label}", style="bold", markup=False, highlight=False)
        for line in findings.lines(found):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a recorded sweep."""
    parser = argparse.ArgumentParser(prog="python -m runner.report", description=main.__doc__)
    parser.add_argument(
        "--sweep",
        action="append",
        help="name of the sweep, as the MLflow UI shows it; the latest by default. Given again, a row of the later "
        "sweep takes the place of the row of that name",
    )
    parser.add_argument("--format", choices=("table", "markdown", "csv"), default="table")
    parser.add_argument("--verbose", action="store_true", help="list the evidence of every row below the table")
    parser.add_argument("--figure", type=Path, metavar="FOLDER", help="draw figure.png and figure.svg there too")
    parser.add_argument("--uri", help="tracking URI; MLFLOW_TRACKING_URI or the store in --output-dir by default")
    parser.add_argument("--experiment", default="runner", help="name of the MLflow experiment (default: %(default)s)")
    parser.add_argument("--output-dir", default="outputs", type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    from runner.tracking.client import StoreError, tracking_uri
    from runner.tracking.reader import read_evidence, read_notes, read_sweep

    uri = tracking_uri(TrackingConfig(uri=options.uri), options.output_dir)
    sweeps: list[str] = []
    conclusions: list[str] = []
    merged: dict[str, Row] = {}
    several = len(options.sweep or []) > 1
    try:
        for wanted in options.sweep or [None]:
            sweep, frame = read_sweep(uri, options.experiment, wanted)
            sweeps.append(sweep)
            conclusions += read_notes(uri, rows_of(frame))
            for place, row in enumerate(rows_of(frame)):
                merged[_word(row, "label") if several else str(place)] = row
    except (LookupError, StoreError) as error:
        print(f"report: {error.args[0]}", file=sys.stderr)
        return 2
    rows = list(merged.values())
    title = f"sweep {' and '.join(sweeps)}"
    if options.figure is not None:
        from runner.reporting.figure import draw

        options.figure.mkdir(parents=True, exist_ok=True)
        draw(rows, title, options.figure)
    if options.format == "table":
        print_table(Console(), rows, title, conclusions)
        if options.verbose:
            try:
                print_evidence(Console(), read_evidence(uri, rows))
            except StoreError as error:
                print(f"report: {error.args[0]}", file=sys.stderr)
                return 2
    else:
        print(markdown_table(rows) if options.format == "markdown" else csv_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
