"""Fidelity: the throughput that a worker reports, against a plain hand-written loop in turn with it.

Promise: within ±2 %, for PyTorch fp32, ONNX Runtime fp32 and OpenVINO int8 (ResNet-50, batch 8).
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hydra
from rich.console import Console
from rich.table import Table

from runner.analysis.statistics import Estimate, geometric_mean
from runner.config import composition
from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.measuring.slices import throughput
from runner.paths import PROJECT
from runner.processes.launch import build_launch
from runner.processes.worker import Worker
from runner.protocol import Load, Loaded, RunSlice, Slice, Warm, WarmUp, encode

CASES = (("torch", "fp32"), ("ort", "fp32"), ("openvino", "int8"))
ROUNDS = 12
SLICE_S = 1.5
SETTLE_S = 0.3
PROMISE = 0.02


class PlainLoop:
    """The hand-written loop's process, stopped between its slices as workers are."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        """Start it with the environment that the worker has."""
        launch = build_launch(config, this_machine(), os.environ)
        (folder / "job").write_bytes(encode(Load(launch.job)))
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.plain_loop", str(folder / "job"), str(write)],
            env=launch.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[write],
            text=True,
            start_new_session=True,
        )
        os.close(write)
        self._answers = os.fdopen(read)

    def run(self, seconds: float) -> float:
        """Return the batches per second of one slice."""
        os.killpg(self._process.pid, signal.SIGCONT)
        self._time(SETTLE_S)
        batches, elapsed = self._time(seconds)
        os.killpg(self._process.pid, signal.SIGSTOP)
        return batches / elapsed

    def _time(self, seconds: float) -> tuple[float, float]:
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        batches, elapsed = self._answers.readline().split()
        return float(batches), float(elapsed)

    def stop(self) -> None:
        """End the process."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._answers.close()


def measure(backend: str, precision: str, folder: Path) -> Estimate:
    """Return the worker's throughput over the plain loop's, with its 95 % interval."""
    config = composition.typed(composition.compose_settings([f"backend={backend}", f"precision={precision}"]))
    launch = build_launch(config, this_machine(), os.environ)
    generator = random.Random(0)
    with Worker(launch, folder / "worker.log") as worker:
        worker.request(Load(launch.job), Loaded, timeout_s=1200)
        worker.request(WarmUp(20, 0.03), Warm, timeout_s=120)
        worker.freeze()
        plain = PlainLoop(config, folder)
        try:
            plain.run(2 * SLICE_S)

            def reported() -> float:
                worker.thaw()
                part = worker.request(
                    RunSlice(SETTLE_S, 3, generator.getrandbits(32), SLICE_S, 1), Slice, timeout_s=120
                )
                worker.freeze()
                return throughput([part], 1)

            ratios = []
            for _ in range(ROUNDS):
                if generator.random() < 0.5:
                    ours, theirs = reported(), plain.run(SLICE_S)
                else:
                    theirs, ours = plain.run(SLICE_S), reported()
                ratios.append(math.log(ours / theirs))
        finally:
            plain.stop()
    return geometric_mean(ratios)


def main() -> bool:
    """Measure every case, print the table, and return whether the promise is kept."""
    table = Table(title=f"Fidelity: reported throughput over a plain loop's, {ROUNDS} rounds in turn (promise: ±2 %)")
    for title in ("case", "ratio", "95 % interval", "kept"):
        table.add_column(title)
    kept = True
    composition.register_schema()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        for backend, precision in CASES:
            with tempfile.TemporaryDirectory() as folder:
                ratio = measure(backend, precision, Path(folder))
            good = abs(ratio.value - 1) <= PROMISE
            kept &= good
            interval = f"{ratio.low:.4f} … {ratio.high:.4f}"
            table.add_row(f"{backend} {precision}", f"{ratio.value:.4f}", interval, "yes" if good else "NO")
    Console(width=110).print(table)
    return kept


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
