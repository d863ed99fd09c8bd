"""Comparison of published and measured numbers, and the figure that shows both."""

import pytest

from runner.analysis.published import RowVerdict, compare, missing_isa
from runner.analysis.statistics import Estimate
from runner.reporting.figure import draw, pareto_front


@pytest.mark.parametrize(
    ("published", "measured", "missing", "verdict"),
    [
        (2.0, (2.0, 1.9, 2.1), [], RowVerdict.reproduced),
        (2.2, (2.0, 1.9, 2.1), [], RowVerdict.reproduced),  # 2.1 × 1.05 = 2.205
        (2.21, (2.0, 1.9, 2.1), [], RowVerdict.same_direction),
        (1.80, (2.0, 1.9, 2.1), [], RowVerdict.same_direction),  # 1.9 ÷ 1.05 = 1.8095
        (2.0, (0.9, 0.88, 0.92), [], RowVerdict.not_reproduced),
        (0.8, (0.5, 0.49, 0.51), [], RowVerdict.same_direction),
        (0.87, (1.15, 0.90, 1.46), [], RowVerdict.inconclusive),  # a wide interval
        (1.3, (1.01, 0.97, 1.05), [], RowVerdict.inconclusive),
        (1.3, (1.0, 0.99, 1.01), [], RowVerdict.not_reproduced),
        (3.3, (3.3, 3.2, 3.4), ["AMX BF16"], RowVerdict.not_comparable),
        (None, (3.3, 3.2, 3.4), ["AMX BF16"], RowVerdict.unpublished),
    ],
)
def test_verdict(published, measured, missing, verdict):
    assert compare(published, Estimate(*measured), 0.02, missing).verdict is verdict


@pytest.mark.parametrize(
    ("measured", "verdict", "reason"),
    [
        ((2.5, 2.4, 2.6), RowVerdict.reproduced, ""),
        ((3.1, 3.05, 3.2), RowVerdict.reproduced, ""),  # 3.05 ÷ 1.05 = 2.905
        ((1.8, 1.75, 1.85), RowVerdict.same_direction, ""),  # 1.85 × 1.05 = 1.9425
        ((5.0, 4.9, 5.1), RowVerdict.same_direction, "measured 5.00×, 1.67 of the published 2× to 3×"),
        ((0.9, 0.88, 0.92), RowVerdict.not_reproduced, "measured 0.90×, 0.45 of the published 2× to 3×"),
    ],
)
def test_verdict_on_a_range(measured, verdict, reason):
    """Any value in a published range is a match; outside, the distance to the nearer end counts."""
    found = compare(2.0, Estimate(*measured), 0.02, [], published_high=3.0)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_difference_above_a_quarter_has_a_reason():
    """1.4 instead of 2 gets a reason; 1.6 does not."""
    assert compare(2.0, Estimate(1.4, 1.38, 1.42), 0.02, []).reason == "measured 1.40×, 0.70 of the published 2.00×"
    assert compare(2.0, Estimate(1.6, 1.58, 1.62), 0.02, []).reason == ""


def test_missing_isa():
    assert missing_isa(["AMX BF16", "AVX2"], ["AVX2"]) == ["AMX BF16"]


def test_pareto_front():
    """The fastest point, then each point that is more accurate than all faster ones."""
    points = [(10, 99), (30, 97), (20, 98), (25, 97), (30, 96), (5, 99)]
    assert pareto_front(points) == [1, 2, 0]


def test_figure_is_drawn_with_and_without_numbers(tmp_path):
    """A row that was not measured shows its status; without any measured row there is no figure."""
    measured = {
        "tags.label": "4 bf16",
        "metrics.speedup": 3.0,
        "metrics.speedup_ci_low": 2.9,
        "metrics.speedup_ci_high": 3.1,
        "metrics.published_speedup": 3.3,
        "metrics.throughput": 80.0,
        "metrics.accuracy_top1": 0.97,
    }
    absent = {"tags.label": "7 ipex", "tags.status": "unavailable", "metrics.published_speedup": 6.0}
    assert draw([absent], "title", tmp_path) == []
    files = draw([measured, absent], "title", tmp_path)
    assert [file.name for file in files] == ["figure.png", "figure.svg"]
    assert files[0].stat().st_size > 10_000
    svg = files[1].read_text()
    for word in ("unavailable", "3.00×", "Pareto front"):
        assert word in svg
