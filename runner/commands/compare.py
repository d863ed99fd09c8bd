"""``runner compare A B [C …]``: the same configurations in several sweeps, or on several kinds of machines."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from runner import exit_codes, run
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, NothingLaunched
from runner.planning.resume import Command
from runner.processes import signals
from runner.reporting.comparing import machines, side_by_side
from runner.reporting.comparing.formats import Absolute, Comparison, csv_text, markdown, print_table, write_junit
from runner.reporting.comparing.matching import compared_settings
from runner.reporting.comparing.pairs import Limits, Side, compare, undecided
from runner.reporting.dry_run import print_dry_run
from runner.results.locate import LAST, find_sweep
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.stored_sweep import StoredSweep, read_sweep
from runner.tracking.reader import sweep_of_run

PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
POINTS = re.compile(r"(\d+(?:\.\d+)?)\s*pp")
MACHINE, PRICES = "machine", "prices="
FORMATS = ("table", "markdown", "csv", "html")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare sweeps row by row, with intervals; fail if something became worse than allowed."""
    options = _parse(arguments)
    limits = Limits(options.fail_if_slower, options.fail_if_less_accurate)
    try:
        sweeps = [_read(name, options.output_dir) for name in options.sweeps]
        if options.paired:
            planned = _plan_again(sweeps[0], sweeps[1], options.output_dir)
            if options.dry_run:
                print_dry_run(planned.plans)
                return exit_codes.OK
            found = _measure_again(planned, limits, options.output_dir)
        else:
            sides = _machines(sweeps) if options.by == MACHINE else _sides(sweeps)
            absolute = _absolute(sides, options.prices) if options.by == MACHINE else None
            found = Comparison([side.name for side in sides], compare(sides, limits), limits, absolute)
            _check_common(sides, found)
        _write(found, options)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"compare: {mistake}", file=sys.stderr)
        return exit_codes.MISTAKE
    except (LookupError, NothingLaunched) as error:
        print(f"compare: {error.args[0]}", file=sys.stderr)
        return exit_codes.MISTAKE
    except OSError as error:
        print(f"compare: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return exit_codes.MISTAKE
    failed = any(pair.failures for pair in found.pairs) or bool(options.strict and undecided(found.pairs, limits))
    return exit_codes.FAILED if failed else exit_codes.OK


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runner compare", description=main.__doc__)
    parser.add_argument(
        "sweeps",
        nargs="+",
        metavar="SWEEP",
        help="last, or a sweep's folder, name, prefix of its name or MLflow run id; each is compared with the first. "
        "With --by machine, prices=FILE (YAML, the kind of machine: price per hour) adds what a million samples cost",
    )
    parser.add_argument(
        "--by", choices=("sweep", MACHINE), default="sweep", help="compare the kinds of machines in them"
    )
    parser.add_argument(
        "--paired",
        action="store_true",
        help="measure the rows of two sweeps that differ in settings only again, side by side, and compare those",
    )
    parser.add_argument("--dry-run", action="store_true", help="with --paired: list the runs, and launch nothing")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of standard output")
    parser.add_argument(
        "--fail-if-slower",
        type=_reader(PERCENT, 0.01, "a share such as 3%"),
        metavar="3%",
        help="exit with 1 if a configuration lost more speed than that, beyond doubt over all of them together (Holm)",
    )
    parser.add_argument(
        "--fail-if-less-accurate",
        type=_reader(POINTS, 1.0, "percentage points such as 0.5pp"),
        metavar="0.5pp",
        help="exit with 1 if a configuration lost more top-1 or F1 than that, beyond doubt",
    )
    parser.add_argument("--strict", action="store_true", help="also fail on what cannot be told, or is missing")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report for a CI system")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write Markdown, for a pull request")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    words = [word for word in options.sweeps if word.startswith(PRICES)]
    options.sweeps = [word for word in options.sweeps if word not in words]
    options.prices = Path(words[-1].removeprefix(PRICES)) if words else None
    if (words and options.by != MACHINE) or not options.sweeps:
        parser.error(f"{PRICES}FILE needs a sweep and --by {MACHINE}")
    if words and options.format not in ("table", "markdown"):
        parser.error(f"{PRICES}FILE is shown with --format table and markdown")
    if options.paired and (len(options.sweeps) != 2 or options.by == MACHINE):
        parser.error("--paired measures the rows of two sweeps")
    if options.paired and options.format != "table" and options.output is None:
        parser.error(f"--paired shows its progress on standard output: add --output FILE for --format {options.format}")
    if options.dry_run and not options.paired:
        parser.error("--dry-run is for --paired: nothing else measures")
    if len(options.sweeps) < 2 and options.by != MACHINE:
        parser.error(f"received one sweep; allowed: two or more, or one with --by {MACHINE}")
    return options


def _reader(pattern: re.Pattern[str], scale: float, example: str) -> Callable[[str], float]:
    """Return a function that reads a number with its unit."""

    def read(text: str) -> float:
        found = pattern.fullmatch(text.strip())
        if found is None:
            raise argparse.ArgumentTypeError(f"received {text!r}; allowed: {example}")
        return float(found[1]) * scale

    return read


def _read(name: str, output_dir: Path) -> StoredSweep:
    """Return a sweep.

    Raises:
        ConfigurationError: there is no such sweep.
        LookupError: no run of it has ended, or all are of version 0.1.0.
    """
    folder = find_sweep(name, output_dir, name_of_run=lambda run_id: sweep_of_run(run_id, output_dir))
    found = read_sweep(folder)
    for problem in found.problems:
        print(f"compare: {problem}", file=sys.stderr)
    if not found.runs:
        raise LookupError(f"{folder}: no run of this sweep has ended")
    if all(result.schema < 2 for result in found.results):
        raise LookupError(f"{folder} is of schema 1, whose rows have no replicates to compare: measure it again")
    return found


def _sides(sweeps: Sequence[StoredSweep]) -> list[Side]:
    """Return a side for each sweep; one that is given twice gets a number."""
    names = [sweep.folder.name for sweep in sweeps]
    numbered = [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]
    return [Side(name, sweep.results) for name, sweep in zip(numbered, sweeps, strict=True)]


def _machines(sweeps: Sequence[StoredSweep]) -> list[Side]:
    """Return a side for each kind of machine, with the newest result of each of its rows.

    Raises:
        LookupError: there is only one.
    """
    found: dict[str, dict[str, Result]] = {}
    for result in sorted((result for sweep in sweeps for result in sweep.results), key=lambda one: one.ended_at):
        row = f"{result.label} {compared_settings(result)}"
        found.setdefault(result.machine_class or result.machine, {})[row] = result  # the newest counts
    if len(found) < 2:
        raise LookupError(f"all rows were measured on one kind of machine, {next(iter(found))}: nothing to compare")
    return [Side(name, list(rows.values())) for name, rows in found.items()]


def _absolute(sides: Sequence[Side], prices: Path | None) -> Absolute:
    """Return what each kind of machine makes of each configuration.

    Raises:
        ConfigurationError: the file with the prices cannot be read.
    """
    known = machines.read_prices(prices) if prices else {}
    return Absolute(machines.titles(known), machines.cells(sides, known), machines.remarks(sides, known))


def _check_common(sides: Sequence[Side], found: Comparison) -> None:
    """Check that a row of the first side is on another one.

    Raises:
        LookupError: there is none.
    """
    if any(pair.before is not None and pair.after is not None for pair in found.pairs):
        return
    models = [" and ".join(sorted({str(one.settings.get("model.name")) for one in side.results})) for side in sides]
    words = "; ".join(f"{side.name} holds {model}" for side, model in zip(sides, models, strict=True))
    raise LookupError(f"they have no configuration in common: {words}")


@dataclass(frozen=True)
class _Planned:
    """The command that measures the common rows of two sweeps again, and its runs."""

    rows: Sequence[side_by_side.CommonRow]
    command: Command
    plans: Sequence[Plan]
    target: Path


def _plan_again(before: StoredSweep, after: StoredSweep, output_dir: Path) -> _Planned:
    """Return the plan that measures the common rows of two sweeps again in one sweep.

    Raises:
        LookupError: they differ in more than settings, or their rows were not measured.
        ConfigurationError: their settings do not hold any more, such as a file that is gone.
    """
    rows = side_by_side.common_rows(before, after)
    if before.config_dir and after.config_dir and before.config_dir != after.config_dir:
        raise LookupError(f"--paired needs one --config-dir: received {before.config_dir} and {after.config_dir}")
    command = side_by_side.command_of(rows, output_dir, before.config_dir or after.config_dir)
    plans, target = run.compose(command)
    if len(plans) != 2 * len(rows):
        raise LookupError(f"the rows of both sweeps are {2 * len(rows)}, but their commands now ask for {len(plans)}")
    return _Planned(rows, command, plans, target)


def _measure_again(planned: _Planned, limits: Limits, output_dir: Path) -> Comparison:
    """Measure the rows side by side, and compare them.

    Raises:
        LookupError: the new sweep has no numbers to compare.
        NothingLaunched: another measurement runs on this machine.
        KeyboardInterrupt: the user stopped it; runner resume continues it.
    """
    signals.install_handlers()
    if run.measure(planned.command, planned.plans, planned.target) == exit_codes.INTERRUPTED:
        raise KeyboardInterrupt
    return side_by_side.comparison(planned.rows, read_sweep(find_sweep(LAST, output_dir)), limits)


def _write(found: Comparison, options: argparse.Namespace) -> None:
    """Write the comparison in the chosen format, and the files that were asked for.

    Raises:
        OSError: a file cannot be written.
    """
    if options.format == "table" and options.output is None:
        print_table(found, Console())
    elif options.format == "table":
        with options.output.open("w", encoding="utf-8") as stream:
            print_table(found, Console(file=stream))
    else:
        text = _text(found, options.format, options.output_dir)
        if options.output is None:
            print(text, end="")
        else:
            options.output.write_text(text, encoding="utf-8")
    if options.junit:
        write_junit(found, options.junit)
    if options.summary:
        options.summary.write_text(markdown(found), encoding="utf-8")


def _text(found: Comparison, form: str, output_dir: Path) -> str:
    if form == "html":
        from runner.reporting.page.comparison_page import page

        return page(found, output_dir)
    return markdown(found) if form == "markdown" else csv_text(found)
