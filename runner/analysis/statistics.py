"""Paired speedups, their intervals, and the verdicts on them. Pure functions.

A round gives one log-ratio, log(candidate throughput / baseline throughput); a process pair gives several rounds. The
speedup is the geometric mean. Its interval uses the standard error of a hierarchical bootstrap (processes are drawn,
then rounds within each process), corrected for small samples: a plain percentile bootstrap of 8 rounds covers about
90 % instead of 95 % (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4),
2015, sections 3 and 4). Therefore deviations are scaled by √(n/(n−1)) on each level and the quantile is Student's t.
With one process and normal rounds this is exactly the classical t interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 4000
"""Number of bootstrap resamples: it determines the standard error to about 1 % (1/√(2·4000))."""


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
    slower = "slower"
    no_effect = "no measurable effect"
    inconclusive = "inconclusive"
    too_noisy = "too noisy"
    """The machine was too noisy for a conclusion."""


def geometric_mean(logs_by_process: Sequence[Sequence[float]], seed: int) -> Estimate:
    """Return the geometric mean of positive quantities with its 95 % interval.

    Args:
        logs_by_process: natural logarithms, one sequence of rounds per process pair.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no process, a process has no round, or there is only one round in total.
    """
    processes = [np.asarray(logs, dtype=np.float64) for logs in logs_by_process]
    if not processes or any(rounds.size == 0 for rounds in processes):
        raise ValueError("every process needs at least one round")
    if sum(rounds.size for rounds in processes) < 2:
        raise ValueError("an interval needs at least two rounds")
    means = np.array([rounds.mean() for rounds in processes])
    centre = float(means.mean())
    error = _standard_error(processes, means, np.random.default_rng(seed))
    freedom = (len(processes) if len(processes) > 1 else processes[0].size) - 1
    margin = _student_t(freedom) * error
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


def _standard_error(
    processes: list[NDArray[np.float64]], means: NDArray[np.float64], generator: np.random.Generator
) -> float:
    """Return the bootstrap standard error of the mean over processes of the means over rounds."""
    count = len(processes)
    between = np.zeros(count) if count == 1 else (means - means.mean()) * math.sqrt(count / (count - 1))
    resampled_means = np.empty((RESAMPLES, count))
    for index, rounds in enumerate(processes):
        size = rounds.size
        within = np.zeros(1) if size == 1 else (rounds - rounds.mean()) * math.sqrt(size / (size - 1))
        drawn = generator.integers(0, size, (RESAMPLES, size))
        resampled_means[:, index] = within[drawn].mean(axis=1) + between[index]
    chosen = generator.integers(0, count, (RESAMPLES, count))
    totals = np.take_along_axis(resampled_means, chosen, axis=1).mean(axis=1)
    return float(totals.std())


def _student_t(freedom: int) -> float:
    from scipy.stats import t  # imported here because it takes most of a second

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


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
