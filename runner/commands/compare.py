"""``runner compare A B``: the same configurations in two sweeps, side by side."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner import exit_codes
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError
from runner.reporting.comparison import MAX_NAMED, Limits, Pair, compare, summary, undecided
from runner.results.locate import find_sweep
from runner.results.metrics import DASH
from runner.results.result import Result
from runner.results.store import read_results
from runner.tracking.reader import sweep_of_run

PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
POINTS = re.compile(r"(\d+(?:\.\d+)?)\s*pp")
TITLES = ("configuration", "before", "after", "ratio (95 % interval)", "of", "verdict", "Δ accuracy pp", "changed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two sweeps row by row, with intervals; fail if something became worse than allowed."""
    options = _parse(arguments)
    limits = Limits(options.fail_if_slower, options.fail_if_less_accurate)
    try:
        before, after = (_results(name, options.output_dir) for name in (options.before, options.after))
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"compare: {mistake}", file=sys.stderr)
        return exit_codes.MISTAKE
    except LookupError as error:
        print(f"compare: {error.args[0]}", file=sys.stderr)
        return exit_codes.MISTAKE
    pairs = compare(before, after, limits)
    if all(pair.before is None or pair.after is None for pair in pairs):
        print(f"compare: {options.before} and {options.after} have no configuration in common", file=sys.stderr)
        return exit_codes.MISTAKE
    FORMATS[options.format](pairs, limits)
    if options.junit:
        _write_junit(pairs, options.junit)
    if options.summary:
        options.summary.write_text(_markdown(pairs, limits), encoding="utf-8")
    failed = any(pair.failures for pair in pairs) or bool(options.strict and undecided(pairs, limits))
    return exit_codes.FAILED if failed else exit_codes.OK


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runner compare", description=main.__doc__)
    named = "last, or a sweep's folder, name, prefix of its name or MLflow run id"
    parser.add_argument("before", metavar="BEFORE", help=named)
    parser.add_argument("after", metavar="AFTER", help=named)
    parser.add_argument("--format", choices=tuple(FORMATS), default="table")
    parser.add_argument(
        "--fail-if-slower",
        type=_reader(PERCENT, 0.01, "a share such as 3%"),
        metavar="3%%",
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
    return parser.parse_args(arguments)


def _reader(pattern: re.Pattern[str], scale: float, example: str) -> Callable[[str], float]:
    """Return a function that reads a number with its unit."""

    def read(text: str) -> float:
        found = pattern.fullmatch(text.strip())
        if found is None:
            raise argparse.ArgumentTypeError(f"received {text!r}; allowed: {example}")
        return float(found[1]) * scale

    return read


def _results(name: str, output_dir: Path) -> list[Result]:
    """Return the results of a sweep.

    Raises:
        ConfigurationError: there is no such sweep.
        LookupError: no run of it has ended.
    """
    folder = find_sweep(name, output_dir, name_of_run=lambda run_id: sweep_of_run(run_id, output_dir))
    found = [result for _, result in read_results(folder) if isinstance(result, Result)]
    if not found:
        raise LookupError(f"{folder}: no run of this sweep has ended")
    return found


def _cells(pair: Pair) -> list[str]:
    shown = [one.shown if one is not None else None for one in (pair.before, pair.after)]
    speeds = [DASH if one is None else f"{one.throughput.value:.1f}/s" for one in shown]
    ratio, accuracy = pair.ratio, pair.accuracy_pp
    changes = pair.changes
    named = "; ".join(changes[:MAX_NAMED]) + (f"; {len(changes) - MAX_NAMED} more" if len(changes) > MAX_NAMED else "")
    return [
        pair.label,
        *speeds,
        DASH if ratio is None else f"{ratio.value:.3f}× ({ratio.low:.3f} … {ratio.high:.3f})",
        pair.quantity or DASH,
        "; ".join(pair.failures) or pair.verdict,
        DASH if accuracy is None else f"{accuracy.value:+.2f} ({accuracy.low:+.2f} … {accuracy.high:+.2f})",
        named or "nothing",
    ]


def _print_table(pairs: Sequence[Pair], limits: Limits) -> None:
    table = Table()
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for pair in pairs:
        table.add_row(*(Text(cell) for cell in _cells(pair)))
    console = Console()
    console.width = max(console.width, 160) if not console.is_terminal else console.width
    console.print(table)
    console.print(summary(pairs, limits), markup=False, highlight=False, soft_wrap=True)


def _markdown(pairs: Sequence[Pair], limits: Limits) -> str:
    lines = [f"**{summary(pairs, limits)}**", "", "| " + " | ".join(TITLES) + " |", "|" + "---|" * len(TITLES)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(pair)) + " |" for pair in pairs]
    return "\n".join(lines) + "\n"


def _print_csv(pairs: Sequence[Pair], limits: Limits) -> None:  # noqa: ARG001 -- as the other formats
    writer = csv.writer(sys.stdout)
    writer.writerow(["configuration", "quantity", "ratio", "ratio_low", "ratio_high", "verdict", "failures", "changed"])
    for pair in pairs:
        ratio = pair.ratio
        numbers = ["", "", ""] if ratio is None else [ratio.value, ratio.low, ratio.high]
        failures, changes = "; ".join(pair.failures), "; ".join(pair.changes)
        writer.writerow([pair.label, pair.quantity, *numbers, pair.verdict, failures, changes])


def _write_junit(pairs: Sequence[Pair], file: Path) -> None:
    """Write a test case for each configuration, as CI systems read them."""
    failed = sum(bool(pair.failures) for pair in pairs)
    skipped = sum(pair.welch is None for pair in pairs)
    counts = {"tests": str(len(pairs)), "failures": str(failed), "skipped": str(skipped)}
    suite = ElementTree.Element("testsuite", {"name": "runner compare", **counts})
    for pair in pairs:
        case = ElementTree.SubElement(suite, "testcase", classname="runner.compare", name=pair.label)
        if pair.failures:
            ElementTree.SubElement(case, "failure", message="; ".join(pair.failures)).text = "; ".join(pair.changes)
        elif pair.welch is None:
            ElementTree.SubElement(case, "skipped", message=pair.verdict)
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


FORMATS: dict[str, Callable[[Sequence[Pair], Limits], None]] = {
    "table": _print_table,
    "markdown": lambda pairs, limits: print(_markdown(pairs, limits), end=""),
    "csv": _print_csv,
}
