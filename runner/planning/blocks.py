"""Which runs of a sweep are measured side by side."""

from __future__ import annotations

from collections.abc import Sequence

from runner.results.plan import SELF_COMPARISON, Plan


def group(plans: Sequence[Plan], numbers: Sequence[int]) -> list[int]:
    """Return the runs that can share a block with the first: those of its baseline, and measured for as long.

    Each run of an A/A calibration has a block of its own, because the runs must be independent of one another.

    Args:
        plans: of the sweep.
        numbers: of runs that are not measured yet, in order; at least one.
    """
    first = plans[numbers[0]]
    if first.part == SELF_COMPARISON:
        return [numbers[0]]
    return [number for number in numbers if _shares(plans[number], first)]


def _shares(plan: Plan, first: Plan) -> bool:
    return plan.part != SELF_COMPARISON and (plan.baseline, plan.config.measure, plan.config.model) == (
        first.baseline,
        first.config.measure,
        first.config.model,
    )
