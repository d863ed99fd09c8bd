"""From the rounds of a run to its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runner.analysis.accuracy import Accuracy
from runner.analysis.statistics import Verdict, geometric_mean, judge
from runner.config.schema import MeasureConfig, RunConfig
from runner.machine.facts import this_machine
from runner.machine.interference import worst
from runner.measuring.slices import Round, batch_times_ms, by_process, estimate_speedup, is_too_noisy
from runner.processes.instances import Instances
from runner.protocol import Finding, Loaded
from runner.results.noise_floor import noise_floor
from runner.results.plan import Plan
from runner.results.result import Measurement


@dataclass(frozen=True)
class LoadedWorker:
    """Workers whose job is loaded and whose speed is steady."""

    worker: Instances
    loaded: Loaded
    steady: bool


@dataclass
class Gathering:
    """What a run has gathered when measuring ends, by success or by a failure."""

    rounds: list[Round] = field(default_factory=list)
    accuracy: Accuracy | None = None
    evidence: list[Finding] = field(default_factory=list)
    contradictions_found: list[str] = field(default_factory=list)
    """One line for each setting that the evidence contradicts."""
    candidate: LoadedWorker | None = None
    steady: bool = True
    rss_peak_mib: float | None = None

    @property
    def clean(self) -> list[Round]:
        """The rounds that nothing contaminated."""
        return [one for one in self.rounds if one.clean]


def any_pair_too_noisy(rounds: Sequence[Round], measure: MeasureConfig) -> bool:
    """Return whether the machine was too noisy for one of the process pairs."""
    pairs = ([one.clean for one in rounds if one.process == process] for process in {one.process for one in rounds})
    return any(is_too_noisy(clean.count(True), clean.count(False), measure) for clean in pairs)


def is_narrow_enough(plan: Plan, rounds: list[Round]) -> bool:
    """Return whether the interval of the speedup has reached the goal of the plan."""
    return len(rounds) > 1 and estimate_speedup(rounds, plan.config.seed).half_width <= plan.config.measure.goal


def aggregate(plan: Plan, measured: Gathering) -> Measurement:
    """Return the measurement of the clean rounds; of all rounds, without a verdict, if it was too noisy."""
    measure, seed = plan.config.measure, plan.config.seed
    contaminated = [one for one in measured.rounds if not one.clean]
    too_noisy = any_pair_too_noisy(measured.rounds, measure)
    rounds = measured.rounds if too_noisy else measured.clean
    speedup = estimate_speedup(rounds, seed)
    floor = noise_floor(plan.config, this_machine())
    verdict = Verdict.too_noisy if too_noisy else judge(speedup, floor)
    times = np.array([time for one in measured.rounds for time in batch_times_ms(one.candidate)])
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    return Measurement(
        throughput=geometric_mean(by_process(rounds, lambda one: float(np.log(one.candidate_throughput))), seed),
        baseline_throughput=geometric_mean(
            by_process(rounds, lambda one: float(np.log(one.baseline_throughput))), seed
        ),
        speedup=speedup,
        verdict=verdict,
        rounds=len(rounds),
        processes=len({one.process for one in rounds}),
        goal_reached=speedup.half_width <= measure.goal,
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        latency_p99_ms=p99,
        latency_samples=len(times),
        latency_max_ms=float(times.max()),
        round_throughput=[one.candidate_throughput for one in rounds],
        noise_floor=floor,
        **_token_times(rounds, plan.config),
        minor_faults_per_batch=_faults_per_batch(rounds, measure.settle_iterations),
        rounds_contaminated=len(contaminated),
        disturbances=worst(one.noise for one in contaminated).disturbances() if contaminated else [],
    )


def _token_times(rounds: list[Round], config: RunConfig) -> dict[str, Any]:
    """Return the median times, in ms, of the first token and of each further one; nothing if no text is generated."""
    first, further = [], []
    for one in [part for round_ in rounds for part in round_.candidate if part.marks_ns]:
        [stamps] = one.stamps_ns
        for begin, mark, end in zip(stamps[:-1], one.marks_ns, stamps[1:], strict=True):
            first.append((mark - begin) / 1e6)
            further.append((end - mark) / 1e6 / (config.model.new_tokens - 1))
    if not first:
        return {}
    return {
        "first_token_ms": float(np.median(first)),
        "token_ms": float(np.median(further)),
        "new_tokens": config.model.new_tokens,
    }


def _faults_per_batch(rounds: list[Round], settle_iterations: int) -> float:
    """Return the candidate's minor page faults per batch; of the untimed batches the least number is assumed."""
    slices = [one for round_ in rounds for one in round_.candidate]
    batches = sum(len(stamps) - 1 + settle_iterations for one in slices for stamps in one.stamps_ns)
    return sum(one.minor_faults for one in slices) / batches
