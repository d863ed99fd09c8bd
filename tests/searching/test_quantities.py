"""What a result says about a bound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.metrics import metrics
from runner.searching.bounds import Met, parse_bound
from runner.searching.quantities import binomial_interval, estimate, judge
from tests.reporting.test_answer import ACCURACY, side_by_side

ROW = side_by_side("a", [2.0, 2.1, 1.9], settings={"model.name": "resnet18"})


def test_the_binomial_interval_of_tables():
    """Clopper and Pearson: 0 of 10, and 3 of 10."""
    assert binomial_interval(0, 10) == (0.0, pytest.approx(0.3085, abs=1e-4))
    assert binomial_interval(3, 10) == (pytest.approx(0.0667, abs=1e-4), pytest.approx(0.6525, abs=1e-4))
    assert binomial_interval(10, 10) == (pytest.approx(0.6915, abs=1e-4), 1.0)


@pytest.mark.parametrize(
    ("late", "count", "expected"),
    [
        (0, 100, Met.uncertain),
        (0, 1000, Met.met),
        (6, 100, Met.broken),
        (2, 100, Met.uncertain),
        (30, 1000, Met.broken),
    ],
)
def test_a_percentile_is_decided_by_counting_late_batches(late, count, expected):
    """A few break it; keeping it takes a thousand."""
    batches = [50.0] * (count - late) + [70.0] * late
    assert judge(parse_bound("latency_p99_ms<=60"), ROW, batches) is expected


def test_the_median_needs_few_batches():
    assert judge(parse_bound("latency_p50_ms<=60"), ROW, [50.0] * 20) is Met.met
    assert judge(parse_bound("latency_p50_ms<=60"), ROW, [70.0] * 20) is Met.broken


def test_no_batches_say_nothing():
    assert judge(parse_bound("latency_p50_ms<=60"), ROW, []) is Met.unknown


def test_what_is_lost_in_both_units():
    """Top-1 fell from 0.8 by one point (-2 … 0): by 1.25 per cent."""
    accuracy = replace(ACCURACY, reference_top1=0.8, delta_pp=-1.0, delta_low_pp=-2.0, delta_high_pp=0.0)
    row = replace(ROW, accuracy=accuracy)
    points, percent = estimate("accuracy_drop_pp", row), estimate("accuracy_drop", row)
    assert points is not None
    assert percent is not None
    assert (points.value, points.low, points.high) == (1.0, 0.0, 2.0)
    assert (percent.value, percent.low, percent.high) == (pytest.approx(1.25), 0.0, pytest.approx(2.5))
    assert metrics(row)["accuracy_drop"] == pytest.approx(1.25)
    assert metrics(row)["accuracy_drop_pp"] == 1.0
    assert judge(parse_bound("accuracy_drop<=1%"), row, []) is Met.uncertain
    assert judge(parse_bound("accuracy_drop_pp<=2"), row, []) is Met.met


def test_agreement_has_an_exact_interval():
    row = replace(ROW, accuracy=replace(ACCURACY, agreement_top1=0.99, samples=100))
    found = estimate("agreement_top1", row)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.9455, 0.9997), abs=1e-4)


def test_a_single_number_has_no_width():
    row = replace(ROW, load_s=2.5)
    assert judge(parse_bound("load_s<=2.5"), row, []) is Met.met
    assert judge(parse_bound("load_s<=2.4"), row, []) is Met.broken
    assert estimate("first_token_ms", row) is None
