"""``python -m runner.machine``: what this machine is, which settings can work on it, and how noisy it is.

It measures the peak of its arithmetic and the noise floor by a short A/A, about two minutes; ``--no-measure`` does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import hydra
from rich.console import Console
from rich.table import Table

from runner.config import composition
from runner.machine.facts import as_dict, this_machine
from runner.machine.interference import Watch
from runner.machine.lock import measurement_lock
from runner.paths import PROJECT
from runner.planning import inventory
from runner.processes.launch import build_launches
from runner.processes.peak import describe, measure_peaks
from runner.protocol import Peaks
from runner.results.status import RunFailed

WATCHED_S = 1.0
"""How long the machine is watched at rest."""
SHORT_AA = ("aa=5", "measure=quick", "model=resnet18", "data.evaluation_samples=8", "tracking=none")
"""A/A that takes a minute or two."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the inventory, as a table or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m runner.machine", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-measure", action="store_true", help="neither peaks nor a short A/A: at once")
    parser.add_argument("--output-dir", default="outputs", type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    machine, problems = this_machine(), []
    console = Console(stderr=True)
    peaks = None
    if not options.no_measure:
        if problem := _run_aa(options.output_dir, console):
            problems.append(problem)
        try:
            with measurement_lock(wait=True, tell=console.print):
                peaks = _peaks(options.output_dir)
        except RunFailed as failure:
            problems.append(failure.reason)
    at_rest = _watch(machine.cores)
    entries = [*inventory.take(machine, options.output_dir), at_rest]
    if options.json:
        content: dict[str, object] = {"machine": as_dict(machine), "inventory": [asdict(entry) for entry in entries]}
        content |= {"peaks": asdict(peaks) if peaks else None, "problems": problems}
        print(json.dumps(content, indent=1))
    else:
        _print(Console(), machine.name, entries, peaks)
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False)
    return 1 if problems else 0


def _run_aa(output_dir: Path, console: Console) -> str:
    """Calibrate the noise floor of a small network; return what went wrong, empty where nothing did."""
    console.print("A/A: a small network against itself, about two minutes …")
    command = [sys.executable, "-m", "runner", *SHORT_AA, f"output_dir={output_dir}", "wait=true"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return "" if done.returncode == 0 else f"the noise floor was not calibrated: exit code {done.returncode}"


def _peaks(output_dir: Path) -> Peaks:
    """Measure the peaks in the process that a plain run would have.

    Raises:
        RunFailed: they could not be measured.
    """
    composition.register_schema()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = composition.typed(composition.compose_settings([f"output_dir={output_dir}"]))
    return measure_peaks(build_launches(config, this_machine(), os.environ)[0])


def _watch(cores: Sequence[int]) -> inventory.Entry:
    """Look at the machine at rest, while this program does nothing."""
    watch = Watch(cores)
    before = watch.read()
    time.sleep(WATCHED_S)
    noise = watch.between(before, watch.read())
    told = f"other processes {noise.foreign:.1%}, steal {noise.steal:.1%} of the cores' time"
    return inventory.Entry("at rest", told, "; ".join(noise.disturbances()))


def _print(console: Console, title: str, entries: Sequence[inventory.Entry], peaks: Peaks | None) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("what", "found", "remedy or note"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(entry.name, entry.found or "no", entry.remedy, style=None if entry.found else "yellow")
    console.print(table)
    if peaks is not None:
        console.print(describe(peaks), highlight=False)


if __name__ == "__main__":
    sys.exit(main())
