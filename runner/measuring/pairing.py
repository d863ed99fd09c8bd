"""Rounds of a candidate and its baseline: one is frozen while the other is timed, in a random order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runner.analysis.statistics import Estimate
from runner.config.schema import MeasureConfig
from runner.machine.interference import Noise, Watch, worst
from runner.measuring.slices import Round, estimate_speedup, is_too_noisy
from runner.processes.instances import Instances
from runner.processes.signals import defer_interrupt
from runner.protocol import RunSlice, Slice
from runner.results.status import attribute_failure_to

OnRound = Callable[[int, int, Estimate | None], None]
"""Called after each round with the numbers of clean and contaminated rounds of this process pair, and the speedup."""


@dataclass
class HostShare:
    """The share of one core that the host itself used while a worker was timed."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def share(self) -> float:
        """CPU seconds per second, 0 before anything was timed."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


@dataclass
class Pair:
    """A candidate and its baseline, loaded and warm; both are frozen between slices."""

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

        A contaminated round is repeated, until most rounds are contaminated and they are more than `rounds_min`: the
        machine is then too noisy.

        Yields:
            Each round as it ends, so that the rounds before a failure are saved.

        Raises:
            RunFailed: a worker failed, died or ran past its limit.
        """
        clean: list[Round] = []
        contaminated = 0
        while len(clean) < self.measure.rounds_max:
            one = self._run_round()
            yield one
            if one.clean:
                clean.append(one)
            else:
                contaminated += 1
            speedup = estimate_speedup(clean, seed) if len(clean) > 1 else None
            on_round(len(clean), contaminated, speedup)
            if len(clean) >= self.measure.rounds_min and speedup and speedup.half_width <= self.measure.goal:
                return
            if is_too_noisy(len(clean), contaminated, self.measure):
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
        with attribute_failure_to("its baseline"):
            return self._run_slice(self.baseline)

    def _run_slice(self, worker: Instances) -> tuple[list[Slice], Noise]:
        """Time one slice of each instance, and read what disturbed the machine meanwhile."""
        request = RunSlice(
            settle_s=self.measure.settle_s,
            settle_iterations=self.measure.settle_iterations,
            heap_seed=self.generator.getrandbits(32),
            minimum_s=self.measure.slice_s,
            minimum_iterations=self.measure.slice_iterations,
        )
        with defer_interrupt():
            before = self.watch.read()
            worker.thaw()
            cpu, wall = time.process_time(), time.monotonic()
            answer = worker.request(request, Slice, timeout_s=self.measure.request_timeout_s)
            self.host.cpu_s += time.process_time() - cpu
            self.host.wall_s += time.monotonic() - wall
            worker.freeze()
            return answer, self.watch.between(before, self.watch.read(), answer)
