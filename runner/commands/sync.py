"""``runner sync [SWEEP …]``: record sweeps from their folders in an MLflow store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runner import exit_codes
from runner.config.redaction import hide_in_text
from runner.config.schema import RunConfig, TrackingConfig
from runner.errors import ConfigurationError, NothingLaunched
from runner.machine.lock import measurement_lock
from runner.results.locate import find_sweep, sweep_folders
from runner.tracking.client import tracking_uri
from runner.tracking.reader import sweep_of_run
from runner.tracking.sync import sync


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what a store does not hold yet. A second time, nothing is left to do."""
    parser = argparse.ArgumentParser(prog="runner sync", description=main.__doc__)
    parser.add_argument(
        "sweeps",
        nargs="*",
        metavar="SWEEP",
        help="last, or a sweep's folder, name, prefix of its name or MLflow run id; all by default",
    )
    parser.add_argument("--sweep", action="append", metavar="SWEEP", help="the same, as an option")
    parser.add_argument("--wait", action="store_true", help="wait for a measurement to end instead of refusing")
    parser.add_argument("--uri", help="tracking URI; MLFLOW_TRACKING_URI or the store in --output-dir by default")
    parser.add_argument("--experiment", default="runner", help="name of the MLflow experiment (default: %(default)s)")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    wanted = [*options.sweeps, *(options.sweep or [])]
    try:
        folders = [_find(name, options) for name in wanted] or sweep_folders(options.output_dir)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"sync: {mistake}", file=sys.stderr)
        return exit_codes.MISTAKE
    if not folders:
        print(f"sync: {options.output_dir / 'sweeps'} holds no sweep", file=sys.stderr)
        return exit_codes.MISTAKE
    try:
        with measurement_lock(wait=options.wait, report=print, remedy="add --wait"):  # else it would disturb it
            recorded = [_record(folder, options) for folder in folders]
            return exit_codes.OK if all(recorded) else exit_codes.MISTAKE
    except NothingLaunched as error:
        print(f"sync: {error}", file=sys.stderr)
        return exit_codes.MISTAKE


def _find(name: str, options: argparse.Namespace) -> Path:
    def name_of_run(run_id: str) -> str | None:
        return sweep_of_run(run_id, options.output_dir, options.uri)

    return find_sweep(name, options.output_dir, name_of_run=name_of_run)


def _record(folder: Path, options: argparse.Namespace) -> bool:
    """Record a sweep, print what was recorded or why not, and return whether it succeeded."""
    uri = tracking_uri(TrackingConfig(uri=options.uri), options.output_dir)
    try:
        print(sync(uri, options.experiment, options.output_dir, folder))
    except Exception as error:  # MLflow's, its client's or its database's: one line, and the next sweep
        reason = hide_in_text(f"{type(error).__name__}: {error}").splitlines()[0][:300]
        print(f"sync: {folder.name}: {hide_in_text(uri)}: {reason}", file=sys.stderr)
        return False
    return True
