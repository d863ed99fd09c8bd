"""Speedups, intervals and verdicts: exact numbers if the sample is small enough to calculate by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge


def test_geometric_mean_of_rounds():
    """The value is the geometric mean of the ratios."""
    assert geometric_mean([[math.log(2), math.log(8)]], seed=0).value == pytest.approx(4)


def test_one_process_gives_the_classical_t_interval():
    """With one process the corrected standard error of the bootstrap is s/√n."""
    logs = [0.00, 0.01, 0.03, 0.02, 0.05, 0.01, 0.00, 0.04]
    low, high = stats.t.interval(0.95, len(logs) - 1, np.mean(logs), stats.sem(logs))
    estimate = geometric_mean([logs], seed=0)
    assert math.log(estimate.low) == pytest.approx(low, rel=0.15)
    assert math.log(estimate.high) == pytest.approx(high, rel=0.03)


def test_processes_that_differ_widen_the_interval():
    """Rounds that agree within each process do not narrow the interval if processes differ."""
    alike = geometric_mean([[0.00, 0.01], [0.01, 0.00], [0.00, 0.01]], seed=0)
    apart = geometric_mean([[-0.03, -0.02], [0.00, 0.01], [0.03, 0.04]], seed=0)
    assert apart.half_width > 3 * alike.half_width


def test_the_same_seed_gives_the_same_interval():
    """So that a recorded interval can be recomputed."""
    logs = [[0.1, 0.2, 0.15], [0.12, 0.11, 0.2]]
    assert geometric_mean(logs, seed=3) == geometric_mean(logs, seed=3)


@pytest.mark.parametrize("logs", [[], [[]], [[0.1, 0.2], []], [[0.1]]])
def test_too_few_rounds_have_no_interval(logs):
    """An interval needs two rounds, and every process needs one."""
    with pytest.raises(ValueError, match="round"):
        geometric_mean(logs, seed=0)


@pytest.mark.parametrize("noise", ["white", "heavy tail", "drift"])
def test_interval_covers_the_truth(noise):
    """At least 93 % of the 95 % intervals of 8 rounds contain the true ratio."""
    generator = np.random.default_rng(7)
    covered = 0
    trials = 600
    for _ in range(trials):
        errors = generator.normal(0, 0.02, 8)
        if noise == "heavy tail":
            errors = 0.01 * generator.standard_t(3, 8)
        if noise == "drift":  # drift common to both sides of a pair leaves a small remainder, in random order
            errors = errors + generator.choice([-1, 1], 8) * 0.005
        estimate = geometric_mean([list(math.log(1.05) + errors)], seed=0)
        covered += estimate.low <= 1.05 <= estimate.high
    assert covered / trials >= 0.93


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
