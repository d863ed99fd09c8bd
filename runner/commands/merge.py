"""``runner merge A B [C …] --to NAME``: one sweep of the parts that several machines measured."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from runner import exit_codes
from runner.config.schema import FOLDER_NAME, RunConfig
from runner.errors import ConfigurationError, NothingLaunched
from runner.fleet.merge import merge
from runner.machine.lock import measurement_lock
from runner.reporting.answer import answer
from runner.reporting.table import write_tables
from runner.results.locate import find_sweep
from runner.results.metrics import row
from runner.results.stored_sweep import read_sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Put sweeps of one command together, for example its shards; a second time, only what is new is added."""
    parser = argparse.ArgumentParser(prog="runner merge", description=main.__doc__)
    parser.add_argument(
        "sweeps", nargs="+", metavar="SWEEP", help="last, or a sweep's folder, name or prefix of its name"
    )
    parser.add_argument("--to", required=True, metavar="NAME", help="of the merged sweep, in the output folder")
    parser.add_argument("--wait", action="store_true", help="wait for a measurement to end instead of refusing")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if not re.fullmatch(FOLDER_NAME, options.to):
        parser.error(f"--to: received {options.to!r}; allowed: the name of a folder, without slashes")
    try:
        parts = [find_sweep(name, options.output_dir) for name in options.sweeps]
        with measurement_lock(wait=options.wait, report=print, remedy="add --wait"):  # else it would disturb it
            return _merge(parts, options.output_dir / "sweeps" / options.to)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"merge: {mistake}", file=sys.stderr)
    except NothingLaunched as error:
        print(f"merge: {error}", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"merge: {error}", file=sys.stderr)
        return exit_codes.FAILED
    return exit_codes.MISTAKE


def _merge(parts: Sequence[Path], target: Path) -> int:
    """Merge the parts, write the tables of the whole, and say what was found."""
    merged = merge(parts, target)
    sweep = read_sweep(target)
    for what, lines in (("measured twice", merged.conflicts), ("cannot be read", merged.unreadable)):
        for line in lines:
            print(f"merge: {what}: {line}", file=sys.stderr)
    if merged.absent:
        print(f"merge: no part of shard {', '.join(merged.absent)} yet", file=sys.stderr)
    machines = sorted({result.machine_class or result.machine for result in sweep.results})
    lines = [f"merged from {len(parts)} sweeps, on {len(machines)} kind{'s' * (len(machines) > 1)} of machines"]
    lines += answer(sweep.results)
    _, problems = write_tables([row(result) for result in sweep.results], " · ".join(machines), lines, target)
    for problem in problems:
        print(f"merge: {problem}", file=sys.stderr)
    _write_page(target)
    left = f", {merged.missing} not measured yet" if merged.missing else ""
    print(f"{target}: {merged.rows} rows{left}. runner report {target.name}", flush=True)
    return exit_codes.OK


def _write_page(folder: Path) -> None:
    try:
        from runner.reporting.page.sweep_page import write_page

        write_page(read_sweep(folder), logs=True)
    except Exception as error:  # such as a full disk, or a missing package: the rows and the tables are there
        print(f"merge: report.html could not be written: {error}", file=sys.stderr)
