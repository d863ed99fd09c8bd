"""Speedups, intervals and verdicts: exact numbers if the sample is small enough to calculate by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge


def test_geometric_mean_of_replicates():
    """The value is the geometric mean of the ratios."""
    assert geometric_mean([math.log(2), math.log(8)]).value == pytest.approx(4)


def test_the_interval_is_students_t_over_replicates():
    """As scipy computes it."""
    logs = [0.00, 0.01, 0.03, 0.02, 0.05]
    low, high = stats.t.interval(0.95, len(logs) - 1, np.mean(logs), stats.sem(logs))
    estimate = geometric_mean(logs)
    assert (math.log(estimate.low), math.log(estimate.high)) == pytest.approx((low, high))
    assert estimate.half_width == pytest.approx((math.exp(high) - math.exp(low)) / 2 / math.exp(0.022))


@pytest.mark.parametrize("logs", [[], [0.1]])
def test_one_replicate_has_no_interval(logs):
    """Nothing is known about the spread."""
    with pytest.raises(ValueError, match="two replicates"):
        geometric_mean(logs)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.021, 1.05, Verdict.faster),
        (1.019, 1.05, Verdict.inconclusive),
        (0.95, 0.979, Verdict.slower),
        (0.95, 0.99, Verdict.inconclusive),
        (0.985, 1.015, Verdict.no_effect),
        (0.97, 1.03, Verdict.inconclusive),
    ],
)
def test_verdict(low, high, verdict):
    """A verdict needs the whole interval on one side of the noise floor."""
    assert judge(Estimate((low * high) ** 0.5, low, high), noise_floor=0.02) is verdict
