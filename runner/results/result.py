"""The result of one run: status, numbers and time by phase. Its file result.json is the authoritative record."""

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
"""Minimum number of batches for a 99th percentile: with fewer, less than ten batches lie above it."""


@dataclass(frozen=True)
class Measurement:
    """The measured numbers of a run, from all its rounds."""

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
    """Number of batches behind the percentiles: those of all rounds, including contaminated ones."""
    round_throughput: list[float]
    """The candidate's throughput in each counted round, in order, in samples per second."""
    noise_floor: float
    """δ: a speedup within 1 ± δ counts as no effect. Calibrated by A/A on this machine, or `measure.noise_floor`."""
    latency_max_ms: float | None = None
    """The slowest batch. Shown instead of p99 if there are fewer than MIN_P99_SAMPLES batches."""
    first_token_ms: float | None = None
    """Median time from the start of a batch to its first tokens; None if no text is generated."""
    token_ms: float | None = None
    """Median time per token after the first."""
    new_tokens: int = 0
    """Number of tokens generated per text."""
    minor_faults_per_batch: float = 0.0
    """Minor page faults of the candidate per batch: how often it returns memory to the kernel and takes it again."""
    rounds_contaminated: int = 0
    """Rounds that were contaminated and measured again. With the verdict `too noisy` they count as well."""
    disturbances: list[str] = field(default_factory=list)
    """Descriptions of the worst interference in those rounds."""


@dataclass(frozen=True)
class Result:
    """The configuration, status and numbers of one run."""

    label: str
    status: Status
    reason: str
    fingerprint: str
    settings: dict[str, Any]
    """The flattened resolved configuration."""
    measurement: Measurement | None = None
    accuracy: Accuracy | None = None
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase, candidate and baseline together. The rest of `wall_s` is the host's own time."""
    wall_s: float = 0.0
    load_s: float | None = None
    prepare_s: float | None = None
    first_inference_s: float | None = None
    rss_peak_mib: float | None = None
    artifact_mib: float | None = None
    rebuilt: list[str] = field(default_factory=list)
    """Artifacts that were missing in the cache and were made."""
    steady: bool | None = None
    """Whether both workers reached a steady speed during warm-up."""
    host_cpu_share: float | None = None
    """CPU seconds that the host process used per second of timed phases."""
    peak_share: float | None = None
    """Share of the machine's measured peak arithmetic in the run's precision."""
    evidence: list[Finding] = field(default_factory=list)
    """The requested and observed settings of the candidate."""
    digests: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Remarks about the samples, for example that some were truncated."""
    exception: str = ""
    log_tail: str = ""
    ended_at: float = field(default_factory=time.time)
    """Wall-clock time of the run's end, in seconds since 1970."""
    machine: str = field(default_factory=lambda: this_machine().name)
    """Name of the machine that measured."""
    isa: list[str] = field(default_factory=lambda: this_machine().isa)
    """Instruction sets of that machine."""

    @property
    def shown(self) -> Measurement | None:
        """The measurement of a run with the status ok; None for others, whose numbers are stored but never shown."""
        return self.measurement if self.status is Status.ok else None
