"""A comparison as a table, as Markdown, as CSV and as a JUnit report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.reporting.comparing.pairs import THROUGHPUT, Limits, Line, Pair, pairs_of, summary
from runner.results.metrics import DASH
from runner.results.result import Result

MAX_NAMED = 3
"""Changes that a cell names."""
MIN_WIDTH = 160
"""Of a table that goes to a file."""


@dataclass(frozen=True)
class Absolute:
    """A table of numbers that belong to one machine each; their ratios are no paired ones."""

    titles: list[str]
    lines: list[list[str]]
    remarks: list[str]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    sides: list[str]
    lines: list[Line]
    limits: Limits
    absolute: Absolute | None = None
    """Of kinds of machines: what each makes of each configuration."""

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of all lines."""
        return pairs_of(self.lines)

    @property
    def summary(self) -> str:
        """One sentence that a person can repeat."""
        return summary(self.pairs, self.limits)

    @property
    def titles(self) -> list[str]:
        """The headings of the table."""
        if len(self.sides) == 2:
            ratio = ("ratio (95 % interval)", "of", "verdict", "Δ accuracy pp", "changed")
            return ["configuration", "before", "after", *ratio]
        return ["configuration", self.sides[0], *(f"{side} ÷ {self.sides[0]}" for side in self.sides[1:])]

    def cells(self, line: Line) -> list[str]:
        """Return the cells of a line: all facts of a pair, or of several one cell each."""
        if len(self.sides) == 2:
            return [line.label, *_of_pair(line.pairs[0])]
        return [line.label, _speed(line.first), *map(_in_one_cell, line.pairs)]

    def remarks(self) -> list[str]:
        """Return what a reader must know beside the table."""
        drifting = [pair for pair in self.pairs if pair.quantity == THROUGHPUT and pair.difference is not None]
        words = "what the machine itself drifted between the two times is not in the interval"
        drift = [f"{len(drifting)} of samples/s: {words}"]
        noisy = [pair.label for pair in self.pairs if pair.difference is not None and pair.is_noisy]
        quiet = (
            [f"nothing is concluded about {', '.join(noisy)}: the machine was too noisy on one side"] if noisy else []
        )
        return [*self._common_changes(), *(drift if drifting else []), *quiet]

    def _common_changes(self) -> list[str]:
        """Return what changed on every row of a side, for a table of several sides, where the rows do not say it."""
        if len(self.sides) == 2:
            return []
        found = []
        for position, side in enumerate(self.sides[1:]):
            changes = [line.pairs[position].changes for line in self.lines if line.pairs[position].changes]
            common = [change for change in changes[0] if all(change in one for one in changes)] if changes else []
            if common:
                found.append(f"{side}: {_named(common)}")
        return found


def _of_pair(pair: Pair) -> list[str]:
    ratio, accuracy = pair.ratio, pair.accuracy_pp
    return [
        _speed(pair.before),
        _speed(pair.after),
        DASH if ratio is None else f"{ratio.value:.3f}× ({ratio.low:.3f} … {ratio.high:.3f})",
        pair.quantity or DASH,
        "; ".join(pair.failures) or pair.verdict,
        DASH if accuracy is None else f"{accuracy.value:+.2f} ({accuracy.low:+.2f} … {accuracy.high:+.2f})",
        _named(pair.changes) or "nothing",
    ]


def _speed(result: Result | None) -> str:
    return DASH if result is None or result.shown is None else f"{result.shown.throughput.value:.1f}/s"


def _in_one_cell(pair: Pair) -> str:
    """Return ratio, interval, what it is a ratio of, and verdict."""
    ratio = pair.ratio
    verdict = "; ".join(pair.failures) or pair.verdict
    if ratio is None:
        return verdict if pair.before is not None or pair.after is not None else DASH
    return f"{ratio.value:.3f}× ({ratio.low:.3f} … {ratio.high:.3f}) of {pair.quantity}: {verdict}"


def _named(changes: Sequence[str]) -> str:
    return "; ".join(changes[:MAX_NAMED]) + (f"; {len(changes) - MAX_NAMED} more" if len(changes) > MAX_NAMED else "")


def print_table(found: Comparison, console: Console) -> None:
    """Print the table and the summary."""
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    if found.absolute is not None:
        console.print(_table(found.absolute.titles, found.absolute.lines))
        for words in found.absolute.remarks:
            console.print(words, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(found.titles, map(found.cells, found.lines)))
    for words in [*found.remarks(), found.summary]:
        console.print(words, markup=False, highlight=False, soft_wrap=True)


def _table(titles: Iterable[str], lines: Iterable[Iterable[str]]) -> Table:
    table = Table()
    for title in titles:
        table.add_column(Text(title), overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def markdown(found: Comparison) -> str:
    """Return the summary and the table as Markdown."""
    lines = [f"**{found.summary}**"]
    if found.absolute is not None:
        lines += _markdown_table(found.absolute.titles, found.absolute.lines)
        lines += [line for remark in found.absolute.remarks for line in ("", remark)]
    lines += _markdown_table(found.titles, map(found.cells, found.lines))
    lines += [line for change in found.remarks() for line in ("", change)]
    return "\n".join(lines) + "\n"


def _markdown_table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return ["", _row(titles), "|" + "---|" * len(titles), *map(_row, lines)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def csv_text(found: Comparison) -> str:
    """Return a line for each pair, unrounded, as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    titles = ("configuration", "before", "after", "quantity", "ratio", "ratio_low", "ratio_high", "verdict")
    writer.writerow([*titles, "failures", "changed"])
    for pair in found.pairs:
        ratio = pair.ratio
        numbers = ["", "", ""] if ratio is None else [ratio.value, ratio.low, ratio.high]
        failures, changes = "; ".join(pair.failures), "; ".join(pair.changes)
        writer.writerow([pair.label, *pair.sides, pair.quantity, *numbers, pair.verdict, failures, changes])
    return stream.getvalue()


def write_junit(found: Comparison, file: Path) -> None:
    """Write a test case for each pair, as CI systems read them.

    Raises:
        OSError: the file cannot be written.
    """
    pairs = found.pairs
    failed = sum(bool(pair.failures) for pair in pairs)
    skipped = sum(pair.difference is None for pair in pairs)
    counts = {"tests": str(len(pairs)), "failures": str(failed), "skipped": str(skipped)}
    suite = ElementTree.Element("testsuite", {"name": "runner compare", **counts})
    for pair in pairs:
        name = pair.label if len(found.sides) == 2 else f"{pair.label} in {pair.sides[1]}"
        case = ElementTree.SubElement(suite, "testcase", classname="runner.compare", name=name)
        if pair.failures:
            ElementTree.SubElement(case, "failure", message="; ".join(pair.failures)).text = "; ".join(pair.changes)
        elif pair.difference is None:
            ElementTree.SubElement(case, "skipped", message=pair.verdict)
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)
