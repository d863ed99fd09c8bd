"""Three hundred runs, a random fault in every fifth: is a row lost, a process left, does the host grow or slow down?

``python -m benchmarks.soak [--runs 300]``. Every run is a real, small network in PyTorch beside its baseline, tracked
in MLflow; the faults are those of the tests' backend. In the middle the host is killed, and the sweep resumed.

Promises: no row lost, no process left; the host under 0.2 s per run on its own bookkeeping, at run 10 as at the last;
its memory flat (within 10 % from run 50 on); a tracking server that is silent costs a sweep at most 5 s.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.harness import Finding, print_findings
from runner.config.schema import TrackingConfig
from runner.paths import PROJECT
from runner.processes.process_tree import ANY_TAG, tagged_processes
from runner.results.files import RESULT_FILE, load
from runner.results.result import Result
from runner.tracking.client import import_mlflow
from runner.tracking.recorder import Tracker

FAULTS = (
    ("raise", "failed"),
    ("kill", "crashed"),
    ("segv", "crashed"),
    ("abort", "crashed"),
    ("exit", "failed"),
    ("hang", "timeout"),
    ("children", "timeout"),
    ("garbage", "failed"),
    ("close", "failed"),
    ("memory", "failed"),
    ("unsupported", "unsupported"),
)
"""Faults of tests/backends/fake.py, and how a run with one of them ends."""
EVERY = 5
SMALL = (
    *("backend=frail", "weights=random", "model=resnet18", "model.image_size=32", "data.evaluation_samples=8"),
    *("data.calibration_samples=8", "measure=quick", "measure.slice_s=0.02", "measure.settle_s=0"),
    *("measure.settle_iterations=1", "measure.warmup_s=0.2", "measure.guards=false", "measure.replicates=2"),
    *("measure.rounds=1", "measure.prepare_timeout_s=15", "measure.request_timeout_s=5"),
)
"""What is measured does not matter here, so it is measured as briefly as can be."""


def draw(runs: int, generator: random.Random) -> list[tuple[str, str]]:
    """Return for each run its options and the status that it is to end with."""
    drawn = []
    for serial in range(runs):
        fault, status = generator.choice(FAULTS) if serial % EVERY == EVERY - 1 else ("", "ok")
        drawn.append((f"{{serial: {serial}, fault: '{fault}', at: {generator.choice(('load', 'step'))}}}", status))
    return drawn


def start(outputs: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start the program on the tests' backends."""
    environment = os.environ | {"RUNNER_BACKENDS": str(PROJECT / "tests" / "backends"), "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "runner",
            "--config-dir",
            str(PROJECT / "tests" / "conf"),
            f"output_dir={outputs}",
            *words,
        ],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def results(outputs: Path) -> dict[str, Result]:
    """Return what is on the disk, by the run's folder."""
    return {path.parent.name: load(path) for path in sorted(outputs.glob(f"sweeps/*/*/{RESULT_FILE}"))}


def follow(host: subprocess.Popen[bytes], outputs: Path, until: int) -> dict[int, float]:
    """Wait until so many runs have ended or the host has; return its resident MiB by number of finished runs."""
    resident = {}
    while host.poll() is None:
        finished = len(list(outputs.glob(f"sweeps/*/*/{RESULT_FILE}")))
        resident[finished] = psutil.Process(host.pid).memory_info().rss / 2**20
        if finished >= until:
            break
        time.sleep(0.5)
    return resident


def bookkeeping(found: Sequence[Result]) -> list[float]:
    """Return the seconds of each run but the first that are the host's own.

    That is what is left of its time when all its phases are taken off, and what lies between two runs.
    """
    return [
        later.ended_at - earlier.ended_at - sum(later.phases.values())
        for earlier, later in itertools.pairwise(found)
        if later.status == "ok" and earlier.status == "ok"  # a failure's own waiting is no phase
    ]


def silent_server() -> float:
    """Return the seconds that a sweep waits for a server that takes connections and never answers."""
    with socket.socket() as listener, tempfile.TemporaryDirectory(prefix="runner-soak-") as name:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        import_mlflow()
        config = TrackingConfig(uri=f"http://127.0.0.1:{listener.getsockname()[1]}")
        tracker = Tracker(config, Path(name), Path(name), print)
        begin = time.monotonic()
        tracker.start(Path(name) / "machine.json", "a machine")
        tracker.finish([], interrupted=False)
        return time.monotonic() - begin


def soak(runs: int, seed: int, outputs: Path) -> list[Finding]:
    """Make the runs, kill the host in the middle, resume; return what became of the promises."""
    drawn = draw(runs, random.Random(seed))
    words = [*SMALL, 'baseline=["backend=torch"]', 'reference=["backend=torch"]']
    host = start(outputs, *words, "backend.options=" + ",".join(options for options, _ in drawn))
    before = follow(host, outputs, runs // 2)
    host.send_signal(signal.SIGKILL)
    host.wait()
    time.sleep(5)
    left_by_kill = len(tagged_processes(ANY_TAG))
    kept = {name: result.ended_at for name, result in results(outputs).items() if result.status == "ok"}
    host = start(outputs, "resume=true")
    after = follow(host, outputs, runs + 1)
    host.wait()
    found = results(outputs)
    ended = list(found.values())
    wrong = [
        f"{name}: {result.status}, not {status}"
        for (name, result), (_, status) in zip(found.items(), drawn, strict=False)
        if str(result.status) != status
    ]
    lost = runs - len(found) + sum(found[name].ended_at != at for name, at in kept.items())
    whole = bookkeeping(ended[: runs // 2 - 1]) + bookkeeping(ended[runs // 2 + 1 :])
    early, late = statistics.median(whole[:10]), statistics.median(whole[-10:])
    sizes = {number: size for part in (before, after) for number, size in part.items()}
    first, last = sizes[min(after, key=lambda n: abs(n - runs // 2 - 50))], after[max(after)]
    for line in wrong:
        print(line)
    left_at_end = len(tagged_processes(ANY_TAG))
    half, slowest = statistics.median(whole), max(whole)
    return [
        Finding(
            f"no row of {runs} lost",
            f"{lost} lost, {len(wrong)} with another status than its fault's",
            not lost and not wrong,
        ),
        Finding(
            "no process left: the host killed in the middle, and at the end",
            f"{left_by_kill} and {left_at_end}",
            not left_by_kill + left_at_end,
        ),
        Finding(
            "host under 0.2 s per run on its own bookkeeping", f"{half:.3f} s (median), {slowest:.3f} s", half < 0.2
        ),
        Finding(
            "the same in the first ten runs and in the last ten",
            f"{early:.3f} s and {late:.3f} s",
            late < 1.5 * early + 0.02,
        ),
        Finding(
            "the host's memory is flat",
            f"{first:.0f} MiB 50 runs after it was started, {last:.0f} MiB at its end",
            last < 1.1 * first,
        ),
    ]


def main() -> bool:
    """Measure every promise, print the table, and return whether all are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="runner-soak-") as folder:
        found = soak(options.runs, options.seed, Path(folder))
    cost = silent_server()
    found.append(Finding("a silent tracking server costs at most 5 s per sweep", f"{cost:.2f} s", cost <= 5))
    return print_findings(f"The soak, {(time.monotonic() - begin) / 60:.0f} minutes", found)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
