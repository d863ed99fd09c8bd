"""Arithmetic over slices and rounds: throughput, ratios, batch times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log
from statistics import fmean

import numpy as np

from runner.machine.interference import Noise, worst
from runner.protocol import Slice
from runner.results.status import RunFailed, Status


@dataclass(frozen=True)
class Turn:
    """One timed slice of a member of a block: a part per instance, and what disturbed the machine meanwhile."""

    parts: list[Slice]
    noise: Noise = field(default_factory=Noise)

    @property
    def timed_s(self) -> float:
        """Timed seconds, of all parts together; 0 if they did not overlap."""
        begin, end = _window_ns(self.parts)
        return max(0, end - begin) / 1e9


@dataclass(frozen=True)
class Round:
    """Two turns of a candidate and two of its baseline: one on the way forward through the block, one on the way back.

    So both are timed around the same moment on average, and a linear drift of the machine cancels in their ratio.
    """

    replicate: int
    """Number of the replicate, from 0: a fresh process of each side."""
    position: int
    """Place of the candidate on the way forward, from 0."""
    baseline_position: int
    candidate: list[Turn]
    """In the order in which they were timed, like those of the baseline."""
    baseline: list[Turn]
    batch_size: int
    """The candidate's."""
    baseline_batch_size: int
    guarded: bool = True
    """Whether disturbances contaminate the round: `measure.guards`."""

    @cached_property
    def noise(self) -> Noise:
        """The largest of what disturbed the four turns."""
        return worst(turn.noise for turn in (*self.candidate, *self.baseline))

    @cached_property
    def clean(self) -> bool:
        """Whether the round counts: nothing from outside contaminated it, or the guards are off."""
        return not self.guarded or not self.noise.disturbances()

    @cached_property
    def candidate_log(self) -> float:
        """Natural logarithm of the candidate's samples per second, the mean of its turns."""
        return _mean_log(self.candidate, self.batch_size)

    @cached_property
    def baseline_log(self) -> float:
        """Natural logarithm of the baseline's samples per second, the mean of its turns."""
        return _mean_log(self.baseline, self.baseline_batch_size)

    @cached_property
    def log_ratio(self) -> float:
        """Natural logarithm of candidate over baseline."""
        return self.candidate_log - self.baseline_log

    def check(self) -> None:
        """Check that the turns give a ratio.

        Raises:
            RunFailed: the instances of a turn did not overlap.
        """
        for turn in (*self.candidate, *self.baseline):
            window_ns(turn.parts)


def _mean_log(turns: Sequence[Turn], batch_size: int) -> float:
    return fmean(log(throughput(turn.parts, batch_size)) for turn in turns)


def clean_rounds(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds that count: of each replicate the clean ones, or all if none of it is clean."""
    found: list[Round] = []
    for same in by_replicate(rounds):
        found += [one for one in same if one.clean] or same
    return found


def by_replicate(rounds: Sequence[Round]) -> list[list[Round]]:
    """Return the rounds of each replicate, in the order of their first rounds."""
    grouped: dict[int, list[Round]] = {}
    for one in rounds:
        grouped.setdefault(one.replicate, []).append(one)
    return list(grouped.values())


def replicate_means(rounds: Sequence[Round], value: Callable[[Round], float]) -> list[float]:
    """Return the mean of a value over the rounds of each replicate."""
    return [fmean(map(value, same)) for same in by_replicate(rounds)]


def is_too_noisy(rounds: Sequence[Round]) -> bool:
    """Return whether a machine was too noisy: contaminated rounds outnumber the others, or a replicate has no other."""
    clean = sum(one.clean for one in rounds)
    return len(rounds) - clean > clean or any(not any(one.clean for one in same) for same in by_replicate(rounds))


def lanes(parts: Sequence[Slice]) -> list[list[int]]:
    """Return the stamps of every request in flight, of all instances."""
    return [stamps for part in parts for stamps in part.stamps_ns]


def window_ns(parts: Sequence[Slice]) -> tuple[int, int]:
    """Return the window in which all were timed: from the last that started to the first that ended, in ns.

    Raises:
        RunFailed: there is no such window.
    """
    begin, end = _window_ns(parts)
    if end <= begin:
        raise RunFailed(Status.failed, "the slices of the instances did not overlap: raise measure.slice_s")
    return begin, end


def _window_ns(parts: Sequence[Slice]) -> tuple[int, int]:
    return max(stamps[0] for stamps in lanes(parts)), min(stamps[-1] for stamps in lanes(parts))


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
