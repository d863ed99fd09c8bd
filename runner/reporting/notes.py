"""Lines below the table: why a row has no number, what limits it, and how the time was spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runner.analysis.statistics import Verdict
from runner.results.metrics import DASH, Row, number, word
from runner.results.result import Result

SEPARATOR = "; "
"""Between the remarks of a row, as :func:`runner.results.metrics.tags` joins them."""
MIN_FP32_SQNR_DB = 60.0
"""Lowest ratio at which two runtimes in fp32 agree: 24 bits give about 140 dB, and a deep network loses up to half."""


def notes(rows: Sequence[Row]) -> list[str]:
    """Return the lines for rows without a number, with remarks, or with an uncertain number, with a remedy.

    A remark that several rows share is one line.
    """
    remarks: dict[str, list[str]] = {}
    for row in rows:
        for remark in filter(None, word(row, "notes").removeprefix(DASH).split(SEPARATOR)):
            remarks.setdefault(remark, []).append(word(row, "label"))
    lines = [f"{_names(labels, len(rows))}: {remark}" for remark, labels in remarks.items()]
    return [*lines, *(f"{word(row, 'label')}: {line}" for row in rows for line in _of_row(row))]


def _names(labels: Sequence[str], rows: int) -> str:
    return "all rows" if 1 < rows == len(labels) else ", ".join(labels)


def _of_row(row: Row) -> Iterator[str]:
    prefixes = {
        "reason": f"{word(row, 'status')}: ",
        "row_reason": f"{word(row, 'row_verdict')}: ",
        "accuracy_failure": "no accuracy: ",
        "evidence_failure": "no evidence: ",
        "own_costs": "the numbers include that ",
    }
    yield from (prefix + word(row, what) for what, prefix in prefixes.items() if word(row, what) != DASH)
    if word(row, "verdict") == Verdict.too_noisy:
        contaminated = number(row, "rounds_contaminated") or 0
        yield (
            f"too noisy: {contaminated:.0f} rounds were contaminated ({word(row, 'disturbances')}): "
            "stop other programs, or measure at another time"
        )
    sqnr = number(row, "sqnr_db")
    if row.get("params.precision") == "fp32" and sqnr is not None and sqnr < MIN_FP32_SQNR_DB:
        yield (
            f"in fp32 its outputs differ from the reference by more than rounding (SQNR {sqnr:.0f} dB): "
            "the export computes something else, or the network amplifies rounding errors"
        )
    if number(row, "steady") == 0:
        yield "its speed or the baseline's was not steady after warm-up: raise measure.warmup_s"
    if number(row, "speedup") is not None and number(row, "replicates") is None:
        yield "measured by an earlier version: its interval is one of rounds within one process pair"
    if "uncertain" in word(row, "accuracy_gate"):
        samples, have = number(row, "accuracy_gate_samples"), number(row, "accuracy_samples") or 0
        needed = "no number of" if samples is None else f"about {samples:.0f}"
        yield f"the gate is uncertain on {have:.0f} samples: {needed} samples would decide it"


def time_line(results: Sequence[Result], wall_s: float, outside: Mapping[str, float] | None = None) -> str:
    """Return how the time of a sweep was spent.

    Args:
        results: of the runs of this command.
        wall_s: wall-clock time of the command, in seconds.
        outside: seconds by phase outside the runs.
    """
    spent: dict[str, float] = dict(outside or {})
    for result in results:
        for phase, seconds in result.phases.items():
            spent[phase] = spent.get(phase, 0.0) + seconds
    timed = spent.pop("timed", 0.0)
    spent["host"] = wall_s - timed - sum(spent.values())
    rest = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in sorted(spent.items(), key=lambda item: -item[1]))
    if not timed:
        return f"{wall_s:.1f} s in all ({rest})"
    factor = f"{wall_s / timed:.2f} × the timed seconds"
    return f"{wall_s:.1f} s in all, {timed:.1f} s timed ({factor}; the rest: {rest})"
