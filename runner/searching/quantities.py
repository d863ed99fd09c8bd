"""What a result says about each quantity: its value with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from runner.analysis.accuracy import Accuracy
from runner.analysis.statistics import CONFIDENCE, Estimate
from runner.results.metrics import metrics
from runner.results.result import Result
from runner.searching.bounds import Bound, Met

PERCENTILES = {"latency_p50_ms": 0.5, "latency_p90_ms": 0.9, "latency_p99_ms": 0.99}
"""Share of the batches that are not slower."""
MIN_BATCHES = {"latency_p99_ms": 1000}
"""Batches from which a bound on a percentile can be met; it shows earlier that it is broken."""


def estimate(name: str, result: Result) -> Estimate | None:
    """Return a quantity of a result with its interval; None if it was not measured.

    A quantity that is measured once, such as the size of an artifact, has an interval without width.

    Args:
        name: of the quantity; percentiles have no interval here, see :func:`judge`.
        result: of the row.
    """
    if result.accuracy is not None and name in _OF_ACCURACY:
        return _OF_ACCURACY[name](result.accuracy)
    measured = result.measurement
    if name == "throughput":
        return measured.throughput if measured else None
    if name == "tokens_per_s" and measured is not None:
        factor = measured.new_tokens or measured.tokens_per_sample
        speed = measured.throughput
        return Estimate(*(factor * one for one in (speed.value, speed.low, speed.high))) if factor else None
    value = metrics(result).get(name)
    return None if value is None else Estimate(value, value, value)


def judge(bound: Bound, result: Result, batches_ms: Sequence[float]) -> Met:
    """Return whether a row keeps a bound.

    A bound on a percentile is decided by counting batches that are later than its limit: with the exact binomial
    interval of their share (Clopper and Pearson, Biometrika 26, 1934). So a few late ones break a bound on the 99th
    percentile, while keeping it takes a thousand batches.

    Args:
        bound: of the search.
        result: of the row.
        batches_ms: duration of every timed batch.
    """
    if bound.name not in PERCENTILES or bound.operator != "<=":
        return bound.judge(estimate(bound.name, result))
    if not len(batches_ms):
        return Met.unknown
    late = sum(time > bound.limit for time in batches_ms)
    low, high = binomial_interval(late, len(batches_ms))
    allowed = 1 - PERCENTILES[bound.name]
    if low > allowed:
        return Met.broken
    enough = len(batches_ms) >= MIN_BATCHES.get(bound.name, 0)
    return Met.met if high <= allowed and enough else Met.uncertain


@cache
def binomial_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share, from how often something happened."""
    from scipy.special import betaincinv  # quantiles of the beta distribution (Clopper and Pearson, 1934)

    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high


def _drop_pp(accuracy: Accuracy) -> Estimate | None:
    ends = (accuracy.drop_pp, accuracy.delta_high_pp, accuracy.delta_low_pp)
    if any(one is None for one in ends):
        return None
    value, best, worst = (float(one) for one in ends if one is not None)
    return Estimate(value, -best, -worst)


def _drop(accuracy: Accuracy) -> Estimate | None:
    ends = (accuracy.delta_pp, accuracy.delta_high_pp, accuracy.delta_low_pp)
    factor = accuracy.percent_per_point
    if any(one is None for one in ends) or math.isinf(factor):
        return None
    value, best, worst = (-factor * float(one) for one in ends if one is not None)
    return Estimate(value, best, worst)


def _agreement(accuracy: Accuracy) -> Estimate | None:
    share = accuracy.agreement_top1
    if share is None:
        return None
    low, high = binomial_interval(round(share * accuracy.samples), accuracy.samples)
    return Estimate(share, low, high)


_OF_ACCURACY: Mapping[str, Callable[[Accuracy], Estimate | None]] = {
    "accuracy_drop_pp": _drop_pp,
    "accuracy_drop": _drop,
    "agreement_top1": _agreement,
}
