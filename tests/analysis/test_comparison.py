"""Comparisons across time: Welch's interval, and Holm's correction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from runner.analysis.comparison import Change, compare_independent, compare_paired, holm, judge_change
from runner.analysis.statistics import Estimate


def test_paired_samples_are_those_of_scipy():
    """Student's t over the differences; a common scatter does not widen it."""
    first, second = [0.0, 0.4, 0.2], [0.1, 0.52, 0.29]
    found = compare_paired(first, second)
    interval = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert math.log(found.ratio.low) == pytest.approx(interval.low)
    assert math.log(found.ratio.high) == pytest.approx(interval.high)
    with pytest.raises(ValueError, match="two replicates"):
        compare_paired([0.0], [0.1])


def test_welch_is_that_of_scipy():
    """Interval and degrees of freedom, for samples of different size and spread."""
    first, second = [0.0, 0.1, 0.05], [0.2, 0.5, 0.3, 0.4]
    found = compare_independent(first, second)
    own = stats.ttest_ind(second, first, equal_var=False)
    interval = own.confidence_interval(0.95)
    assert found.freedom == pytest.approx(own.df)
    assert math.log(found.ratio.low) == pytest.approx(interval.low)
    assert math.log(found.ratio.high) == pytest.approx(interval.high)
    below = stats.ttest_ind([one - math.log(0.97) for one in second], first, equal_var=False, alternative="less")
    assert found.p_value_below(0.97) == pytest.approx(below.pvalue)


def test_equal_replicates():
    """No spread at all is no division by zero."""
    found = compare_independent([0.0, 0.0], [0.1, 0.1])
    assert (found.ratio.low, found.ratio.high) == (math.exp(0.1), math.exp(0.1))
    assert (found.p_value_below(0.97), found.p_value_below(2.0)) == (1.0, 0.0)
    with pytest.raises(ValueError, match="at least two replicates"):
        compare_independent([0.0], [0.1, 0.1])


@pytest.mark.parametrize(
    ("interval", "change"),
    [
        ((1.02, 1.05), Change.faster),
        ((0.9, 0.98), Change.slower),
        ((0.995, 1.005), Change.unchanged),
        ((0.97, 1.03), Change.cannot_tell),
    ],
)
def test_verdicts(interval, change):
    """By where the interval lies, with δ = 1 %."""
    assert judge_change(Estimate(1.0, *interval), 0.01) is change


def test_holm():
    """The smallest is compared with 5 % over all, the next with 5 % over the rest; the first that fails ends it."""
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.01, 0.02, 0.024]) == [True, True, True]
    assert holm([]) == []


def test_unchanged_sweeps_rarely_fail():
    """In 400 simulated comparisons of six rows, without any change, at most 5 % (and chance) break a limit of 0 %."""
    generator = np.random.default_rng(0)
    broken = 0
    for _ in range(400):
        draws = generator.normal(0, 0.02, (6, 2, 5))
        p_values = [compare_independent(list(first), list(second)).p_value_below(1.0) for first, second in draws]
        broken += any(holm(p_values))
    assert broken <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)
