"""Which runs of a sweep are measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from runner.config.schema import SESSION_FIELDS, RunConfig
from runner.results.plan import SELF_COMPARISON, Plan

BESIDES = frozenset({"row", "baseline", "reference", "aa", "ablate", *SESSION_FIELDS})
"""Fields of a run that say what it is compared with, and do not affect its processes."""


def group(plans: Sequence[Plan], numbers: Sequence[int]) -> list[int]:
    """Return the runs that can share a block with the first: those of its baseline, and measured for as long.

    Each run of an A/A calibration has a block of its own, because the runs must be independent of one another; and so
    has a run that is only checked, because it has no baseline.

    Args:
        plans: of the sweep.
        numbers: of runs that are not measured yet, in order; at least one.
    """
    first = plans[numbers[0]]
    if first.part == SELF_COMPARISON or first.config.measure.check:
        return [numbers[0]]
    return [number for number in numbers if _shares(plans[number], first)]


def _shares(plan: Plan, first: Plan) -> bool:
    same = plan.config.measure == first.config.measure and plan.config.model == first.config.model
    return plan.part != SELF_COMPARISON and same and _runs(plan.baseline) == _runs(first.baseline)


def _runs(config: RunConfig) -> dict[str, Any]:
    """Return the fields of a configuration that affect its processes."""
    return {name: value for name, value in asdict(config).items() if name not in BESIDES}
