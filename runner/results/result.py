"""The result of one run: status, numbers, and time by phase. Written as result.json, the authoritative record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from runner.analysis.accuracy import Accuracy
from runner.analysis.statistics import Estimate, Verdict
from runner.machine.facts import this_machine
from runner.protocol import Finding
from runner.results.status import Status

MIN_P99_SAMPLES = 1000
"""Batches below which a 99th percentile rests on fewer than ten of them, and is not reported."""


@dataclass(frozen=True)
class Measurement:
    """What the rounds of a run say."""

    throughput: Estimate
    """Samples per second of the candidate."""
    baseline_throughput: Estimate
    speedup: Estimate
    verdict: Verdict
    rounds: int
    processes: int
    goal_reached: bool
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_samples: int
    """Batches that the percentiles come from: those of all rounds, contaminated ones too."""
    round_throughput: list[float]
    """The candidate's throughput in each round that counts, in order."""
    noise_floor: float
    """δ, within which a speedup is no effect: calibrated by A/A on this machine, else `measure.noise_floor`."""
    latency_max_ms: float | None = None
    """The slowest batch. Below MIN_P99_SAMPLES it is shown instead of p99, which would be little else."""
    first_token_ms: float | None = None
    """Median time from the start of a batch to its first tokens, if text is generated."""
    token_ms: float | None = None
    """Median time of each token after the first."""
    new_tokens: int = 0
    """Tokens that are generated of each text."""
    minor_faults_per_batch: float = 0.0
    """Page faults of the candidate that gave it new memory: how often it returns and takes it, batch by batch."""
    rounds_contaminated: int = 0
    """Rounds that did not count: they were measured again. With the verdict `too noisy` all count."""
    disturbances: list[str] = field(default_factory=list)
    """What contaminated them, at its worst."""


@dataclass(frozen=True)
class Result:
    """One run, from the configuration to the numbers."""

    label: str
    status: Status
    reason: str
    fingerprint: str
    settings: dict[str, Any]
    """The flattened resolved configuration."""
    measurement: Measurement | None = None
    accuracy: Accuracy | None = None
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase, candidate and baseline together; what is left of `wall_s` is the host's."""
    wall_s: float = 0.0
    load_s: float | None = None
    prepare_s: float | None = None
    first_inference_s: float | None = None
    rss_peak_mib: float | None = None
    artifact_mib: float | None = None
    rebuilt: list[str] = field(default_factory=list)
    """Artifacts that were not in the cache and were made."""
    steady: bool | None = None
    """Whether both workers reached a steady speed while warming up."""
    host_cpu_share: float | None = None
    """CPU seconds the host itself used per second of a timed phase."""
    peak_share: float | None = None
    """Share of the machine's measured peak arithmetic in the run's precision."""
    evidence: list[Finding] = field(default_factory=list)
    """What was asked of the candidate, and what was observed."""
    digests: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What must be known of the samples, for example that some were cut."""
    exception: str = ""
    log_tail: str = ""
    ended_at: float = field(default_factory=time.time)
    """Wall-clock time, in seconds since 1970: when it was made, not how long it took."""
    machine: str = field(default_factory=lambda: this_machine().name)
    """Where it was made."""
    isa: list[str] = field(default_factory=lambda: this_machine().isa)
    """The instruction sets there."""

    @property
    def shown(self) -> Measurement | None:
        """The measurement if it may be shown: that of an invalid run is stored, but never shown."""
        return self.measurement if self.status is Status.ok else None
