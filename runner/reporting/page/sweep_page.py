"""The page of one sweep: report.html in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.paths import default_cache
from runner.reporting.answer import answer, fastest_first
from runner.reporting.columns import Column, columns, few_columns
from runner.reporting.notes import notes
from runner.reporting.page import charts
from runner.reporting.page.cells import Cell, cell
from runner.reporting.page.details import MAX_ROWS, details
from runner.reporting.page.document import render
from runner.results.files import write_text
from runner.results.metrics import Row, published, row
from runner.results.result import Result
from runner.results.store import MACHINE_FILE, PAGE_FILE
from runner.results.stored_sweep import StoredSweep

ADDED = ("p50 ms", "p99 ms", "agree %", "SQNR dB", "evidence")
"""Columns that the page's table has beside the few of the terminal's."""
ANSWER = "answer: "


@dataclass(frozen=True)
class Number:
    """A number that is read from across the room."""

    value: str
    words: str


def write_page(sweep: StoredSweep, *, logs: bool = False) -> Path:
    """Write the page of a sweep into its folder, and return its path.

    Args:
        sweep: with its folder.
        logs: whether to show the ends of the logs: only the process that measured knows all secrets to hide in them.

    Raises:
        OSError: the folder is not writable, or the disk is full.
        ImportError: a package that pages need is not installed.
    """
    path = sweep.folder / PAGE_FILE
    write_text(path, page(sweep, logs=logs))
    path.chmod(0o644)  # it is meant to be passed on
    return path


def page(sweep: StoredSweep, *, logs: bool = False) -> str:
    """Return the page of a sweep as HTML; the arguments are those of :func:`write_page`.

    Raises:
        ImportError: a package that pages need is not installed.
    """
    ranked = fastest_first(sweep.results)
    runs = sweep.runs[:MAX_ROWS]
    results = [run.result for run in runs]
    chosen = ranked[0] if ranked else None
    quantity = charts.accuracy_of(results)
    specs = {
        "accuracy": charts.speed_and_accuracy(results, quantity, chosen),
        "speedups": charts.speedups(results),
    }
    shown = {name: spec for name, spec in specs.items() if spec is not None}
    rows = [row(result) for result in results]
    own, left_out = details(runs, sweep.config_dir, logs=logs)
    said = answer(sweep.results)
    content: dict[str, Any] = {
        "title": f"Sweep {sweep.folder.name}",
        "subtitle": " · ".join(_subtitle(sweep)),
        "answer": [line.removeprefix(ANSWER) for line in said] or [_no_answer(sweep.results)],
        "numbers": _numbers(chosen),
        "shown": list(shown),
        "gate": _gate_words(quantity),
        "printed": any(published(result, "speedup") is not None for result in results),
        "columns": _columns(rows),
        "rows": _cells(rows),
        "notes": [*notes(rows), *(line for line in sweep.lines if not line.startswith(ANSWER))],
        "footer": [*left_out, *sweep.problems, *_missing(sweep), "Made by runner from result.json of every row."],
    }
    data = {"charts": shown | {"rounds": charts.rounds(), "times": charts.batch_times()}, "details": own}
    return render("sweep.html", content, data, default_cache(sweep.folder.parent.parent))


def _gate_words(quantity: charts.Quantity | None) -> str:
    """Return what the chart of accuracy says about the gate."""
    if quantity is not None and quantity.gate is not None:
        words = "A row may be taken if it lies in the shaded region, which is what the gate accepts"
    elif quantity is not None and quantity.is_gated:
        words = "Each row has a threshold of its own, so nothing is shaded and the table has the gate"
    else:
        words = "There is no gate without labels, so nothing is shaded"
    return f"{words}; the ring marks the answer."


def _subtitle(sweep: StoredSweep) -> list[str]:
    """Return the machine, the time and the size of a sweep."""
    results = sweep.results
    try:
        machine = str(json.loads((sweep.folder / MACHINE_FILE).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):  # an earlier version, or a damaged file: the rows name it too
        machine = results[0].machine if results else "unknown machine"
    from datetime import UTC, datetime

    ended = max((result.ended_at for result in results), default=0.0)
    when = [datetime.fromtimestamp(ended, UTC).strftime("%Y-%m-%d %H:%M UTC")] if ended else []
    profiles = sorted({str(result.settings.get("measure.name", "")) for result in results} - {""})
    count = len(results)
    return [machine, *when, *(f"measure={name}" for name in profiles), f"{count} row{'s' if count != 1 else ''}"]


def _no_answer(results: Sequence[Result]) -> str:
    if not results:
        return "No row of this sweep has ended."
    if any(result.shown for result in results):
        return "This sweep compares a configuration with itself or with parts of itself: it has no best row."
    checked = sum(result.is_harmless and str(result.status) == "ok" for result in results)
    if checked:
        return f"{checked} of {len(results)} rows run; nothing was timed."
    return f"None of {len(results)} rows was measured: the remarks say why."


def _numbers(chosen: Result | None) -> list[Number]:
    """Return the answer's speedup and what it costs."""
    if chosen is None or chosen.shown is None:
        return []
    speedup, accuracy = chosen.shown.speedup, chosen.accuracy
    words = f"as fast as the baseline ({speedup.low:.2f} … {speedup.high:.2f}): {chosen.label}"
    found = [Number(f"{speedup.value:.2f}×", words)]
    if accuracy is None:
        return found
    if accuracy.delta_pp is not None:
        unit = "%" if "perplexity" in accuracy.scores else "pp"
        words = "of accuracy against fp32"
        if accuracy.delta_low_pp is not None and accuracy.delta_high_pp is not None:
            words += f" ({accuracy.delta_low_pp:+.2f} … {accuracy.delta_high_pp:+.2f}), {accuracy.samples} samples"
        return [*found, Number(f"{accuracy.delta_pp:+.2f} {unit}", words)]
    if accuracy.agreement_top1 is not None:
        return [*found, Number(f"{100 * accuracy.agreement_top1:.1f} %", "of the samples get the answer of fp32")]
    if accuracy.sqnr_db is not None:
        return [*found, Number(f"{accuracy.sqnr_db:.0f} dB", "signal to noise of the outputs against fp32")]
    if accuracy.is_exact:
        return [*found, Number("exact", "the outputs are those of fp32, bit for bit")]
    share = accuracy.lowest_equal_share or 0.0
    return [*found, Number(f"{100 * share:.1f} %", "of the values of an output are those of fp32")]


def _columns(rows: Sequence[Row]) -> list[Column]:
    few = few_columns(rows)
    named = {column.title for column in few}
    return [*few, *(column for column in columns(rows) if column.title in ADDED and column.title not in named)]


def _cells(rows: Sequence[Row]) -> list[list[Cell]]:
    shown = _columns(rows)
    return [[cell(column.show(one), right=column.right) for column in shown] for one in rows]


def _missing(sweep: StoredSweep) -> list[str]:
    left, hidden = sweep.planned - len(sweep.runs), len(sweep.runs) - MAX_ROWS
    return [
        *([f"{left} of {sweep.planned} planned rows have no result yet."] if left else []),
        *([f"{hidden} rows are not on this page: runner report --wide prints all."] if hidden > 0 else []),
    ]
