"""A/A: the same configuration twice, in pairs as this program measures, and one after the other as others do.

Promise, ten times over with measure=standard: mean |speedup - 1| at most 1.5 %, and never a verdict. Draws docs/aa.svg
and docs/aa.png. ``make aa`` (half an hour).
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import hydra
from rich.console import Console
from rich.table import Table

from benchmarks.harness import newest_results, run
from runner.config import composition
from runner.machine.facts import this_machine
from runner.machine.lock import measurement_lock
from runner.measuring.slices import throughput
from runner.paths import PROJECT
from runner.processes.launch import build_launch
from runner.processes.worker import Worker
from runner.protocol import Load, Loaded, RunSlice, Slice, Warm, WarmUp
from runner.results.result import Result

CASES = {"PyTorch fp32": (), "OpenVINO int8": ("backend=openvino", "precision=int8")}
REPETITIONS = 10
SLICES = 8
"""Of each process that is timed alone: as many as a pair has rounds at least."""
PROMISE = 0.015
MAX_EVIDENCE_SHARE = 0.15
"""Share of a run's wall time that evidence may take."""


def paired(overrides: Sequence[str]) -> list[Result]:
    """Measure a configuration against itself, in pairs."""
    run(f"aa={REPETITIONS}", *overrides)
    return newest_results()


def one_after_the_other(overrides: Sequence[str], folder: Path) -> list[float]:
    """Time one process after another, each alone and for as long; return each one's speed over the last one's."""
    config = composition.typed(composition.compose_settings(list(overrides)))
    measure = config.measure
    launch = build_launch(config, this_machine(), os.environ)
    speeds = []
    for number in range(REPETITIONS + 1):
        with Worker(launch, folder / f"{number}.log") as worker:
            worker.request(Load(launch.job), Loaded, timeout_s=measure.prepare_timeout_s)
            worker.request(
                WarmUp(measure.warmup_s, measure.warmup_tolerance), Warm, timeout_s=measure.request_timeout_s
            )
            request = RunSlice(0.0, 0, number, SLICES * measure.slice_s, measure.slice_iterations)
            speeds.append(throughput([worker.request(request, Slice, timeout_s=measure.request_timeout_s)], 1))
    return [after / before for before, after in itertools.pairwise(speeds)]


def draw(found: dict[str, tuple[list[Result], list[float]]], folder: Path) -> None:
    """Draw both ways of every case, one under the other on one scale."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "runner", "svg.fonttype": "none"}):
        figure, panels = plt.subplots(1, len(found), figsize=(11, 3.6), sharey=True, layout="constrained")
        for panel, (name, (results, ratios)) in zip(panels, found.items(), strict=True):
            speedups = [result.shown.speedup for result in results if result.shown]
            below = [100 * (one.value - one.low) for one in speedups]
            above = [100 * (one.high - one.value) for one in speedups]
            places = range(1, len(speedups) + 1)
            values = [100 * (one.value - 1) for one in speedups]
            panel.errorbar(places, values, yerr=(below, above), fmt="o", capsize=3, label="in pairs, 95 % interval")
            panel.plot(
                [place + 0.25 for place in range(1, len(ratios) + 1)],
                [100 * (ratio - 1) for ratio in ratios],
                "x",
                color="tab:red",
                label="one after the other",
            )
            panel.axhline(0, color="grey", linewidth=0.8)
            panel.set(title=f"{name} against itself", xlabel="repetition")
        panels[0].set_ylabel("apparent speedup, %")
        panels[0].legend()
        for suffix, metadata in (("png", None), ("svg", {"Date": None})):
            figure.savefig(folder / f"aa.{suffix}", dpi=110, metadata=metadata)
        plt.close(figure)


def main() -> bool:
    """Measure every case both ways, print the table, draw the figure; return whether the promise is kept."""
    found: dict[str, tuple[list[Result], list[float]]] = {}
    composition.register_schema()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        for name, overrides in CASES.items():
            results = paired(overrides)
            with tempfile.TemporaryDirectory() as folder, measurement_lock(wait=True, report=print):
                found[name] = results, one_after_the_other(overrides, Path(folder))
    table = Table(title=f"A/A, {REPETITIONS} repetitions, measure=standard (promise: mean at most {PROMISE:.1%})")
    for title in ("case", "way", "mean |speedup - 1|", "largest", "verdicts", "evidence's share of time", "kept"):
        table.add_column(title, overflow="fold")
    kept = True
    for name, (results, ratios) in found.items():
        errors = [abs(result.shown.speedup.value - 1) for result in results if result.shown]
        verdicts = [str(result.shown.verdict) for result in results if result.shown]
        cost = max(result.phases.get("evidence", 0.0) / result.wall_s for result in results)
        good = len(errors) == REPETITIONS and statistics.mean(errors) <= PROMISE
        good &= not {"faster", "slower"} & set(verdicts) and cost <= MAX_EVIDENCE_SHARE
        kept &= good
        counted = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))
        ours = (f"{statistics.mean(errors):.2%}", f"{max(errors):.2%}", counted, f"{cost:.1%} at most")
        table.add_row(name, "in pairs", *ours, "yes" if good else "NO")
        others = [abs(ratio - 1) for ratio in ratios]
        table.add_row(name, "one after the other", f"{statistics.mean(others):.2%}", f"{max(others):.2%}", "", "", "")
    Console(width=130).print(table)
    draw(found, PROJECT / "docs")
    return kept


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
