"""Rows of two past sweeps measured again in one: within a block a ratio does not depend on the time of day.

Only settings may differ between the two: one machine, one code and one set of packages measures both now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.planning.again import command_again
from runner.planning.resume import Command
from runner.reporting.comparing.formats import Comparison
from runner.reporting.comparing.pairs import (
    Limits,
    Line,
    Side,
    apply_limits,
    changed_settings,
    changes_besides_settings,
    compare,
    pair_side_by_side,
    pairs_of,
)
from runner.results.result import Result
from runner.results.stored_sweep import StoredRun, StoredSweep

REPEATED = ("aa", "ablate")
"""Settings by which one command line stands for several rows."""


@dataclass(frozen=True)
class CommonRow:
    """A configuration of two sweeps."""

    label: str
    sides: tuple[str, str]
    before: StoredRun
    after: StoredRun


def common_rows(before: StoredSweep, after: StoredSweep) -> list[CommonRow]:
    """Return the rows that both sweeps measured, with different settings.

    Raises:
        LookupError: there is none, or something else differs too; its text says what.
    """
    sides = [Side(sweep.folder.name, sweep.results) for sweep in (before, after)]
    runs = {id(run.result): run for run in (*before.runs, *after.runs)}
    found = []
    for line in compare(sides, Limits()):
        [pair] = line.pairs
        if pair.before is None or pair.after is None or pair.difference is None:
            continue
        if any(one.settings.get(name) for one in (pair.before, pair.after) for name in REPEATED):
            raise LookupError(f"{line.label}: rows of aa=… and ablate=true are compared within their own sweep")
        others = _other_changes(pair.before, pair.after)
        if others:
            words = "; ".join(others)
            raise LookupError(
                f"--paired measures both sides with what is installed here now, but {line.label} differs in more than "
                f"settings: {words}. Compare without --paired"
            )
        if any(changed_settings(pair.before, pair.after)):
            row = CommonRow(line.label, pair.sides, runs[id(pair.before)], runs[id(pair.after)])
            found.append(row)
    if not found:
        raise LookupError("no row was measured in both with different settings: runner aa=10 compares one with itself")
    return found


def _other_changes(before: Result, after: Result) -> list[str]:
    """Return what differs and is no setting, nor follows from one; the host's name is that of a container."""
    settings = {change.split(".")[0] for change in changed_settings(before, after)}
    follow = ("the samples", "the weights") if settings & {"data", "model", "weights"} else ()
    changes = changes_besides_settings(before, after)
    return [change for change in changes if change not in follow and not change.startswith("host: ")]


def command_of(rows: Sequence[CommonRow], output_dir: Path, config_dir: str | None) -> Command:
    """Return the command that measures all rows of both sides, those of a pair next to each other.

    Args:
        rows: of :func:`common_rows`.
        output_dir: for the new sweep.
        config_dir: the folder of configuration groups that the sweeps' commands added.

    Raises:
        LookupError: the words of a row's command line are not stored.
    """
    return command_again([run for row in rows for run in (row.before, row.after)], output_dir, config_dir)


def comparison(rows: Sequence[CommonRow], made: StoredSweep, limits: Limits) -> Comparison:
    """Return the comparison of the rows as they were measured again.

    Args:
        rows: of :func:`common_rows`.
        made: the sweep of :func:`command_of`.
        limits: what a change may cost.

    Raises:
        LookupError: the new sweep was interrupted.
    """
    if len(made.runs) != 2 * len(rows):
        raise LookupError(
            f"{made.folder} holds {len(made.runs)} of {2 * len(rows)} rows: runner resume, then compare them"
        )
    results = made.results
    lines = [
        Line(row.label, one, [pair_side_by_side(row.label, row.sides, one, other)])
        for row, one, other in zip(rows, results[::2], results[1::2], strict=True)
    ]
    apply_limits(limits, pairs_of(lines))
    return Comparison(list(rows[0].sides), lines, limits)
