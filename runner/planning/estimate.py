"""What runs will take, in time and memory: from results of earlier runs of their kind, else from their settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from runner.config.schema import MeasureConfig
from runner.results.locate import sweep_folders
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import read_results

MAX_RESULTS = 300
"""Earlier results that are read, the newest first: reading more would take longer than an answer may."""
KIND = ("model.name", "model.image_size", "backend.name", "precision.name", "batch_size", "instances", "measure.name")
"""Settings in which an earlier run must agree to be of a run's kind."""


@dataclass(frozen=True)
class RunEstimate:
    """What one run is expected to take."""

    seconds_low: float
    seconds_high: float
    rss_peak_mib: float | None
    """Of the candidate's processes together; None if no earlier run of the kind was measured."""
    earlier: int
    """How many earlier runs of its kind the estimate comes from. With 0 the seconds are those of rounds and warm-up
    alone: what preparing takes is not known."""


def estimate(plans: Sequence[Plan], output_dir: Path) -> list[RunEstimate]:
    """Return an estimate for each plan.

    Args:
        plans: of one sweep.
        output_dir: whose sweeps are looked at.
    """
    earlier: dict[tuple[str, ...], list[Result]] = {}
    for result in itertools.islice(_results(output_dir), MAX_RESULTS):
        earlier.setdefault(_kind(result.settings), []).append(result)
    return [_estimate(plan, earlier.get(_kind(plan.settings), [])) for plan in plans]


def _results(output_dir: Path) -> Iterator[Result]:
    """Yield the results of runs that succeeded, the newest sweep first."""
    for folder in reversed(sweep_folders(output_dir)):
        for _, result in read_results(folder):
            if isinstance(result, Result) and result.status is Status.ok:
                yield result


def _kind(settings: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(settings.get(name)) for name in KIND)


def _estimate(plan: Plan, earlier: Sequence[Result]) -> RunEstimate:
    if not earlier:
        return RunEstimate(*_bounds_s(plan.config.measure), None, 0)
    peaks = [result.rss_peak_mib for result in earlier if result.rss_peak_mib is not None]
    seconds = [result.wall_s for result in earlier]
    return RunEstimate(min(seconds), max(seconds), fmean(peaks) if peaks else None, len(earlier))


def _bounds_s(measure: MeasureConfig) -> tuple[float, float]:
    """Return the seconds of a run's rounds and its baseline's, and of rounds and warm-up at most."""
    if measure.check:
        return 0.0, 0.0
    slices_s = measure.replicates * measure.rounds * 2 * 2 * (measure.slice_s + measure.settle_s)
    return slices_s, slices_s + 2 * measure.warmup_s
