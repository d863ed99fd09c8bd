"""Paired speedups, their intervals, and the verdicts on them. Pure functions.

A replicate, which is one fresh process of each side, gives one log-ratio, log(candidate throughput / baseline
throughput). The speedup is the geometric mean over the replicates, and its interval is Student's t over their
log-ratios. Rounds within one process say nothing about the differences between processes, so no interval is built from
them (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width, relative to the value."""
        return (self.high - self.low) / 2 / self.value


class Verdict(StrEnum):
    """The verdict on a speedup."""

    faster = "faster"
    """The whole interval lies above 1 + δ."""
    slower = "slower"
    """The whole interval lies below 1 - δ."""
    no_effect = "no measurable effect"
    """The whole interval lies within 1 ± δ."""
    inconclusive = "inconclusive"
    """The interval is too wide for any of these: more replicates would tell."""
    too_noisy = "too noisy"
    """Too many rounds were contaminated: nothing is concluded."""


def geometric_mean(logs: Sequence[float]) -> Estimate:
    """Return the geometric mean of positive quantities with its 95 % interval.

    Args:
        logs: natural logarithms, one per replicate.

    Raises:
        ValueError: there are fewer than two: nothing is known about their spread.
    """
    count = len(logs)
    if count < 2:
        raise ValueError("an interval needs at least two replicates")
    centre = fmean(logs)
    margin = student_t(count - 1) * stdev(logs, centre) / math.sqrt(count)
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


@cache
def student_t(freedom: float) -> float:
    """Return the quantile of Student's t that a 95 % interval reaches to on each side."""
    from scipy.special import stdtrit  # not scipy.stats, which takes half a second to import

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def judge(speedup: Estimate, noise_floor: float) -> Verdict:
    """Return the verdict on a speedup.

    Args:
        speedup: with its interval.
        noise_floor: δ; speedups between 1/(1 + δ) and 1 + δ count as no effect.
    """
    low, high = 1 / (1 + noise_floor), 1 + noise_floor
    if speedup.low > high:
        return Verdict.faster
    if speedup.high < low:
        return Verdict.slower
    if low <= speedup.low and speedup.high <= high:
        return Verdict.no_effect
    return Verdict.inconclusive
