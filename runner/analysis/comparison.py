"""One quantity measured twice: the ratio with its interval, and whether it fell by more than is allowed.

Samples of two times are independent, so Welch's t applies to their logarithms (B. L. Welch, "The generalization of
'Student's' problem when several different population variances are involved", Biometrika 34, 1947). Samples that were
measured side by side are paired: Student's t applies to the differences of their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, variance

from runner.analysis.statistics import CONFIDENCE, Estimate, Verdict, judge, student_t


class Change(StrEnum):
    """What two measurements of one configuration say about each other."""

    faster = "faster"
    """The whole interval of the ratio lies above 1 + δ."""
    slower = "slower"
    """The whole interval lies below 1 - δ."""
    unchanged = "unchanged"
    """The whole interval lies within 1 ± δ."""
    cannot_tell = "cannot tell"
    """None of these: the interval is too wide."""


CHANGES = {
    Verdict.faster: Change.faster,
    Verdict.slower: Change.slower,
    Verdict.no_effect: Change.unchanged,
    Verdict.inconclusive: Change.cannot_tell,
}
"""The verdict on a speedup, in words for two times."""


@dataclass(frozen=True)
class LogDifference:
    """The difference of two means of logarithms."""

    difference: float
    """Of the second from the first."""
    error: float
    """Its standard error."""
    freedom: float
    """Degrees of freedom; of independent samples by Satterthwaite's approximation."""

    @property
    def ratio(self) -> Estimate:
        """The ratio of the second to the first, with its 95 % interval."""
        margin = student_t(self.freedom) * self.error
        centre = self.difference
        return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))

    def p_value_below(self, ratio: float) -> float:
        """Return the probability of such data if the true ratio is not below `ratio`."""
        from scipy.special import stdtr

        if self.error == 0.0:
            return 0.0 if self.difference < math.log(ratio) else 1.0
        return float(stdtr(self.freedom, (self.difference - math.log(ratio)) / self.error))


def compare_independent(first: Sequence[float], second: Sequence[float]) -> LogDifference:
    """Return the difference of two independent samples of logarithms, one for each replicate.

    Raises:
        ValueError: one has fewer than two replicates.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a comparison needs at least two replicates on both sides")
    parts = [variance(sample) / len(sample) for sample in (first, second)]
    total = sum(parts)
    freedom = (
        total**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True))
        if total
        else float(len(first) + len(second) - 2)
    )
    return LogDifference(fmean(second) - fmean(first), math.sqrt(total), freedom)


def compare_paired(first: Sequence[float], second: Sequence[float]) -> LogDifference:
    """Return the difference of two paired samples of logarithms, one for each replicate that both took part in.

    Raises:
        ValueError: there are fewer than two, or the samples differ in length.
    """
    differences = [other - one for one, other in zip(first, second, strict=True)]
    if len(differences) < 2:
        raise ValueError("a comparison needs at least two replicates on both sides")
    error = math.sqrt(variance(differences) / len(differences))
    return LogDifference(fmean(differences), error, float(len(differences) - 1))


def judge_change(ratio: Estimate, noise_floor: float) -> Change:
    """Return the verdict on a ratio of two times.

    Args:
        ratio: with its interval.
        noise_floor: δ; ratios between 1/(1 + δ) and 1 + δ count as no change.
    """
    return CHANGES[judge(ratio, noise_floor)]


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Return which hypotheses are rejected, so that any wrong rejection among all has at most the probability `level`.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Args:
        p_values: one for each hypothesis.
        level: probability of at least one wrong rejection.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = [False] * len(p_values)
    for place, index in enumerate(order):
        if p_values[index] > level / (len(p_values) - place):
            break
        rejected[index] = True
    return rejected
