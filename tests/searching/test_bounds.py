"""Goals and bounds: their words, and what an interval says about them."""

from __future__ import annotations

import pytest

from runner.analysis.statistics import Estimate
from runner.errors import ConfigurationError
from runner.searching.bounds import GOALS, QUANTITIES, Bound, Met, contradiction, is_bound, parse_bound


@pytest.mark.parametrize(
    ("word", "name", "operator", "limit"),
    [
        ("latency_p99_ms<=60", "latency_p99_ms", "<=", 60.0),
        ("latency_p99_ms <= 0.06 s", "latency_p99_ms", "<=", 60.0),
        ("accuracy_drop<=1%", "accuracy_drop", "<=", 1.0),
        ("accuracy_drop<=1", "accuracy_drop", "<=", 1.0),
        ("accuracy_drop_pp<=0.5pp", "accuracy_drop_pp", "<=", 0.5),
        ("rss_peak_mib<=2GiB", "rss_peak_mib", "<=", 2048.0),
        ("agreement_top1>=99%", "agreement_top1", ">=", 0.99),
        ("agreement_top1>=99.5", "agreement_top1", ">=", 0.995),
        ("throughput>=1e3", "throughput", ">=", 1000.0),
        ("sqnr_db>=-3 dB", "sqnr_db", ">=", -3.0),
    ],
)
def test_a_bound_is_read(word, name, operator, limit):
    assert is_bound(word)
    assert parse_bound(word) == Bound(name, operator, pytest.approx(limit))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("latency_p99<=60", "Did you mean latency_p99_ms?"),
        ("latency_p99_ms<60", "Write 'latency_p99_ms<=60'"),
        ("throughput>3", "Write 'throughput>=3'"),
        ("throughput==3", "<= and >=: an interval never equals a number"),
        ("latency_p99_ms<=60min", "allowed: ms, s"),
        ("throughput>=fast", "a number behind >="),
        ("accuracy_drop<=", "a number behind <="),
        ("<=3", "Did you mean"),
    ],
)
def test_a_mistake_names_what_is_allowed(word, message):
    assert is_bound(word)
    with pytest.raises(ConfigurationError) as raised:
        parse_bound(word)
    [mistake] = raised.value.mistakes
    assert message in str(mistake)
    assert repr(word) in str(mistake)


@pytest.mark.parametrize("word", ["backend=ort,openvino", "model.path=a<b.onnx", "data.text='a>=b'", "goal=throughput"])
def test_an_override_is_no_bound(word):
    """Whatever signs its value has."""
    assert not is_bound(word)


@pytest.mark.parametrize(
    ("word", "interval", "expected"),
    [
        ("accuracy_drop<=1", (0.5, 0.2, 0.9), Met.met),
        ("accuracy_drop<=1", (0.5, 0.2, 1.0), Met.met),
        ("accuracy_drop<=1", (0.5, -0.2, 1.2), Met.uncertain),
        ("accuracy_drop<=1", (2.0, 1.1, 2.9), Met.broken),
        ("throughput>=100", (120, 101, 140), Met.met),
        ("throughput>=100", (90, 80, 99), Met.broken),
        ("throughput>=100", (100, 99, 101), Met.uncertain),
    ],
)
def test_the_interval_decides(word, interval, expected):
    assert parse_bound(word).judge(Estimate(*interval)) is expected


def test_what_was_not_measured_is_unknown():
    assert parse_bound("throughput>=100").judge(None) is Met.unknown


def test_a_bound_is_written_as_it_is_read():
    words = ["latency_p99_ms<=60ms", "agreement_top1>=99%", "accuracy_drop<=1%", "throughput>=3samples/s"]
    assert [str(parse_bound(word)) for word in words] == words


def test_contradictory_bounds():
    found = [parse_bound(word) for word in ("throughput>=100", "throughput<=50", "load_s<=1")]
    assert contradiction(found) == "throughput>=100samples/s and throughput<=50samples/s"
    assert contradiction(found[1:]) == ""


def test_every_goal_is_a_quantity_with_a_direction():
    assert set(GOALS) <= set(QUANTITIES)
    assert {metric.better for metric in QUANTITIES.values()} == {"higher", "lower"}


def test_the_excess_of_a_miss_is_relative_to_the_limit():
    assert parse_bound("load_s<=2").excess(Estimate(3, 3, 3)) == pytest.approx(0.5)
    assert parse_bound("throughput>=100").excess(Estimate(90, 80, 99)) == pytest.approx(0.1)
