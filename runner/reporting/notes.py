"""Lines below the table: why a row has no number, what limits it, and how the time was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.analysis.statistics import Verdict
from runner.results.metrics import DASH, Row, number, word
from runner.results.result import Result


def notes(rows: Sequence[Row]) -> list[str]:
    """Return the lines for rows without a number, with remarks, or with an uncertain number, with a remedy."""
    lines = []
    for row in rows:
        label, reason = word(row, "label"), word(row, "reason")
        if reason != DASH:
            lines.append(f"{label}: {word(row, 'status')}: {reason}")
        if word(row, "row_reason") != DASH:
            lines.append(f"{label}: {word(row, 'row_verdict')}: {word(row, 'row_reason')}")
        if word(row, "notes") != DASH:
            lines.append(f"{label}: {word(row, 'notes')}")
        if word(row, "verdict") == Verdict.too_noisy:
            contaminated = number(row, "rounds_contaminated") or 0
            lines.append(
                f"{label}: too noisy: {contaminated:.0f} rounds were contaminated ({word(row, 'disturbances')}): "
                "stop other programs, or measure at another time"
            )
        if number(row, "steady") == 0:
            lines.append(f"{label}: its speed or the baseline's was not steady after warm-up: raise measure.warmup_s")
        if number(row, "goal_reached") == 0:
            lines.append(f"{label}: the interval is wider than the goal: stop other programs, or take measure=publish")
        samples = number(row, "accuracy_gate_samples")
        if "uncertain" in word(row, "accuracy_gate"):
            needed = "no number of" if samples is None else f"about {samples:.0f}"
            have = number(row, "accuracy_samples") or 0
            lines.append(f"{label}: the gate is uncertain on {have:.0f} samples: {needed} samples would decide it")
    return lines


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
    factor = f"{wall_s / timed:.2f} × the timed seconds; " if timed else ""
    return f"{wall_s:.1f} s in all, {timed:.1f} s timed ({factor}the rest: {rest})"
