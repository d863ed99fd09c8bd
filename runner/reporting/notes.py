"""The lines below the table: why a row has no number, what would settle it, and where the time went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from runner.analysis.statistics import Verdict
from runner.results.metrics import DASH, Row, number, word
from runner.results.result import Result


def notes(rows: Sequence[Row]) -> list[str]:
    """Return a line for each row that needs one: why there is no number, or what would settle it."""
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
            disturbed = number(row, "rounds_contaminated") or 0
            lines.append(
                f"{label}: too noisy: {disturbed:.0f} rounds were disturbed ({word(row, 'disturbances')}): "
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
        if "uncertain" in word(row, "accuracy_gate"):
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


def time_line(results: Sequence[Result], wall_s: float, outside: Mapping[str, float] | None = None) -> str:
    """Return where the time of a sweep went; `outside` are seconds of phases outside its runs."""
    spent: dict[str, float] = dict(outside or {})
    for result in results:
        for phase, seconds in result.phases.items():
            spent[phase] = spent.get(phase, 0.0) + seconds
    timed = spent.pop("timed", 0.0)
    spent["host"] = wall_s - timed - sum(spent.values())
    rest = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in sorted(spent.items(), key=lambda item: -item[1]))
    factor = f"{wall_s / timed:.2f} × the timed seconds; " if timed else ""
    return f"{wall_s:.1f} s in all, {timed:.1f} s timed ({factor}the rest: {rest})"
