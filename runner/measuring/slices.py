"""Arithmetic over slices and rounds: throughput, ratios, batch times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

from runner.analysis.statistics import Estimate, geometric_mean
from runner.config.schema import MeasureConfig
from runner.machine.interference import Noise
from runner.protocol import Slice
from runner.results.status import RunFailed, Status


@dataclass(frozen=True)
class Round:
    """One slice of the candidate and one of its baseline, timed one right after the other."""

    process: int
    """Number of the process pair, from 0."""
    candidate_first: bool
    candidate: list[Slice]
    """One slice per instance."""
    baseline: list[Slice]
    batch_size: int
    """The candidate's."""
    baseline_batch_size: int
    noise: Noise = field(default_factory=Noise)
    """The larger of what disturbed the two slices."""
    guarded: bool = True
    """Whether disturbances contaminate the round: `measure.guards`."""

    @property
    def clean(self) -> bool:
        """Whether the round counts: nothing from outside contaminated it, or the guards are off."""
        return not self.guarded or not self.noise.disturbances()

    @property
    def candidate_throughput(self) -> float:
        """Samples per second of the candidate's slice."""
        return throughput(self.candidate, self.batch_size)

    @property
    def baseline_throughput(self) -> float:
        """Samples per second of the baseline's slice."""
        return throughput(self.baseline, self.baseline_batch_size)

    @property
    def log_ratio(self) -> float:
        """Natural logarithm of candidate over baseline."""
        return log(self.candidate_throughput / self.baseline_throughput)


def is_too_noisy(clean: int, contaminated: int, measure: MeasureConfig) -> bool:
    """Return whether a machine is too noisy: most rounds are contaminated, and more than `rounds_min`."""
    return contaminated > max(measure.rounds_min, clean)


def lanes(parts: Sequence[Slice]) -> list[list[int]]:
    """Return the stamps of every request in flight, of all instances."""
    return [stamps for part in parts for stamps in part.stamps_ns]


def window_ns(parts: Sequence[Slice]) -> tuple[int, int]:
    """Return the window in which all were timed: from the last that started to the first that ended, in ns.

    Raises:
        RunFailed: there is no such window.
    """
    begin, end = max(stamps[0] for stamps in lanes(parts)), min(stamps[-1] for stamps in lanes(parts))
    if end <= begin:
        raise RunFailed(Status.failed, "the slices of the instances did not overlap: raise measure.slice_s")
    return begin, end


def throughput(parts: Sequence[Slice], batch_size: int) -> float:
    """Return the samples per second of all requests and instances: everything in their common window over its time.

    A batch that crosses a border of the window counts by its part within.
    """
    window = window_ns(parts)
    batches = 0.0
    for stamps in lanes(parts):
        first, last = np.interp(window, stamps, np.arange(len(stamps)))
        batches += float(last - first)
    return batches * batch_size / duration_s(parts)


def duration_s(parts: Sequence[Slice]) -> float:
    """Return the timed seconds of a slice."""
    begin, end = window_ns(parts)
    return (end - begin) / 1e9


def batch_times_ms(parts: Sequence[Slice]) -> list[float]:
    """Return the milliseconds of every batch inside the common window of a slice."""
    begin, end = window_ns(parts)
    return [
        (after - before) / 1e6
        for stamps in lanes(parts)
        for before, after in itertools.pairwise(stamps)
        if begin <= before and after <= end
    ]


def estimate_speedup(rounds: Sequence[Round], seed: int) -> Estimate:
    """Return the paired speedup of the rounds, grouped by process pair."""
    return geometric_mean(by_process(rounds, lambda one: one.log_ratio), seed)


def by_process(rounds: Sequence[Round], value: Callable[[Round], float]) -> list[list[float]]:
    """Return a value of each round, one list per process pair."""
    grouped: dict[int, list[float]] = {}
    for one in rounds:
        grouped.setdefault(one.process, []).append(value(one))
    return list(grouped.values())
