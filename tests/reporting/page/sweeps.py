"""Sweeps on disk for the tests of pages, with every file that a row unfolds to."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from runner.analysis.statistics import Verdict, geometric_mean
from runner.protocol import VERIFIED, Finding
from runner.results.files import save
from runner.results.result import Replicate, Result
from runner.results.status import Status
from runner.results.stored_sweep import StoredSweep, read_sweep
from tests.reporting.test_answer import ACCURACY, side_by_side

HOSTILE = ("<script>alert(1)</script>", "[/x] </script><!--", "x" * 200, "größer ü ß", "שלום עולם rtl", "&amp; \"'\\")
"""Labels of rows, as a user may give them in row.name."""
BACKENDS, PRECISIONS = ("torch", "ort", "openvino"), ("fp32", "bf16", "int8")
REPLICATES, ROUNDS, BATCHES = 5, 4, 60


def written(folder: Path, labels: list[str], *, failed: bool = False, log_lines: int = 200) -> StoredSweep:
    """Write a sweep of measured rows, or of rows that all failed, and read it back.

    Args:
        folder: of the sweep; its name is the sweep's.
        labels: of the rows.
        failed: whether all rows failed.
        log_lines: length of each row's log.
    """
    folder.mkdir(parents=True)
    runs = []
    for number, label in enumerate(labels):
        own = folder / f"{number:03d}"
        own.mkdir()
        runs.append(
            {"folder": own.name, "label": label, "fingerprint": "", "overrides": ["backend=ort", "row.name='a b'"]}
        )
        save(_failed(label) if failed else _measured(label, number, own), own)
        (own / "candidate.log").write_text("".join(f"line {line} <b>\n" for line in range(log_lines)), encoding="utf-8")
        launch = {"argv": ["python", "-m", "runner.worker"], "env": {"OMP_NUM_THREADS": "2", "PATH": "/usr/bin"}}
        (own / "launch-candidate.json").write_text(json.dumps([launch]), encoding="utf-8")
    plan = {"schema": 2, "sweep": "0" * 32, "command": {"overrides": [], "config_dir": None}, "runs": runs}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (folder / "machine.json").write_text(json.dumps({"name": "a machine"}), encoding="utf-8")
    (folder / "notes.txt").write_text("a conclusion\n", encoding="utf-8")
    return read_sweep(folder)


def _failed(label: str) -> Result:
    return Result(label, Status.failed, "ValueError: <img src=x onerror=alert(1)>", "", _settings(0))


def _measured(label: str, number: int, folder: Path) -> Result:
    generator = random.Random(number)
    speedups = [(1 + number % 7) * math.exp(generator.gauss(0, 0.02)) for _ in range(REPLICATES)]
    made = side_by_side(label, speedups, settings=_settings(number))
    assert made.measurement is not None
    estimate = geometric_mean([math.log(8 * one) for one in speedups])
    replicates = [Replicate(index, ROUNDS, one, 8 * one) for index, one in enumerate(speedups)]
    measurement = replace(made.measurement, throughput=estimate, replicates=replicates)
    if number % 7 == 0:
        measurement = replace(measurement, verdict=Verdict.inconclusive)
    _write_rounds(folder, speedups, generator)
    delta = generator.uniform(-2, 0.3)
    accuracy = replace(ACCURACY, delta_pp=delta, delta_low_pp=delta - 0.7, delta_high_pp=delta + 0.7)
    return replace(
        made,
        measurement=measurement,
        accuracy=accuracy,
        phases={"load": 3.21, "timed": 12.0},
        evidence=[Finding("threads", "2", "2", VERIFIED, "/proc/self/task", "")] * 8,
        packages={"torch": "2.9"},
    )


def _settings(number: int) -> dict[str, object]:
    names = {"backend.name": BACKENDS[number % 3], "precision.name": PRECISIONS[number % 3], "model.name": "resnet18"}
    others = ("allocator.name", "hugepages.name", "threading.name", "instances", "scenario", "scope")
    return {**names, **dict.fromkeys(others, "x"), "weights.name": "pretrained", "measure.name": "standard"}


def _write_rounds(folder: Path, speedups: list[float], generator: random.Random) -> None:
    lines = ["replicate,position,ratio,contaminated"]
    stamps = {}
    for replicate, speedup in enumerate(speedups):
        for turn in range(ROUNDS):
            ratio = speedup * math.exp(generator.gauss(0, 0.01))
            lines.append(f"{replicate},0,{ratio:.6g},{'steal' if turn == 3 else ''}")
            times = np.array([int(1e6 * (20 + generator.expovariate(1))) for _ in range(BATCHES)])
            stamps[f"candidate_{len(stamps):03d}_forward"] = np.concatenate([[0], np.cumsum(times)])
    (folder / "rounds.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "stamps_ns.npz", allow_pickle=False, **stamps)
