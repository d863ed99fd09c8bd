"""The rounds of a row on disk: a line each in rounds.csv, the raw time stamps, and a checkpoint while it is measured.

A checkpoint holds everything that the finished replicates of a row gathered, so that a resumed sweep continues with the
next one. It is removed when the row's result is written.
"""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runner.analysis.accuracy import Accuracy
from runner.codec import DecodeError, rebuild
from runner.config.redaction import hide
from runner.measuring.slices import Round, Turn, lanes, throughput
from runner.protocol import Finding, Loaded
from runner.results.files import write_json
from runner.results.status import RunFailed

log = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """What the finished replicates of a row gathered."""

    fingerprint: str
    rounds: list[Round]
    loaded: Loaded
    batch_ms: float
    steady: bool
    rss_peak_mib: float | None
    accuracy: Accuracy | None
    accuracy_failure: str
    evidence: list[Finding]
    evidence_failure: str


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a row, with the secrets in its texts hidden.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    content = asdict(checkpoint)
    texts = ("loaded", "evidence", "evidence_failure", "accuracy_failure")
    write_json(folder / CHECKPOINT_FILE, content | {name: hide(content[name]) for name in texts})


def read_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Return the checkpoint of a row; None if there is none of this fingerprint, or it cannot be read."""
    path = folder / CHECKPOINT_FILE
    try:
        found: Checkpoint = rebuild(Checkpoint, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, DecodeError) as error:
        log.warning("%s cannot be read (%s): its replicates are measured again", path, error)
        return None
    return found if found.fingerprint == fingerprint else None


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a row whose result is written."""
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def write_rounds(folder: Path, rounds: list[Round]) -> list[str]:
    """Write a line for every round and the raw time stamps of every batch; return a message if that fails."""
    try:
        if rounds:
            _write_rounds(folder, rounds)
    except OSError as error:  # a full disk: the numbers matter more
        return [f"its rounds could not be written: {error}"]
    return []


COLUMNS = (
    *("replicate", "position", "baseline_position", "candidate_throughput", "baseline_throughput", "ratio"),
    *("forward_candidate_throughput", "backward_candidate_throughput"),
    *("forward_baseline_throughput", "backward_baseline_throughput"),
    *("major_faults", "candidate_minor_faults", "baseline_minor_faults"),
    *("foreign", "steal", "stalled", "throttled", "contaminated", "own_costs"),
)
"""Columns of rounds.csv. Throughputs are in samples per second; shares are of the usable cores' time."""


def _write_rounds(folder: Path, rounds: list[Round]) -> None:
    with (folder / "rounds.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(_line(one) for one in rounds)
    stamps = {
        f"{side}_{number:03d}_{way}" + (f"_{lane}" if lane else ""): np.array(stamps, np.int64)
        for number, one in enumerate(rounds)
        for side in ("candidate", "baseline")
        for way, turn in zip(("forward", "backward"), getattr(one, side), strict=True)
        for lane, stamps in enumerate(lanes(turn.parts))
    }
    np.savez_compressed(folder / "stamps_ns.npz", allow_pickle=False, **stamps)


def _line(one: Round) -> list[object]:
    candidate = [part for turn in one.candidate for part in turn.parts]
    baseline = [part for turn in one.baseline for part in turn.parts]
    return [
        one.replicate,
        one.position,
        one.baseline_position,
        *_throughputs(one),
        sum(part.major_faults for part in [*candidate, *baseline]),
        sum(part.minor_faults for part in candidate),
        sum(part.minor_faults for part in baseline),
        f"{one.noise.foreign:.3f}",
        f"{one.noise.steal:.3f}",
        f"{one.noise.stalled:.3f}",
        f"{one.noise.throttled:.3f}",
        "; ".join(one.noise.disturbances()),
        "; ".join(one.noise.own_costs()),
    ]


def _throughputs(one: Round) -> list[str]:
    """Return the throughputs of the round, their ratio, and those of its turns; empty if instances did not overlap."""
    try:
        means = [float(np.exp(value)) for value in (one.candidate_log, one.baseline_log, one.log_ratio)]
        turns = _of_turns(one.candidate, one.batch_size) + _of_turns(one.baseline, one.baseline_batch_size)
    except RunFailed:  # it is the status of the run already
        return [""] * 7
    return [f"{value:.6g}" for value in (*means, *turns)]


def _of_turns(turns: list[Turn], batch_size: int) -> list[float]:
    return [throughput(turn.parts, batch_size) for turn in turns]
