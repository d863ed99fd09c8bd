"""Rounds of a candidate and its baseline: one is frozen while the other is timed, in an order drawn afresh."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

from runner.analysis.statistics import Estimate, geometric_mean
from runner.config.schema import MeasureConfig
from runner.machine.interference import Noise, Watch, worst
from runner.processes.instances import Instances
from runner.processes.signals import finished_first
from runner.protocol import RunSlice, Slice
from runner.results.result import RunFailed, Status, blamed_on


@dataclass(frozen=True)
class Round:
    """One slice of each, timed in the same seconds."""

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
    """The worse of what happened around the two slices."""
    guarded: bool = True
    """Whether that may keep it from counting: `measure.guards`."""

    @property
    def calm(self) -> bool:
        """Return whether it counts: nothing from outside disturbed it, or nobody asks."""
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


OnRound = Callable[[int, int, Estimate | None], None]
"""Told after each round how many calm and disturbed ones this process pair has had, and the speedup so far."""


@dataclass
class HostShare:
    """How much of one core the host itself used while a worker was timed."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def share(self) -> float:
        """CPU seconds per second, 0 before anything was timed."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


@dataclass
class Pair:
    """A loaded, warm candidate and its baseline, both frozen between slices."""

    candidate: Instances
    baseline: Instances
    batch_size: int
    baseline_batch_size: int
    process: int
    measure: MeasureConfig
    generator: random.Random
    watch: Watch
    host: HostShare = field(default_factory=HostShare)

    def run_rounds(self, seed: int, on_round: OnRound) -> Iterator[Round]:
        """Run rounds until the interval is as narrow as the goal, within the limits of rounds.

        A disturbed round is measured again, until most rounds are disturbed and they are more than `rounds_min`: then
        the machine does not become quiet.

        Yields:
            Each round when it is done, so that those before a failure are kept.

        Raises:
            RunFailed: a worker failed, died or ran past its limit.
        """
        calm: list[Round] = []
        disturbed = 0
        while len(calm) < self.measure.rounds_max:
            one = self._run_round()
            yield one
            if one.calm:
                calm.append(one)
            else:
                disturbed += 1
            speedup = estimate_speedup(calm, seed) if len(calm) > 1 else None
            on_round(len(calm), disturbed, speedup)
            if len(calm) >= self.measure.rounds_min and speedup and speedup.half_width <= self.measure.goal:
                return
            if gave_up(len(calm), disturbed, self.measure):
                return

    def _run_round(self) -> Round:
        candidate_first = self.generator.random() < 0.5
        if candidate_first:
            candidate, baseline = self._run_slice(self.candidate), self._run_baseline_slice()
        else:
            baseline, candidate = self._run_baseline_slice(), self._run_slice(self.candidate)
        return Round(
            process=self.process,
            candidate_first=candidate_first,
            candidate=candidate[0],
            baseline=baseline[0],
            batch_size=self.batch_size,
            baseline_batch_size=self.baseline_batch_size,
            noise=worst([candidate[1], baseline[1]]),
            guarded=self.measure.guards,
        )

    def _run_baseline_slice(self) -> tuple[list[Slice], Noise]:
        with blamed_on("its baseline"):
            return self._run_slice(self.baseline)

    def _run_slice(self, worker: Instances) -> tuple[list[Slice], Noise]:
        """Time one slice of each instance, and what happened meanwhile besides."""
        request = RunSlice(
            settle_s=self.measure.settle_s,
            settle_iterations=self.measure.settle_iterations,
            heap_seed=self.generator.getrandbits(32),
            minimum_s=self.measure.slice_s,
            minimum_iterations=self.measure.slice_iterations,
        )
        with finished_first():
            before = self.watch.read()
            worker.thaw()
            cpu, wall = time.process_time(), time.monotonic()
            answer = worker.ask(request, Slice, timeout_s=self.measure.request_timeout_s)
            self.host.cpu_s += time.process_time() - cpu
            self.host.wall_s += time.monotonic() - wall
            worker.freeze()
            return answer, self.watch.between(before, self.watch.read(), answer)


def gave_up(calm: int, disturbed: int, measure: MeasureConfig) -> bool:
    """Return whether a machine does not become quiet: most rounds are disturbed, and more than `rounds_min`."""
    return disturbed > max(measure.rounds_min, calm)


def lanes(parts: Sequence[Slice]) -> list[list[int]]:
    """Return the stamps of every request in flight, of all instances."""
    return [stamps for part in parts for stamps in part.stamps_ns]


def window_ns(parts: Sequence[Slice]) -> tuple[int, int]:
    """Return when all were timed: from the last that began to the first that ended.

    Raises:
        RunFailed: there is no such time.
    """
    begin, end = max(stamps[0] for stamps in lanes(parts)), min(stamps[-1] for stamps in lanes(parts))
    if end <= begin:
        raise RunFailed(Status.failed, "the slices of the instances did not overlap: raise measure.slice_s")
    return begin, end


def throughput(parts: Sequence[Slice], batch_size: int) -> float:
    """Return the samples per second of all requests and instances: everything in their common window over its time.

    A batch that lies across a border of the window counts by its part within.
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
    """Return the milliseconds of every batch that lies in the common window of a slice."""
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
