"""Against OpenVINO's own benchmark_app: same IR, shape and hint, in turn within the same minutes.

Promise: OpenVINO int8 in scenario=async reaches at least 97 % of ``benchmark_app -hint throughput``. The synchronous
scenario is compared with ``-hint latency -api sync``, for information. ``python -m benchmarks.benchmark_app [MODEL]``.
"""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import hydra
from rich.console import Console
from rich.table import Table

from runner.analysis.statistics import Estimate, geometric_mean
from runner.config import composition
from runner.job import HOST_ENVIRONMENT
from runner.machine.facts import this_machine
from runner.measuring.slices import throughput
from runner.paths import PROJECT
from runner.processes.launch import build_launch
from runner.processes.worker import Worker
from runner.protocol import Load, Loaded, RunSlice, Slice, Warm, WarmUp
from runner.worker.build import gather, open_cache

ROUNDS = 5
SECONDS = 10
PROMISE = 0.97
SCENARIOS = {"async": ["-hint", "throughput", "-api", "async"], "sync": ["-hint", "latency", "-api", "sync"]}


def benchmark_app(ir: Path, shape: Sequence[int], words: list[str]) -> float:
    """Return the images per second that one run of benchmark_app reports for a shape."""
    program = Path(sys.executable).with_name("benchmark_app")
    command = [
        str(program),
        "-m",
        str(ir),
        "-d",
        "CPU",
        "-shape",
        str(list(shape)).replace(" ", ""),
        "-t",
        str(SECONDS),
    ]
    command += ["-ip", "f32", "-infer_precision", "f32", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    assert found, done.stdout
    return float(found.group(1))


def measure(model: str, scenario: str, folder: Path) -> tuple[Estimate, float, float]:
    """Return the worker's throughput over benchmark_app's, and the means of both in images per second."""
    overrides = [f"model={model}", "backend=openvino", "precision=int8", f"scenario={scenario}"]
    config = composition.typed(composition.compose_settings(overrides))
    launch = build_launch(config, this_machine(), os.environ)
    generator = random.Random(0)
    ours: list[float] = []
    theirs: list[float] = []
    with Worker(launch, folder / "worker.log") as worker:
        worker.request(Load(launch.job), Loaded, timeout_s=1200)
        worker.request(WarmUp(20, 0.03), Warm, timeout_s=120)
        worker.freeze()
        parts = gather(launch.job, open_cache(launch.job, HOST_ENVIRONMENT).require)
        artifact, shape = parts.model.folder, parts.samples.shape
        assert artifact is not None

        def reported() -> None:
            worker.thaw()
            request = RunSlice(1.0, 3, generator.getrandbits(32), SECONDS, 1)
            ours.append(throughput([worker.request(request, Slice, timeout_s=120)], launch.job.run.batch_size))
            worker.freeze()

        def printed() -> None:
            theirs.append(benchmark_app(artifact / "model.xml", shape, SCENARIOS[scenario]))

        for _ in range(ROUNDS):
            for turn in generator.sample([reported, printed], 2):
                turn()
    ratios = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    return geometric_mean(ratios), sum(ours) / ROUNDS, sum(theirs) / ROUNDS


def main(model: str = "resnet50") -> bool:
    """Measure both scenarios, print the table, and return whether the promise is kept."""
    title = f"OpenVINO int8, {model}, batch 8: this program over benchmark_app, {ROUNDS} rounds in turn of {SECONDS} s"
    table = Table(title=title)
    for name in ("scenario", "ours, images/s", "benchmark_app", "ratio", "95 % interval", "promise"):
        table.add_column(name)
    composition.register_schema()
    kept = True
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        for scenario in SCENARIOS:
            with tempfile.TemporaryDirectory() as folder:
                ratio, ours, theirs = measure(model, scenario, Path(folder))
            good = scenario == "sync" or ratio.value >= PROMISE
            kept &= good
            interval = f"{ratio.low:.3f} … {ratio.high:.3f}"
            promise = "–" if scenario == "sync" else f"at least {PROMISE}: {'kept' if good else 'NOT KEPT'}"
            table.add_row(scenario, f"{ours:.1f}", f"{theirs:.1f}", f"{ratio.value:.3f}", interval, promise)
    Console(width=110).print(table)
    return kept


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
