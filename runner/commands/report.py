"""``runner report [SWEEP …]``: print the table of a sweep again."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from runner import exit_codes
from runner.config.schema import RunConfig, TrackingConfig
from runner.errors import ConfigurationError
from runner.protocol import Finding
from runner.reporting.table import csv_table, markdown_table, print_evidence, print_table, rows_of
from runner.results.locate import LAST, find_sweep
from runner.results.metrics import Row, row, word
from runner.results.stored_sweep import StoredSweep, read_sweep
from runner.tracking.client import TrackingError, tracking_uri
from runner.tracking.reader import read_evidence, read_notes, read_recorded, sweep_of_run


@dataclass
class Recorded:
    """Sweeps as they were read back."""

    names: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    conclusions: list[str] = field(default_factory=list)
    evidence: dict[str, Sequence[Finding]] = field(default_factory=dict)
    sweeps: list[StoredSweep] = field(default_factory=list)
    """As their folders hold them; empty if they were read from an MLflow store."""

    def merge(self, name: str, rows: Sequence[Row], conclusions: Sequence[str]) -> None:
        """Add a sweep; its rows replace the rows of earlier sweeps that have the same label."""
        labels = {word(one, "label") for one in rows}
        if self.names:
            self.rows = [one for one in self.rows if word(one, "label") not in labels]
        self.names.append(name)
        self.rows += rows
        self.conclusions += conclusions


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of one sweep, or of several merged."""
    options = _parse(arguments)
    wanted = [*options.sweeps, *(options.sweep or [])] or [LAST]
    try:
        if options.uri or options.experiment:
            recorded = _from_store(wanted, options)
        else:
            recorded = _from_folders(wanted, options.output_dir)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"report: {mistake}", file=sys.stderr)
        return exit_codes.MISTAKE
    except (LookupError, TrackingError) as error:
        print(f"report: {error.args[0]}", file=sys.stderr)
        return exit_codes.MISTAKE
    if options.html or options.open:
        return _pages(recorded.sweeps, show=options.open)
    title = f"sweep {' and '.join(recorded.names)}"
    if options.figure is not None:
        from runner.reporting.figure import draw

        options.figure.mkdir(parents=True, exist_ok=True)
        draw(recorded.rows, title, options.figure)
    if options.format == "table":
        print_table(Console(), recorded.rows, title, recorded.conclusions, wide=options.wide)
        if options.verbose:
            print_evidence(Console(), recorded.evidence)
    else:
        print(
            markdown_table(recorded.rows, wide=options.wide)
            if options.format == "markdown"
            else csv_table(recorded.rows)
        )
    return exit_codes.OK


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runner report", description=main.__doc__)
    parser.add_argument(
        "sweeps",
        nargs="*",
        metavar="SWEEP",
        help="last (the default), or a sweep's folder, name, prefix of its name or MLflow run id; a row of a later one "
        "replaces the row with the same label",
    )
    parser.add_argument("--sweep", action="append", metavar="SWEEP", help="the same, as an option")
    parser.add_argument("--format", choices=("table", "markdown", "csv"), default="table")
    parser.add_argument("--wide", action="store_true", help="all columns instead of the five that matter most")
    parser.add_argument("--verbose", action="store_true", help="list the evidence of every row below the table")
    parser.add_argument("--html", action="store_true", help="write report.html into the sweep's folder, and name it")
    parser.add_argument("--open", action="store_true", help="the same, and open it in a browser")
    parser.add_argument("--figure", type=Path, metavar="FOLDER", help="draw figure.png and figure.svg there too")
    parser.add_argument("--uri", help="read from this MLflow store instead of the sweep's folder")
    parser.add_argument("--experiment", help="read this experiment of the MLflow store")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if (options.html or options.open) and (options.uri or options.experiment):
        parser.error("--html reads the sweep's folder; an MLflow store holds report.html among the sweep's artifacts")
    return options


def _pages(sweeps: Sequence[StoredSweep], *, show: bool) -> int:
    """Write the page of each sweep, and open it."""
    from runner.reporting.page.sweep_page import write_page

    for sweep in sweeps:
        try:
            path = write_page(sweep)
        except OSError as error:
            print(f"report: {error.filename or sweep.folder} cannot be written: {error.strerror}", file=sys.stderr)
            return exit_codes.FAILED
        print(path)
        if show and not webbrowser.open(path.absolute().as_uri()):
            print(f"report: there is no browser here: open {path.absolute()} in yours", file=sys.stderr)
    return exit_codes.OK


def _from_folders(wanted: Sequence[str], output_dir: Path) -> Recorded:
    """Read sweeps from their folders.

    Raises:
        ConfigurationError: there is no such sweep.
        LookupError: no run of it has ended.
    """
    recorded = Recorded()
    for name in wanted:
        folder = find_sweep(name, output_dir, name_of_run=lambda run_id: sweep_of_run(run_id, output_dir))
        sweep = read_sweep(folder)
        for problem in sweep.problems:
            print(f"report: {problem}", file=sys.stderr)
        results = sweep.results
        if not results:
            raise LookupError(f"{folder}: no run of this sweep has ended")
        recorded.sweeps.append(sweep)
        recorded.merge(folder.name, [row(result) for result in results], sweep.lines)
        recorded.evidence |= {result.label: result.evidence for result in results}
    return recorded


def _from_store(wanted: Sequence[str], options: argparse.Namespace) -> Recorded:
    """Read sweeps from an MLflow store.

    Raises:
        LookupError: there is no such store, experiment or sweep.
        TrackingError: the store does not answer, or refuses.
    """
    uri = tracking_uri(TrackingConfig(uri=options.uri), options.output_dir)
    recorded = Recorded()
    for name in wanted:
        known = None if name == LAST else sweep_of_run(name, options.output_dir, options.uri) or name
        sweep, frame = read_recorded(uri, options.experiment or TrackingConfig.experiment, known)
        rows = rows_of(frame)
        recorded.merge(sweep, rows, read_notes(uri, rows))
    if options.verbose:
        recorded.evidence |= read_evidence(uri, recorded.rows)
    return recorded
