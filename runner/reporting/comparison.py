"""Sweeps held against each other, configuration by configuration: what changed, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.analysis.comparison import Change, Welch, compare_logs, holm, judge_change
from runner.analysis.statistics import Estimate
from runner.results.result import Measurement, Result

UNCOMPARED = ("output_dir", "cache_dir", "resume", "fresh", "budget", "wait", "verbose", "cache_limit_gib")
"""Settings of the command, which change no number."""
SPEEDUP, THROUGHPUT = "speedup", "samples/s"
MAX_NAMED = 3
"""Changes that a line names."""


@dataclass(frozen=True)
class Limits:
    """What a change may cost."""

    slower: float | None = None
    """Largest loss of speed, relative: 0.03 is 3 %."""
    less_accurate_pp: float | None = None
    """Largest loss of top-1 or F1, in percentage points."""


@dataclass
class Pair:
    """One configuration in two sweeps."""

    label: str
    before: Result | None
    after: Result | None
    quantity: str = ""
    """What is compared: the speedup over the same baseline, else samples/s."""
    welch: Welch | None = None
    noise_floor: float = 0.0
    failures: list[str] = field(default_factory=list)
    """The limits that it breaks, in words."""

    @property
    def ratio(self) -> Estimate | None:
        """Speed after over speed before; None if one of them has no number."""
        return self.welch.ratio if self.welch else None

    @property
    def verdict(self) -> str:
        """Of the ratio, or why there is none."""
        if self.welch is not None:
            return str(judge_change(self.welch.ratio, self.noise_floor))
        if self.before is None or self.after is None:
            return f"missing in {'the first' if self.before is None else 'the second'}"
        states = [str(one.status) if one.shown is None else "ok" for one in (self.before, self.after)]
        return "no number: " + " then ".join(states)

    @property
    def accuracy_pp(self) -> Estimate | None:
        """The difference of the losses against fp32, in percentage points, with its interval; None without labels."""
        found = [one.accuracy for one in (self.before, self.after) if one is not None]
        if len(found) != 2 or any(one is None or one.delta_pp is None for one in found):
            return None
        deltas = [(one.delta_pp or 0.0, one.delta_low_pp or 0.0, one.delta_high_pp or 0.0) for one in found if one]
        difference = deltas[1][0] - deltas[0][0]
        half = math.hypot(*((high - low) / 2 for _, low, high in deltas))
        return Estimate(difference, difference - half, difference + half)

    @property
    def changes(self) -> list[str]:
        """What differs between the two, beside their numbers: settings, code, packages, machine."""
        if self.before is None or self.after is None:
            return []
        return list(_changes(self.before, self.after))


def compare(before: Sequence[Result], after: Sequence[Result], limits: Limits) -> list[Pair]:
    """Return every configuration of two sweeps, matched by settings, or by label where settings changed.

    Args:
        before: results of the first sweep.
        after: results of the second.
        limits: what a change may cost.
    """
    pairs = _match(before, after)
    for pair in pairs:
        _measure(pair)
    _apply(limits, pairs)
    return pairs


def _match(before: Sequence[Result], after: Sequence[Result]) -> list[Pair]:
    found: list[Pair] = []
    left = list(after)
    for key in (_settings, lambda one: one.label):
        known = {str(key(one)): one for one in left}
        for result in before:
            if any(pair.before is result for pair in found):
                continue
            other = known.pop(str(key(result)), None)
            if other is not None:
                found.append(Pair(other.label, result, other))
                left.remove(other)
    found += [Pair(one.label, one, None) for one in before if not any(pair.before is one for pair in found)]
    if len(left) == len(after) and len(before) == len(after) == 1:  # nothing matched: two single rows are a pair
        return [Pair(f"{before[0].label} → {after[0].label}", before[0], after[0])]
    return [*found, *(Pair(one.label, None, one) for one in left)]


def _settings(result: Result) -> dict[str, Any]:
    return {name: value for name, value in sorted(result.settings.items()) if name not in UNCOMPARED}


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
        pair.welch = compare_logs(*samples)


def _logs(measured: Measurement, quantity: str) -> list[float]:
    """Return the logarithms of a quantity, one for each replicate."""
    values = [one.speedup if quantity == SPEEDUP else one.throughput for one in measured.replicates]
    return [math.log(value) for value in values]


def _apply(limits: Limits, pairs: Sequence[Pair]) -> None:
    """Note the limits that are broken beyond doubt, over all pairs together."""
    if limits.slower is not None:
        measured = [pair for pair in pairs if pair.welch is not None]
        p_values = [pair.welch.p_value_below(1 - limits.slower) for pair in measured if pair.welch]
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
        certain = ratio is not None and (
            ratio.low >= 1 - limits.slower if limits.slower is not None else pair.verdict != Change.cannot_tell
        )
        if not certain:
            found.append(pair)
    return found


def _changes(before: Result, after: Result) -> Iterator[str]:
    mine, others = _settings(before), _settings(after)
    different = [name for name in sorted(mine.keys() | others.keys()) if mine.get(name) != others.get(name)]
    # An option of a group brings all of the group's fields.
    chosen = {name.removesuffix(".name") for name in different if name.endswith(".name") and name != "model.name"}
    for name in different:
        if name.endswith(".name") or name.rpartition(".")[0] not in chosen:
            yield f"{name}: {mine.get(name, 'not set')} → {others.get(name, 'not set')}"
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
    if failed:
        first = f"{failed[0].label} is {failed[0].failures[0]}"
        return first + (f", and {len(failed) - 1} more" if len(failed) > 1 else "")
    counts = {str(change): sum(pair.verdict == change for pair in pairs) for change in Change}
    others = sum(pair.welch is None for pair in pairs)
    words = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    words += [f"{others} without a comparison"] if others else []
    limited = "no loss beyond the limits for sure: " if limits != Limits() else ""
    return f"{limited}of {len(pairs)} configurations {', '.join(words)}"
