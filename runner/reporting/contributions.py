"""The contribution of each setting: the whole configuration measured against itself with that setting reverted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from runner.analysis.statistics import Estimate, Verdict
from runner.results.plan import SELF_COMPARISON, WHOLE, Plan
from runner.results.result import Result

Part = tuple[Plan, Result | None]
"""The plan of a setting's run, and its result; None if the run was not started."""


def lines(plans: Sequence[Plan], results: Sequence[Result | None]) -> list[str]:
    """Return the conclusions of a sweep's ablations; empty if it has none.

    Args:
        plans: all plans of the sweep.
        results: of the plans, in the same order; None for a run that was not started. It may be shorter than `plans`.
    """
    found: list[str] = []
    for whole, parts in _ablations(plans, results):
        found += _conclusion(whole, parts)
    return found


def multiply(parts: Sequence[Estimate]) -> Estimate:
    """Return the product of separately measured contributions; their errors are assumed independent."""
    centre = sum(math.log(part.value) for part in parts)
    margin = math.sqrt(sum((math.log(part.high / part.low) / 2) ** 2 for part in parts))
    return Estimate(math.exp(centre), math.exp(centre - margin), math.exp(centre + margin))


def _ablations(plans: Sequence[Plan], results: Sequence[Result | None]) -> Iterator[tuple[Result, list[Part]]]:
    """Yield each whole's result with its parts, which follow it; skip the parts of a whole that was not started."""
    found: tuple[Result, list[Part]] | None = None
    for plan, result in itertools.zip_longest(plans, results):
        if plan.part == WHOLE:
            if found:
                yield found
            found = (result, []) if result else None
        elif plan.part not in ("", SELF_COMPARISON) and found:
            found[1].append((plan, result))
    if found:
        yield found


def _conclusion(whole: Result, parts: Sequence[Part]) -> list[str]:
    text = [f"{whole.label}: {_shown(whole)} over the baseline; each setting alone, over the whole without it:"]
    started = [(plan, result) for plan, result in parts if result is not None]
    text += [f"  {plan.part}: {_shown(result)}" for plan, result in started]
    measured = [result.shown.speedup for _, result in started if result.shown]
    noisy = any(one.shown and one.shown.verdict is Verdict.too_noisy for one in (whole, *(part for _, part in started)))
    if whole.shown is None or noisy or len(measured) < max(2, len(parts)):
        return text
    product, speedup = multiply(measured), whole.shown.speedup
    last = f"  all of them multiplied: {_interval(product)}, the whole: {_interval(speedup)}: "
    if product.low > speedup.high:
        last += "the settings interact: each contributes more in combination than alone"
    elif product.high < speedup.low:
        last += "the settings interact: their effects overlap"
    else:
        last += "these intervals show no interaction"
    return [*text, last]


def _shown(result: Result) -> str:
    if result.shown is None:
        return f"{result.status}: {result.reason}"
    return f"{_interval(result.shown.speedup)}, {result.shown.verdict}"


def _interval(one: Estimate) -> str:
    return f"{one.value:.2f}× ({one.low:.2f} … {one.high:.2f})"
