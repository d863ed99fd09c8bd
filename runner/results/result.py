"""The result of one run: status, numbers and time by phase. Its file result.json is the authoritative record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from runner.analysis.accuracy import Accuracy
from runner.analysis.statistics import Estimate, Verdict
from runner.machine.attempt import attempt_tags
from runner.machine.facts import this_machine
from runner.protocol import Finding
from runner.results.status import HARMLESS, Status

MIN_P99_SAMPLES = 1000
"""Minimum number of batches for a 99th percentile: with fewer, less than ten batches lie above it."""


SCHEMA = 2
"""Version of result.json, plan.json and rounds.csv. From 2 on fields are only added, and unknown ones are ignored."""


@dataclass(frozen=True)
class Replicate:
    """One fresh process of the candidate and of its baseline: means over its counted rounds."""

    number: int
    """From 0. Candidates of a block share its replicates: those of the same number were measured side by side."""
    rounds: int
    speedup: float
    throughput: float
    """Samples per second of the candidate."""


@dataclass(frozen=True)
class Measurement:
    """The measured numbers of a run. Intervals are Student's t over its replicates, with 95 % confidence."""

    throughput: Estimate
    """Samples per second of the candidate."""
    baseline_throughput: Estimate
    speedup: Estimate
    verdict: Verdict
    rounds: int
    """Counted rounds of all replicates."""
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
    replicates: list[Replicate] = field(default_factory=list)
    """Empty in results of schema 1, whose intervals came from rounds within one pair of processes."""
    block: str = ""
    """Name of the block that the run was measured in: its runs are paired with one another."""
    speedup_all_rounds: float | None = None
    """The speedup over all rounds, contaminated ones included."""
    own_costs: list[str] = field(default_factory=list)
    """Costs that the candidate caused itself, such as throttling by its control group's quota: the numbers include
    them."""
    tokens_per_sample: float = 0.0
    """Mean number of tokens in the timed texts, without padding, if they differ in length; otherwise 0."""


@dataclass(frozen=True)
class Result:
    """The configuration, status and numbers of one run."""

    label: str
    """Name of the row: what distinguishes its configuration from the others of the sweep."""
    status: Status
    reason: str
    """Why there is no number, in one line; empty if the status is ok."""
    fingerprint: str
    """Hash of everything that the result depends on."""
    settings: dict[str, Any]
    """The flattened resolved configuration."""
    measurement: Measurement | None = None
    accuracy: Accuracy | None = None
    accuracy_failure: str = ""
    """Why there is no accuracy, although the run was measured: a status and its reason."""
    evidence_failure: str = ""
    """Why there is no evidence, although the run was measured."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase: the candidate's own, and its share of its baseline's. The rest of `wall_s` is the host's."""
    wall_s: float = 0.0
    """Its share of the time of its block, in seconds."""
    load_s: float | None = None
    """Seconds that the first process took for imports, weights and data."""
    prepare_s: float | None = None
    """Seconds to export, quantise and compile, or to read their results from the cache."""
    first_inference_s: float | None = None
    """Seconds of the first inference."""
    rss_peak_mib: float | None = None
    """Peak resident memory of the first processes when they were warm."""
    artifact_mib: float | None = None
    """Size of the files that the backend loaded."""
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
    """Hashes of the weights and of the samples."""
    packages: dict[str, str] = field(default_factory=dict)
    """Versions of the packages of the environment that measured."""
    environment: str = ""
    """That environment: its name, and the digest of all versions."""
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
    machine_class: str = field(default_factory=lambda: this_machine().machine_class)
    """What kind of machine measured: results of one class can replace one another."""
    attempt: dict[str, str] = field(default_factory=attempt_tags)
    """Who measured, where, and with which version of the program: `host`, `user`, `job` and `commit`."""

    baseline_fingerprint: str = ""
    """Hash of everything that the baseline depends on, the kind of machine included: results that share it can be
    compared by their speedups. Empty in results of earlier versions."""
    schema: int = SCHEMA

    @property
    def is_harmless(self) -> bool:
        """Whether the run leaves the sweep's exit code at 0."""
        return self.status in HARMLESS and not self.accuracy_failure and not self.evidence_failure

    @property
    def shown(self) -> Measurement | None:
        """The measurement of a run with the status ok; None for others, whose numbers are stored but never shown."""
        return self.measurement if self.status is Status.ok else None
