"""Compare a published speedup with the measured one and judge whether it is reproduced. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from runner.analysis.statistics import Estimate, Verdict, judge

WIDENING = 0.05
"""Relative margin by which the measured interval is widened on both sides before the comparison."""
WIDE = 0.10
"""Relative half-width above which an interval is too wide to reproduce a number."""
FAR = 0.25
"""Relative difference between measured and published speedup above which the row gets a note."""


class RowVerdict(StrEnum):
    """The verdict on a published row on this machine."""

    reproduced = "reproduced"
    """The published speedup, or any of a published range, is in the measured interval, widened by 5 %."""
    same_direction = "same direction"
    """It is not, but both are faster, or both slower, or neither."""
    not_reproduced = "not reproduced"
    """They disagree on the direction."""
    not_comparable = "not comparable"
    """This machine lacks an instruction set that the published number needs."""
    inconclusive = "inconclusive"
    """The measured interval is too wide for a verdict."""
    unpublished = "no published number"
    """The table has none for this model."""


@dataclass(frozen=True)
class Comparison:
    """A published speedup compared with the measured one."""

    verdict: RowVerdict
    reason: str
    """One line if the two differ; else empty."""


def compare(
    published: float | None,
    speedup: Estimate,
    noise_floor: float,
    missing: Sequence[str],
    *,
    published_high: float | None = None,
) -> Comparison:
    """Return the verdict on a row.

    Args:
        published: speedup over the table's baseline, or the lower end of a published range; None if none was
            published for this model.
        speedup: the measured speedup over the same baseline.
        noise_floor: δ; a speedup within 1 ± δ has no direction.
        missing: instruction sets that the published number needs and this machine lacks.
        published_high: upper end of a published range; None for a single number.
    """
    if published is None:
        return Comparison(RowVerdict.unpublished, "")
    high = published_high or published
    nearest = min(max(speedup.value, published), high)
    ratio = speedup.value / nearest
    shown = f"{published:.2f}×" if high == published else f"{published:g}× to {high:g}×"
    comparison = f"measured {speedup.value:.2f}×, {ratio:.2f} of the published {shown}"
    if missing:
        lacks = " and ".join(missing)
        return Comparison(RowVerdict.not_comparable, f"this machine lacks {lacks}; {comparison}")
    verdict = _judge_row(published, high, speedup, noise_floor)
    differs = verdict is RowVerdict.not_reproduced or abs(ratio - 1) > FAR
    return Comparison(verdict, comparison if differs else "")


def _judge_row(published: float, high: float, speedup: Estimate, noise_floor: float) -> RowVerdict:
    overlaps = speedup.low / (1 + WIDENING) <= high and published <= speedup.high * (1 + WIDENING)
    if overlaps and speedup.half_width <= WIDE:
        return RowVerdict.reproduced
    measured = judge(speedup, noise_floor)
    if overlaps or measured is Verdict.inconclusive:
        return RowVerdict.inconclusive
    exact = Estimate(published, published, high)
    return RowVerdict.same_direction if judge(exact, noise_floor) is measured else RowVerdict.not_reproduced


def missing_isa(needs: Sequence[str], isa: Sequence[str]) -> list[str]:
    """Return the instruction sets that a row needs and a machine lacks, in the row's order."""
    return [name for name in needs if name not in isa]
