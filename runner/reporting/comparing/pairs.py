"""Sweeps held against each other, configuration by configuration: what changed, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runner.analysis.comparison import (
    Change,
    LogDifference,
    compare_independent,
    compare_paired,
    holm,
    judge_change,
)
from runner.analysis.statistics import Estimate, Verdict
from runner.reporting.answer import paired_logs
from runner.reporting.comparing.matching import compared_settings, match
from runner.results.result import Measurement, Result
from runner.results.status import Status

SPEEDUP, THROUGHPUT, SIDE_BY_SIDE = "speedup", "samples/s", "side by side"


@dataclass(frozen=True)
class Limits:
    """What a change may cost."""

    slower: float | None = None
    """Largest loss of speed, relative: 0.03 is 3 %."""
    less_accurate_pp: float | None = None
    """Largest loss of top-1 or F1, in percentage points."""


@dataclass(frozen=True)
class Side:
    """One of the things that are compared: a sweep, or the rows of one kind of machine."""

    name: str
    results: list[Result]


@dataclass
class Pair:
    """One configuration on two sides."""

    label: str
    sides: tuple[str, str]
    before: Result | None
    after: Result | None
    quantity: str = ""
    """What is compared: the speedup over the same baseline, samples/s, or samples/s side by side."""
    difference: LogDifference | None = None
    noise_floor: float = 0.0
    failures: list[str] = field(default_factory=list)
    """The limits that it breaks, in words."""

    @property
    def ratio(self) -> Estimate | None:
        """Speed after over speed before; None if one of them has no number."""
        return self.difference.ratio if self.difference else None

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was too noisy for a conclusion on one side."""
        shown = [one.shown for one in (self.before, self.after) if one is not None]
        return any(one is not None and one.verdict is Verdict.too_noisy for one in shown)

    @property
    def verdict(self) -> str:
        """Of the ratio, or why there is none; nothing is concluded from a row that was too noisy."""
        if self.difference is not None and self.is_noisy:
            return str(Change.cannot_tell)
        if self.difference is not None:
            return str(judge_change(self.difference.ratio, self.noise_floor))
        if self.before is None or self.after is None:
            return f"missing in {self.sides[self.before is not None]}"
        return "no number: " + " then ".join(map(_state, (self.before, self.after)))

    @property
    def accuracy_pp(self) -> Estimate | None:
        """The difference of the losses against fp32, in percentage points, with its interval; None without labels."""
        found = [one.accuracy for one in (self.before, self.after) if one is not None]
        deltas = [
            (delta, low, high)
            for one in found
            if one is not None
            and (delta := one.delta_pp) is not None
            and (low := one.delta_low_pp) is not None
            and (high := one.delta_high_pp) is not None
        ]
        if len(deltas) != 2:
            return None
        difference = deltas[1][0] - deltas[0][0]
        half = math.hypot(*((high - low) / 2 for _, low, high in deltas))
        return Estimate(difference, difference - half, difference + half)

    @property
    def changes(self) -> list[str]:
        """What differs between the two, beside their numbers: settings, code, packages, machine."""
        if self.before is None or self.after is None:
            return []
        return [*changed_settings(self.before, self.after), *changes_besides_settings(self.before, self.after)]


def _state(result: Result) -> str:
    """Return how a row ended, as far as that explains why it cannot be compared."""
    if result.shown is not None:
        return "ok" if len(result.shown.replicates) > 1 else "too few replicates"
    return "only checked" if result.status is Status.ok else str(result.status)


@dataclass
class Line:
    """One configuration on all sides."""

    label: str
    first: Result | None
    """On the first side."""
    pairs: list[Pair]
    """With each of the others, in their order."""


def compare(sides: Sequence[Side], limits: Limits) -> list[Line]:
    """Return every configuration of two or more sides, each compared with the first.

    Configurations are matched by :func:`runner.reporting.comparing.matching.match`.

    Args:
        sides: at least two.
        limits: what a change may cost.
    """
    first, *others = sides
    lines: list[Line] = []
    for position, side in enumerate(others):
        for pair in _pairs(first, side):
            line = next((one for one in lines if _continues(one, pair, position)), None)
            if line is None:
                line = Line(
                    pair.label,
                    pair.before,
                    [Pair(pair.label, (first.name, one.name), pair.before, None) for one in others],
                )
                lines.append(line)
            line.pairs[position] = pair
    for pair in pairs_of(lines):
        _measure(pair)
    apply_limits(limits, pairs_of(lines))
    return lines


def pairs_of(lines: Sequence[Line]) -> list[Pair]:
    """Return all pairs of all lines that have a result on at least one side."""
    return [pair for line in lines for pair in line.pairs if pair.before is not None or pair.after is not None]


def _continues(line: Line, pair: Pair, position: int) -> bool:
    """Return whether a pair belongs to a line: by its result on the first side, without one by its label."""
    if pair.before is not None:
        return line.first is pair.before
    return line.first is None and line.label == pair.label and line.pairs[position].after is None


def _pairs(first: Side, second: Side) -> list[Pair]:
    names = first.name, second.name
    found = []
    for before, after in match(first.results, second.results):
        one = after or before
        if one is not None:
            found.append(Pair(one.label, names, before, after))
    return found


def _measure(pair: Pair) -> None:
    """Compare the speeds of a pair that has both."""
    found = [one.shown for one in (pair.before, pair.after) if one is not None and one.shown is not None]
    if len(found) != 2 or pair.before is None or pair.after is None:
        return
    pair.noise_floor = max(one.noise_floor for one in found)
    same = pair.before.baseline_fingerprint
    pair.quantity = SPEEDUP if same and same == pair.after.baseline_fingerprint else THROUGHPUT
    samples = [_logs(one, pair.quantity) for one in found]
    if min(map(len, samples)) >= 2:
        pair.difference = compare_independent(*samples)


def pair_side_by_side(label: str, sides: tuple[str, str], before: Result, after: Result) -> Pair:
    """Return two rows of one sweep as a pair: compared within their common replicates if they shared a block."""
    pair = Pair(label, sides, before, after)
    _measure(pair)
    one, other = before.shown, after.shown
    if one is not None and other is not None and (logs := paired_logs(one, other)) is not None:
        pair.quantity, pair.difference = SIDE_BY_SIDE, compare_paired(*logs)
    return pair


def _logs(measured: Measurement, quantity: str) -> list[float]:
    """Return the logarithms of a quantity, one for each replicate."""
    values = [one.speedup if quantity == SPEEDUP else one.throughput for one in measured.replicates]
    return [math.log(value) for value in values]


def apply_limits(limits: Limits, pairs: Sequence[Pair]) -> None:
    """Note the limits that are broken beyond doubt, over all pairs together."""
    if limits.slower is not None:
        measured = [pair for pair in pairs if pair.difference is not None and not pair.is_noisy]
        p_values = [pair.difference.p_value_below(1 - limits.slower) for pair in measured if pair.difference]
        for pair, broken in zip(measured, holm(p_values), strict=True):
            if broken and pair.ratio is not None:
                pair.failures.append(f"{1 - pair.ratio.value:.1%} slower, more than {limits.slower:.1%}")
    if limits.less_accurate_pp is not None:
        for pair in pairs:
            found = pair.accuracy_pp
            if found is not None and found.high < -limits.less_accurate_pp:
                pair.failures.append(f"{-found.value:.2f} pp less accurate, more than {limits.less_accurate_pp:g} pp")


def undecided(pairs: Sequence[Pair], limits: Limits) -> list[Pair]:
    """Return the pairs that ``--strict`` does not accept: missing, without a number, or not surely within the limit."""
    found = []
    for pair in pairs:
        if pair.failures:
            continue
        ratio = pair.ratio
        certain = (
            ratio is not None
            and not pair.is_noisy
            and (ratio.low >= 1 - limits.slower if limits.slower is not None else pair.verdict != Change.cannot_tell)
        )
        if not certain:
            found.append(pair)
    return found


def changed_settings(before: Result, after: Result) -> Iterator[str]:
    """Yield the settings that differ. An option of a group brings all of the group's fields, which are not named."""
    mine, others = compared_settings(before), compared_settings(after)
    different = [name for name in sorted(mine.keys() | others.keys()) if mine.get(name) != others.get(name)]
    chosen = {name.removesuffix(".name") for name in different if name.endswith(".name") and name != "model.name"}
    for name in different:
        if name.endswith(".name") or name.rpartition(".")[0] not in chosen:
            yield f"{name}: {mine.get(name, 'not set')} → {others.get(name, 'not set')}"


def changes_besides_settings(before: Result, after: Result) -> Iterator[str]:
    """Yield what differs and is no setting: packages, code, machine, weights, samples."""
    yield from _packages(before.packages, after.packages)
    if before.attempt.get("commit") != after.attempt.get("commit"):
        yield f"code: {before.attempt.get('commit', 'unknown')} → {after.attempt.get('commit', 'unknown')}"
    if before.machine_class != after.machine_class:
        yield f"machine: {before.machine_class} → {after.machine_class}"
    elif before.attempt.get("host") != after.attempt.get("host"):
        yield f"host: {before.attempt.get('host', 'unknown')} → {after.attempt.get('host', 'unknown')}"
    for name, what in (("weights", "the weights"), ("data", "the samples")):
        if before.digests.get(name) != after.digests.get(name):
            yield what


def _packages(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name, 'not installed')} → {after.get(name, 'not installed')}"


def summary(pairs: Sequence[Pair], limits: Limits) -> str:
    """Return one sentence that a person can repeat."""
    failed = [pair for pair in pairs if pair.failures]
    several = len({pair.sides for pair in pairs}) > 1
    if failed:
        where = f" in {failed[0].sides[1]}" if several else ""
        first = f"{failed[0].label}{where} is {failed[0].failures[0]}"
        return first + (f", and {len(failed) - 1} more" if len(failed) > 1 else "")
    counts = {str(change): sum(pair.verdict == change for pair in pairs) for change in Change}
    others = sum(pair.difference is None for pair in pairs)
    words = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    words += [f"{others} without a comparison"] if others else []
    limited = "no loss beyond the limits for sure: " if limits != Limits() else ""
    noun = "comparison" if several else "configuration"
    return f"{limited}of {len(pairs)} {noun}{'s' if len(pairs) != 1 else ''} {', '.join(words)}"
