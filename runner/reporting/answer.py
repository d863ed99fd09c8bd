"""The answer below a table: which configuration to take, how sure that is, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log

from runner.analysis.accuracy import Gate
from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge
from runner.results.result import Measurement, Result

UNTRAINED = ("probe", "random")
"""Weights whose accuracy says little about trained ones."""


def answer(results: Sequence[Result]) -> list[str]:
    """Return the answer of a sweep in one line; nothing if it measured nothing, or one thing against itself.

    Args:
        results: of all rows.
    """
    measured = [one for one in results if _is_eligible(one)]
    if not measured:
        return []
    if _has_several_machines(measured):
        return ["answer: none. Each kind of machine has a baseline of its own: see runner compare --by machine"]
    judged = [one for one in measured if _speed(one).verdict is not Verdict.too_noisy]
    if not judged:
        return ["answer: none. The machine was too noisy for every row: measure again when it is at rest"]
    ranked = fastest_first(results)
    if not ranked:
        return [f"answer: none of {len(judged)} measured rows passes the accuracy gate"]
    best = ranked[0]
    sentences = [_best(best), *_next(ranked), *_faster_but(best, judged), *_unknown(best, measured)]
    return ["answer: " + "; ".join(sentences)]


def fastest_first(results: Sequence[Result]) -> list[Result]:
    """Return the rows that can be the answer, the fastest first: measured in enough quiet, and not below the gate.

    There are none if several kinds of machines measured them: their speedups are over different baselines.
    """
    measured = [one for one in results if _is_eligible(one)]
    if _has_several_machines(measured):
        return []
    judged = [one for one in measured if _speed(one).verdict is not Verdict.too_noisy]
    allowed = [one for one in judged if one.accuracy is None or one.accuracy.gate is not Gate.failed]
    return sorted(allowed, key=lambda one: _speed(one).speedup.value, reverse=True)


def _has_several_machines(results: Sequence[Result]) -> bool:
    return len({one.machine_class for one in results}) > 1


def _is_eligible(result: Result) -> bool:
    """Return whether a row was measured, and not against itself or a part of itself."""
    return result.shown is not None and not result.settings.get("aa") and not result.settings.get("ablate")


def _speed(result: Result) -> Measurement:
    assert result.shown is not None
    return result.shown


def _best(best: Result) -> str:
    speed = _speed(best)
    if speed.verdict is not Verdict.faster:
        fastest = f"the fastest, {best.label}, is {_times(speed.speedup)} as fast: {speed.verdict}"
        return f"no row is faster than the baseline for sure; {fastest}"
    return f"take {best.label}: {_times(speed.speedup)} as fast as the baseline, {_accuracy(best)}"


def _accuracy(best: Result) -> str:
    """Return what a row costs in accuracy, in words."""
    found = best.accuracy
    if found is None:
        return "its accuracy is not known"
    if found.gate is None or found.delta_pp is None:
        if found.agreement_top1 is not None:
            return f"with the answers of fp32 for {100 * found.agreement_top1:.1f} % of the samples"
        if found.is_exact:
            return "its outputs exactly those of fp32"
        if found.sqnr_db is not None:
            return f"outputs at {found.sqnr_db:.0f} dB SQNR"
        return f"{100 * (found.lowest_equal_share or 0.0):.1f} % of the values of an output are those of fp32"
    unit = "%" if "perplexity" in found.scores else "points"
    how = "passes the gate" if found.gate_certain else f"seems to pass the gate, for {found.samples} samples"
    if found.delta_low_pp is None or found.delta_high_pp is None:
        return f"and {how} ({found.delta_pp:+.2f} {unit})"
    return (
        f"and {how} ({found.delta_pp:+.2f} {unit} of accuracy, {found.delta_low_pp:+.2f} … {found.delta_high_pp:+.2f})"
    )


def _next(ranked: Sequence[Result]) -> Iterator[str]:
    """Yield by how much the fastest beats the next, paired if they were measured side by side."""
    if len(ranked) < 2:
        return
    best, other = ranked[:2]
    ratio = paired_ratio(_speed(best), _speed(other))
    if ratio is None:
        yield f"the next, {other.label}, was not measured beside it"
        return
    verdict = judge(ratio, max(_speed(best).noise_floor, _speed(other).noise_floor))
    if verdict is Verdict.faster:
        yield f"it beats the next, {other.label}, by {_times(ratio)}, side by side"
    else:
        yield f"it cannot be told apart from {other.label} ({_times(ratio)}, side by side)"


def paired_ratio(first: Measurement, second: Measurement) -> Estimate | None:
    """Return the speed of one row over another, paired within the replicates of both; None if they share none."""
    logs = paired_logs(first, second)
    return None if logs is None else geometric_mean([one - other for one, other in zip(*logs, strict=True)])


def paired_logs(first: Measurement, second: Measurement) -> tuple[list[float], list[float]] | None:
    """Return the logarithms of two speedups in the replicates that both took part in; None if there are fewer than two.

    Rows of different blocks share none.
    """
    if not first.block or first.block != second.block:
        return None
    mine, others = ({one.number: log(one.speedup) for one in found.replicates} for found in (first, second))
    common = sorted(mine.keys() & others.keys())
    return ([mine[number] for number in common], [others[number] for number in common]) if len(common) >= 2 else None


def _faster_but(best: Result, judged: Sequence[Result]) -> Iterator[str]:
    """Yield the fastest row that is faster than the answer and fails the gate."""
    failed = [
        one
        for one in judged
        if one.accuracy is not None
        and one.accuracy.gate is Gate.failed
        and _speed(one).speedup.value > _speed(best).speedup.value
    ]
    if failed:
        fastest = max(failed, key=lambda one: _speed(one).speedup.value)
        sure = "" if fastest.accuracy and fastest.accuracy.gate_certain else ", though not for sure"
        yield f"{fastest.label} is faster ({_speed(fastest).speedup.value:.2f}×) and fails the gate{sure}"


def _unknown(best: Result, measured: Sequence[Result]) -> Iterator[str]:
    """Yield what the sweep does not tell."""
    unknown = []
    if best.settings.get("weights.name") in UNTRAINED:
        unknown.append(f"what it costs trained weights (these are weights={best.settings['weights.name']})")
    if best.settings.get("data.name") == "synthetic":
        unknown.append("accuracy on real data")
    noisy = [one.label for one in measured if _speed(one).verdict is Verdict.too_noisy]
    if noisy:
        unknown.append(f"the speed of {', '.join(noisy)} (too noisy)")
    if unknown:
        yield f"not known: {'; '.join(unknown)}"


def _times(estimate: Estimate) -> str:
    return f"{estimate.value:.2f}× ({estimate.low:.2f} … {estimate.high:.2f})"
