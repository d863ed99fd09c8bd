"""Every round of a run on disk: one line each, and the raw time stamps of every batch."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from runner.measuring.slices import Round, lanes
from runner.results.status import RunFailed


def write_rounds(folder: Path, rounds: list[Round]) -> list[str]:
    """Write a line for every round and the raw time stamps of every batch; return a message if that fails."""
    try:
        if rounds:
            _write_rounds(folder, rounds)
    except OSError as error:  # a full disk: the numbers matter more
        return [f"its rounds could not be written: {error}"]
    return []


def _throughputs(one: Round) -> list[str]:
    """Return the throughputs of candidate and baseline and their ratio; empty if its instances did not overlap."""
    try:
        values = [one.candidate_throughput, one.baseline_throughput, float(np.exp(one.log_ratio))]
    except RunFailed:  # it is the status of the run already
        return ["", "", ""]
    return [f"{value:.6g}" for value in values]


def _write_rounds(folder: Path, rounds: list[Round]) -> None:
    with (folder / "rounds.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            [
                "process",
                "first",
                "candidate_throughput",
                "baseline_throughput",
                "ratio",
                "major_faults",
                "candidate_minor_faults",
                "baseline_minor_faults",
                "foreign",
                "steal",
                "throttled",
                "contaminated",
            ]
        )
        for one in rounds:
            writer.writerow(
                [
                    one.process,
                    "candidate" if one.candidate_first else "baseline",
                    *_throughputs(one),
                    sum(part.major_faults for part in [*one.candidate, *one.baseline]),
                    sum(part.minor_faults for part in one.candidate),
                    sum(part.minor_faults for part in one.baseline),
                    f"{one.noise.foreign:.3f}",
                    f"{one.noise.steal:.3f}",
                    f"{one.noise.throttled:.3f}",
                    "; ".join(one.noise.disturbances()),
                ]
            )
    stamps = {
        f"{side}_{number:03d}" + (f"_{lane}" if lane else ""): np.array(stamps, np.int64)
        for number, one in enumerate(rounds)
        for side in ("candidate", "baseline")
        for lane, stamps in enumerate(lanes(getattr(one, side)))
    }
    np.savez_compressed(folder / "stamps_ns.npz", allow_pickle=False, **stamps)
