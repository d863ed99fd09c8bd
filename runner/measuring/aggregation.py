"""From the rounds of a row to its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge
from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.machine.interference import worst
from runner.measuring.member import Member
from runner.measuring.slices import (
    Round,
    batch_times_ms,
    by_replicate,
    clean_rounds,
    is_too_noisy,
    replicate_means,
)
from runner.results.noise_floor import noise_floor
from runner.results.plan import Plan
from runner.results.result import Measurement, Replicate


def estimate_speedup(rounds: Sequence[Round]) -> Estimate:
    """Return the paired speedup, from the replicates of the rounds."""
    return geometric_mean(replicate_means(rounds, lambda one: one.log_ratio))


def provisional_speedup(member: Member) -> float | None:
    """Return the speedup that the replicates so far give, without an interval; None before the first."""
    logs = replicate_means(clean_rounds(member.rounds), lambda one: one.log_ratio)
    return math.exp(fmean(logs)) if logs else None


def aggregate(plan: Plan, member: Member, block: str) -> Measurement:
    """Return the measurement of at least two replicates.

    Clean rounds count. There is no verdict on a machine that was too noisy, nor if the contaminated rounds would move
    the speedup by more than δ: what contaminates them may then not be independent of the speed.

    Args:
        plan: of the row.
        member: the row's, with its rounds.
        block: name of the block that it was measured in.

    Raises:
        RunFailed: the instances of a round did not overlap.
    """
    rounds = clean_rounds(member.rounds)
    contaminated = [one for one in member.rounds if not one.clean]
    speedup, of_all = estimate_speedup(rounds), estimate_speedup(member.rounds)
    floor = noise_floor(plan.config, this_machine())
    too_noisy = is_too_noisy(member.rounds) or abs(math.log(speedup.value / of_all.value)) > math.log1p(floor)
    slices = [turn for one in member.rounds for turn in one.candidate]
    times = np.array([time for turn in slices for time in batch_times_ms(turn.parts)])
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    return Measurement(
        throughput=geometric_mean(replicate_means(rounds, lambda one: one.candidate_log)),
        baseline_throughput=geometric_mean(replicate_means(rounds, lambda one: one.baseline_log)),
        speedup=speedup,
        speedup_all_rounds=of_all.value,
        verdict=Verdict.too_noisy if too_noisy else judge(speedup, floor),
        rounds=len(rounds),
        replicates=[_replicate(same) for same in by_replicate(rounds)],
        block=block,
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        latency_p99_ms=p99,
        latency_samples=len(times),
        latency_max_ms=float(times.max()),
        round_throughput=[math.exp(one.candidate_log) for one in rounds],
        noise_floor=floor,
        **_token_times(rounds, plan.config),
        tokens_per_sample=member.loaded.tokens_per_sample if member.loaded else 0.0,
        minor_faults_per_batch=_faults_per_batch(rounds),
        rounds_contaminated=len(contaminated),
        disturbances=worst(one.noise for one in contaminated).disturbances() if contaminated else [],
        own_costs=worst(turn.noise for turn in slices).own_costs(),
    )


def _replicate(rounds: Sequence[Round]) -> Replicate:
    """Return the means of one replicate's rounds."""
    [ratio] = replicate_means(rounds, lambda one: one.log_ratio)
    [throughput] = replicate_means(rounds, lambda one: one.candidate_log)
    return Replicate(rounds[0].replicate, len(rounds), math.exp(ratio), math.exp(throughput))


def _token_times(rounds: Sequence[Round], config: RunConfig) -> dict[str, Any]:
    """Return the median times, in ms, of the first token and of each further one; nothing if no text is generated."""
    first, further = [], []
    parts = [part for one in rounds for turn in one.candidate for part in turn.parts]
    for part in [one for one in parts if one.marks_ns]:
        [stamps] = part.stamps_ns
        for begin, mark, end in zip(stamps[:-1], part.marks_ns, stamps[1:], strict=True):
            first.append((mark - begin) / 1e6)
            further.append((end - mark) / 1e6 / (config.model.new_tokens - 1))
    if not first:
        return {}
    return {
        "first_token_ms": float(np.median(first)),
        "token_ms": float(np.median(further)),
        "new_tokens": config.model.new_tokens,
    }


def _faults_per_batch(rounds: Sequence[Round]) -> float:
    """Return the candidate's minor page faults per batch, of the batches before each slice too."""
    parts = [part for one in rounds for turn in one.candidate for part in turn.parts]
    batches = sum(part.untimed + sum(len(stamps) - 1 for stamps in part.stamps_ns) for part in parts)
    return sum(part.minor_faults for part in parts) / batches
