"""Which row is shipped, and what speaks against it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from runner.analysis.accuracy import Gate
from runner.analysis.statistics import Verdict
from runner.errors import ConfigurationError, Mistake
from runner.protocol import UNKNOWN
from runner.reporting.answer import UNTRAINED, fastest_first
from runner.results.locate import find_sweep
from runner.results.result import Result
from runner.results.status import Status
from runner.results.stored_sweep import StoredRun, StoredSweep, read_sweep

FIELD = "SWEEP[/ROW]"
FLAGS = {
    "untrained": "ship weights that were never trained",
    "invalid": "ship a row whose setting did not take effect",
    "noisy": "ship a row that was too noisy for a verdict",
    "failed-gate": "ship a row that fails the accuracy gate",
    "uncertain-gate": "ship a row of which too few samples say whether it passes the gate",
    "unknown-evidence": "ship a row of which a setting could not be proven",
    "other-machine": "ship a row that another kind of machine measured",
    "uncompared": "ship a model whose answers cannot be compared with those that were measured",
}
"""By what `runner ship --allow-…` allows, its meaning."""


@dataclass(frozen=True)
class Chosen:
    """A row of a sweep."""

    sweep: StoredSweep
    run: StoredRun


def find_row(wanted: str, output_dir: Path, name_of_run: Callable[[str], str | None] | None = None) -> Chosen:
    """Return a row: that of the answer, if only a sweep is named.

    Args:
        wanted: a sweep as :func:`runner.results.locate.find_sweep` takes it; behind a slash the row's number, its
            folder, a unique beginning of it, or its label.
        output_dir: the folder that contains ``sweeps``.
        name_of_run: returns the sweep's name for an MLflow run id.

    Raises:
        ConfigurationError: there is no such sweep, or no such row.
        LookupError: the sweep has no row that can be the answer.
    """
    try:
        sweep = read_sweep(find_sweep(wanted, output_dir, field=FIELD, name_of_run=name_of_run))
    except ConfigurationError:
        name, slash, row = wanted.rstrip("/").rpartition("/")
        if not slash:
            raise
        sweep = read_sweep(find_sweep(name, output_dir, field=FIELD, name_of_run=name_of_run))
        return Chosen(sweep, _row(sweep, row))
    ranked = fastest_first(sweep.results)
    if not ranked:
        rows = ", ".join(run.folder.name for run in sweep.runs) or "none"
        raise LookupError(
            f"{sweep.folder}: no row can be the answer: measured, within the gate, on one kind of machine. "
            f"Name one of its rows: {rows}"
        )
    return Chosen(sweep, next(run for run in sweep.runs if run.result is ranked[0]))


def _row(sweep: StoredSweep, wanted: str) -> StoredRun:
    """Return a row by its number, folder or label.

    Raises:
        ConfigurationError: none matches, or several do.
    """
    exact = [run for run in sweep.runs if wanted in (run.folder.name, run.result.label)]
    number = [run for run in sweep.runs if wanted.isdecimal() and run.folder.name.split("_")[0] == f"{int(wanted):03d}"]
    found = exact or number or [run for run in sweep.runs if run.folder.name.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    allowed = "the number, the folder or the label of one row"
    rows = ", ".join(run.folder.name for run in found or sweep.runs)
    raise ConfigurationError([Mistake(FIELD, wanted, allowed, f"The rows {'that match' if found else 'are'}: {rows}")])


def check(result: Result, allowed: Collection[str], machine_class: str) -> list[str]:
    """Check that a row may be shipped.

    Args:
        result: of the row.
        allowed: keys of :data:`FLAGS`.
        machine_class: of this machine.

    Returns:
        What is shipped in spite of, in words; empty for a row without a flaw.

    Raises:
        LookupError: the row has no number, or something speaks against it that is not allowed.
    """
    if result.measurement is None or result.status not in (Status.ok, Status.invalid):
        raise LookupError(f"{result.label} is {result.status}, there is nothing to ship: {result.reason}")
    flaws = dict(_flaws(result))
    if result.machine_class != machine_class:
        flaws["other-machine"] = f"it was measured on another kind of machine, {result.machine_class or result.machine}"
    refused = [flag for flag in flaws if flag not in allowed]
    if refused:
        words = "; ".join(flaws[flag] for flag in refused)
        flags = " ".join(f"--allow-{flag}" for flag in refused)
        raise LookupError(f"{result.label} is not shipped: {words}. To ship it in spite of that, add {flags}")
    return list(flaws.values())


def _flaws(result: Result) -> list[tuple[str, str]]:
    """Return what speaks against a row: the flag that allows it, and the words."""
    assert result.measurement is not None
    found = []
    weights = result.settings.get("weights.name")
    if weights in UNTRAINED:
        found.append(("untrained", f"its weights are weights={weights}, never trained"))
    if result.status is Status.invalid:
        found.append(("invalid", f"it is invalid: {result.reason}"))
    if result.measurement.verdict is Verdict.too_noisy:
        found.append(("noisy", "its measurement was too noisy for a verdict"))
    if result.accuracy_failure:
        found.append(("uncertain-gate", f"its accuracy is not known: {result.accuracy_failure}"))
    accuracy = result.accuracy
    if accuracy is not None and accuracy.gate is not None:
        if not accuracy.gate_certain:
            found.append(("uncertain-gate", f"{accuracy.samples} samples are too few to be sure of the accuracy gate"))
        elif accuracy.gate is Gate.failed:
            found.append(("failed-gate", "it fails the accuracy gate"))
    unknown = [finding.knob for finding in result.evidence if finding.state == UNKNOWN]
    if unknown or result.evidence_failure:
        what = ", ".join(unknown) or result.evidence_failure
        found.append(("unknown-evidence", f"it is not proven: {what}"))
    return found
