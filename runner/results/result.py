"""What one run ends in: a status, numbers, and where the time went. Written as result.json, the truth of a run."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from runner.analysis.accuracy import Accuracy, Gate
from runner.analysis.statistics import Estimate, Verdict
from runner.config.redaction import hide
from runner.machine.facts import this_machine
from runner.protocol import Finding

RESULT_FILE = "result.json"


class Status(StrEnum):
    """How a run ended."""

    ok = "ok"
    """Measured."""
    unsupported = "unsupported"
    """This combination cannot exist."""
    unavailable = "unavailable"
    """Something is not installed."""
    invalid = "invalid"
    """A requested setting did not take effect, or the outputs are no answers: no number is shown."""
    failed = "failed"
    """An exception."""
    crashed = "crashed"
    """Died by a signal."""
    timeout = "timeout"
    """Ran past its limit."""
    interrupted = "interrupted"
    """Stopped by the person."""


HARMLESS = frozenset({Status.ok, Status.unsupported, Status.unavailable})
"""Statuses that leave a sweep's exit code at 0."""


class RunFailed(Exception):
    """A run ends without a measurement."""

    def __init__(self, status: Status, reason: str, *, exception: str = "", log_tail: str = "") -> None:
        """Keep how it ended, the one line that says why, and the end of the worker's log."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.exception = exception
        self.log_tail = log_tail


@contextmanager
def blamed_on(whose: str) -> Iterator[None]:
    """Say whose failure it is, where it is not the candidate's own.

    Raises:
        RunFailed: what the block raises, `whose` before its reason.
    """
    try:
        yield
    except RunFailed as failure:
        raise RunFailed(
            failure.status, f"{whose}: {failure.reason}", exception=failure.exception, log_tail=failure.log_tail
        ) from failure


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
    rounds_more: int | None
    """About how many rounds more would settle an inconclusive verdict."""
    goal_reached: bool
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_samples: int
    """Batches that the percentiles come from: with fewer than 100, p99 is nearly the slowest one."""
    round_throughput: list[float]
    """The candidate's throughput in each round that counts, in order."""
    noise_floor: float
    """δ, within which a speedup is no effect: calibrated by A/A on this machine, else `measure.noise_floor`."""
    first_token_ms: float | None = None
    """Median time from a batch's beginning to its first tokens, where text is generated."""
    token_ms: float | None = None
    """Median time of each token after the first."""
    new_tokens: int = 0
    """Tokens that are generated of each text."""
    minor_faults_per_batch: float = 0.0
    """Page faults of the candidate that gave it new memory: how often it returns and takes it, batch by batch."""
    rounds_disturbed: int = 0
    """Rounds that did not count: they were measured again. With the verdict `too noisy` all count."""
    disturbances: list[str] = field(default_factory=list)
    """What disturbed them, at its worst."""


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
        """The measurement where it may be shown: that of an invalid run is kept, and shown nowhere."""
        return self.measurement if self.status is Status.ok else None


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is either the old or the new one, whole, whatever happens.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1, allow_nan=False)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name is on the disk too
        finally:
            os.close(folder)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def save(result: Result, folder: Path) -> Path:
    """Write result.json into the run's folder and return its path."""
    path = folder / RESULT_FILE
    write_json(path, dataclasses.asdict(result))
    return path


def without_secrets(result: Result) -> Result:
    """Return a result in which no text holds a secret."""
    return dataclasses.replace(
        result,
        reason=hide(result.reason),
        notes=hide(result.notes),
        evidence=[Finding(**hide(dataclasses.asdict(finding))) for finding in result.evidence],
        exception=hide(result.exception),
        log_tail=hide(result.log_tail),
    )


def load(path: Path) -> Result:
    """Read a result.json.

    Raises:
        OSError: the file cannot be read.
        ValueError, KeyError, TypeError: it is not a result.
    """
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["status"] = Status(fields["status"])
    measurement, accuracy = fields["measurement"], fields["accuracy"]
    if measurement is not None:
        for name in ("throughput", "baseline_throughput", "speedup"):
            measurement[name] = Estimate(**measurement[name])
        measurement["verdict"] = Verdict(measurement["verdict"])
        fields["measurement"] = Measurement(**measurement)
    fields["evidence"] = [Finding(**finding) for finding in fields["evidence"]]
    if accuracy is not None:
        accuracy["gate"] = Gate(accuracy["gate"]) if accuracy["gate"] else None
        fields["accuracy"] = Accuracy(**accuracy)
    return Result(**fields)
