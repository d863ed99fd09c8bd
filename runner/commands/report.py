"""``runner report``: print the table of a sweep again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from runner.config.schema import TrackingConfig
from runner.reporting.table import csv_table, markdown_table, print_evidence, print_table, rows_of
from runner.results.rows import Row, word

if TYPE_CHECKING:
    pass


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

    from runner.tracking.client import TrackingError, tracking_uri
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
                merged[word(row, "label") if several else str(place)] = row
    except (LookupError, TrackingError) as error:
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
            except TrackingError as error:
                print(f"report: {error.args[0]}", file=sys.stderr)
                return 2
    else:
        print(markdown_table(rows) if options.format == "markdown" else csv_table(rows))
    return 0
