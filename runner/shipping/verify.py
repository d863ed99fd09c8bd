"""Is a folder what was measured? Its files, its outputs, and its speed beside a process like the measured one."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from runner.analysis.statistics import Estimate, geometric_mean
from runner.config.schema import MeasureConfig
from runner.measuring.slices import throughput
from runner.processes.launch import WorkerLaunch
from runner.processes.worker import Worker
from runner.protocol import Load, Loaded, RunSlice, Slice, Warm, WarmUp
from runner.results.status import RunFailed, Status
from runner.shipping.folder import FACTS, digest_of_facts, digests
from runner.shipping.running import run_script

SAME = 0.05
"""The interval of the ratio must lie within 1 ± this."""
INSTALL_TIMEOUT_S = 3600.0
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement")


class State(StrEnum):
    """What a check found."""

    passed = "pass"
    """It is as measured."""
    failed = "differs"
    """It is not."""
    undecided = "cannot tell"
    """The interval is too wide."""
    skipped = "not compared"
    """There is nothing here to compare with."""


@dataclass(frozen=True)
class Check:
    """One comparison of a folder with its record."""

    what: str
    state: State
    words: str


def check_files(folder: Path, facts: dict[str, Any]) -> Check:
    """Return whether all files are those that were shipped, and no others."""
    found, wanted = digests(folder), facts["files"]
    changed = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
    if facts.get("digest") != digest_of_facts(facts):
        changed.append(FACTS)
    if changed:
        return Check("files", State.failed, f"changed, added or missing: {', '.join(changed[:3])}")
    return Check("files", State.passed, f"{len(wanted) + 1} files, as they were written")


class Installed:
    """A folder with an environment of its own, in which its packages are installed."""

    def __init__(self, folder: Path, work: Path, prefix: Sequence[str]) -> None:
        """Install the packages of requirements.txt.

        Args:
            folder: the shipped one.
            work: an empty folder for the environment, in which the commands run too.
            prefix: words before the interpreter that bind the process.

        Raises:
            subprocess.SubprocessError: they cannot be installed.
        """
        self._folder, self._prefix = folder, prefix
        self._home = work / "empty"
        self._home.mkdir()
        self._python = work / "venv" / "bin" / "python"
        for command in (
            [sys.executable, "-m", "venv", str(work / "venv")],
            [str(self._python), *PIP, str(folder / "requirements.txt")],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)

    def run(self, *arguments: str) -> dict[str, Any]:
        """Return what run.py printed; see :func:`runner.shipping.running.run_script`."""
        return run_script(self._folder, self._python, self._prefix, self._home, *arguments)


def check_outputs(installed: Installed) -> Check:
    """Return whether the outputs for the measured batches are those that were measured."""
    try:
        found = installed.run("--check")
    except RuntimeError as error:
        return Check("outputs", State.failed, str(error))
    if found["identical"]:
        return Check("outputs", State.passed, "bit for bit those of the measured process")
    state = State.passed if found["passed"] else State.failed
    return Check("outputs", state, f"SQNR {found['sqnr_db']} dB, tolerance {found['tolerance_db']:g} dB")


def check_speed(
    installed: Installed,
    launch: WorkerLaunch,
    measure: MeasureConfig,
    log: Path,
    *,
    weights: str,
    pairs: int,
    seconds: float,
    report: Callable[[str], None],
) -> Check:
    """Return whether the folder is as fast as a process like the measured one, a fresh process of each in turn.

    Args:
        installed: the folder.
        launch: of the measured process.
        measure: limits and warm-up of the row.
        log: receives the output of the measured processes.
        weights: digest of the shipped ones.
        pairs: number of fresh pairs, at least 2.
        seconds: timed seconds of each process.
        report: called with a line after each pair.

    Raises:
        RunFailed: the measured process failed, or has other weights.
        RuntimeError: run.py failed.
    """
    sides = {
        "shipped": lambda: float(installed.run("--bench", f"{seconds:g}")["samples_per_s"]),
        "measured": lambda: _time(launch, measure, log, weights, seconds),
    }
    logs = []
    for number in range(pairs):
        order = list(sides)[:: 1 if number % 2 else -1]
        speeds = {side: sides[side]() for side in order}
        logs.append(math.log(speeds["shipped"] / speeds["measured"]))
        report(f"pair {number + 1} of {pairs}: {math.exp(logs[-1]):.3f}")
    return judge(geometric_mean(logs), pairs)


def judge(ratio: Estimate, pairs: int) -> Check:
    """Return the verdict on the speed of a folder over that of the measured process."""
    words = f"{ratio.value:.3f} ({ratio.low:.3f} … {ratio.high:.3f}) times as fast, over {pairs} fresh pairs"
    low, high = 1 - SAME, 1 + SAME
    if low <= ratio.low and ratio.high <= high:
        return Check("speed", State.passed, words)
    state = State.failed if ratio.high < low or ratio.low > high else State.undecided
    return Check("speed", state, f"{words}; allowed: all of it from {low:g} to {high:g}")


def _time(launch: WorkerLaunch, measure: MeasureConfig, log: Path, weights: str, seconds: float) -> float:
    """Return the samples per second of a fresh measured process.

    Raises:
        RunFailed: it failed, or has other weights.
    """
    with Worker(launch, log) as worker:
        loaded = worker.request(Load(launch.job), Loaded, timeout_s=measure.prepare_timeout_s)
        if loaded.weights_digest != weights:
            raise RunFailed(Status.invalid, "its weights are not those that were shipped")
        warm = WarmUp(measure.warmup_s, measure.warmup_tolerance)
        worker.request(warm, Warm, timeout_s=measure.request_timeout_s)
        timed = RunSlice(measure.settle_s, measure.settle_iterations, 0, seconds, measure.slice_iterations)
        found = worker.request(timed, Slice, timeout_s=measure.request_timeout_s)
    return throughput([found], launch.job.run.batch_size)
