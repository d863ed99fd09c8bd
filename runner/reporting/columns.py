"""The columns of a sweep's table: the few that answer most questions, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.results.metrics import DASH, Row, number, word
from runner.results.status import Status


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    title: str
    show: Callable[[Row], str]
    meaning: str
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
    Column("published samples/s", _plain("published_throughput", "{:.2f}"), "As published for this model."),
    Column(
        "published speedup",
        _published_speedup,
        "Over the table's own baseline; `derived` from other published numbers.",
    ),
)
"""Columns of published numbers, shown before the measured ones in a published table."""
TABLE_COLUMNS = (
    Column(
        "row verdict",
        lambda row: word(row, "row_verdict"),
        "Whether the published speedup was reproduced.",
        right=False,
    ),
    Column(
        "peak share",
        _plain("peak_share", "{:.0f} %", 100),
        "Share of the machine's own peak that the network's arithmetic reached: matrix products in the row's "
        "precision, measured just before on all cores.",
    ),
)
"""Additional columns of a published table, shown after the speedup."""
TOKEN_COLUMNS = (
    Column("tokens/s", _plain("tokens_per_s", "{:.1f}"), "Tokens generated, or read without padding, per second."),
    Column("first token ms", _plain("first_token_ms", "{:.1f}"), "Median time to the first generated token."),
    Column("ms per token", _plain("token_ms", "{:.2f}"), "Median time per further token."),
)
"""Columns of rows that generate text, shown after the latency; the first also for texts that differ in length."""
TASK_COLUMNS = {
    "top-1": Column("quality", _quality, "Top-1, F1 or perplexity, by the model's task."),
    "Δ pp (95 % interval)": Column(
        "Δ (95 % interval)",
        _delta_of_task,
        "Its difference from fp32: percentage points, or per cent of the likelihood per token.",
    ),
}
"""Replacements of columns, by title, if not all rows are classifiers."""
SPEEDUP_COLUMN = Column(
    "speedup (95 % interval)",
    _interval("speedup", "speedup_ci_low", "speedup_ci_high", "{:.2f}", "×"),
    "Candidate ÷ baseline, paired within each replicate (a fresh process of each); interval over replicates.",
)
LABEL_COLUMN = Column(
    "configuration", lambda row: word(row, "label"), "What distinguishes it from the others of its sweep.", right=False
)
COLUMNS = (
    LABEL_COLUMN,
    Column(
        "samples/s (95 % interval)",
        _interval("throughput", "throughput_ci_low", "throughput_ci_high", "{:.1f}"),
        "Samples per second of the candidate: geometric mean over replicates, with its interval.",
    ),
    SPEEDUP_COLUMN,
    Column("verdict", lambda row: word(row, "verdict"), "On the speedup.", right=False),
    Column(
        "p50 ms",
        _plain("latency_p50_ms", "{:.1f}"),
        "Median time of a batch, over all rounds, contaminated ones included.",
    ),
    Column("p99 ms", _tail, "99th percentile of it. Below 1,000 batches the slowest one instead: `(max)`."),
    Column("top-1", _quality, "Share of samples whose label has the largest logit."),
    Column("Δ pp (95 % interval)", _delta(), "Its difference from fp32 in percentage points, paired over samples."),
    Column("agree %", _plain("agreement_top1", "{:.1f}", 100), "Share of samples with fp32's answer."),
    Column("SQNR dB", _sqnr, "Signal to noise of the outputs, relative to fp32; `exact` if they are identical."),
    Column(
        "gate",
        lambda row: word(row, "accuracy_gate"),
        "`pass` if at least 99 % of fp32's accuracy is left (MLPerf's rule), else `fail`; `(uncertain)` if the "
        "interval holds the threshold. This can happen with zero changed answers on a small sample, but not with "
        "bit-identical logits.",
        right=False,
    ),
    Column(
        "evidence",
        lambda row: word(row, "evidence"),
        "Settings verified of those observed: `7/7 ✓`; `6/7 ?` if one could not be observed; `✗` if one differs from "
        "the request, which makes the run `invalid`.",
        right=False,
    ),
    Column(
        "prepare s",
        _plain("prepare_s", "{:.1f}"),
        "Seconds to export, quantise and compile, or to fetch the results from the cache.",
    ),
    Column("status", lambda row: word(row, "status"), "How the run ended.", right=False),
)
MEASURED_TITLES = frozenset(column.title for column in COLUMNS[1:6])
"""Titles of columns that rows have only if they are measured: speed and latency."""
CLASS_TITLES = frozenset({"top-1", "Δ pp (95 % interval)", "agree %", "gate"})
"""Titles of columns that only models with known outputs have."""
CHECK_COLUMN = Column("seconds", _plain("wall_s", "{:.1f}"), "Time of the check.")
"""Column of rows that are only checked, shown before the status."""
NEIGHBOUR_COLUMN = Column(
    "same neighbour %",
    _plain("agreement_top1", "{:.1f}", 100),
    "Share of embeddings whose nearest other sample is the same as with fp32.",
)
"""Column of models that embed."""


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
        ours.insert(-3, NEIGHBOUR_COLUMN)
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


def few_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns that most questions need: configuration, speed, speedup, accuracy and verdict.

    A published table has its speedups and its row verdicts; rows that are only checked have seconds instead of speeds.
    """
    ours = [LABEL_COLUMN]
    if all(row.get("params.measure.check") == "True" for row in rows):
        ours.append(CHECK_COLUMN)
    elif any(number(row, "tokens_per_s") is not None for row in rows):
        ours += [TOKEN_COLUMNS[0], SPEEDUP_COLUMN]
    else:
        ours += [SPEED_COLUMN, SPEEDUP_COLUMN]
    if any(number(row, "published_speedup") is not None for row in rows):
        ours.insert(-1, PUBLISHED_COLUMN)
    return [*ours, ACCURACY_COLUMN, VERDICT_COLUMN]


def _accuracy(row: Row) -> str:
    """Return what a row costs in accuracy and what the gate says, or how near its outputs are to those of fp32."""
    delta, agreement = number(row, "accuracy_delta_pp"), number(row, "agreement_top1")
    if delta is not None:
        unit, gate = ("pp" if number(row, "perplexity") is None else "%"), word(row, "accuracy_gate")
        return f"{delta:+.2f} {unit}" + ("" if gate == DASH else f", {gate}")
    if agreement is not None:
        what = "same neighbour" if row.get("params.model.task") == "embedding" else "agree"
        return f"{100 * agreement:.1f} % {what}"
    noise = number(row, "sqnr_db")
    if noise is not None:
        return f"{noise:.1f} dB"
    names = [name.removeprefix("metrics.") for name in row if name.startswith("metrics.equal ")]
    shares = [value for name in names if (value := number(row, name)) is not None]
    if not shares:
        return DASH
    return "exact" if min(shares) == 1 else f"{100 * min(shares):.1f} % equal"


def _verdict(row: Row) -> str:
    """Return the verdict of a published row, else that of the speedup, else how the run ended."""
    found = [word(row, name) for name in ("row_verdict", "verdict", "status")]
    if found[2] not in (str(Status.ok), DASH):
        return found[2]
    return next((one for one in found if one != DASH), DASH)


SPEED_COLUMN = Column("samples/s", _plain("throughput", "{:.1f}"), "Samples per second of the candidate.")
PUBLISHED_COLUMN = Column("published", _published_speedup, "The published speedup.")
ACCURACY_COLUMN = Column(
    "accuracy",
    _accuracy,
    "What it costs against fp32, and what the gate says; without labels the share of samples with fp32's answer, or "
    "the SQNR.",
    right=False,
)
VERDICT_COLUMN = Column(
    "verdict",
    _verdict,
    "On the speedup, or of a published row. A row without a number shows its status.",
    right=False,
)
SHORT_TABLE = (LABEL_COLUMN, SPEED_COLUMN, SPEEDUP_COLUMN, PUBLISHED_COLUMN, ACCURACY_COLUMN, VERDICT_COLUMN)
"""Columns of the short table; the published speedup only in that of a published table."""
