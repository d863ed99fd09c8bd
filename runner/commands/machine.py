"""``runner machine``: what this machine is, which settings can work on it, its peaks, and how noisy it is.

It measures the peak of the machine's arithmetic, and the noise floor by a short A/A: about two minutes.
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

import hydra
from rich.console import Console

from runner import exit_codes
from runner.config import composition
from runner.config.schema import RunConfig
from runner.machine.facts import as_dict, this_machine
from runner.machine.interference import Watch
from runner.machine.lock import measurement_lock
from runner.paths import CONF
from runner.planning import inventory
from runner.processes.launch import build_launches
from runner.processes.peak import measure_peaks
from runner.protocol import Peaks
from runner.reporting.machine import print_inventory
from runner.results.artifacts import cache_folder
from runner.results.status import RunFailed

WATCHED_S = 1.0
"""How long the machine is watched at rest."""
SELF_COMPARISON = ("aa=5", "measure=quick", "model=resnet18", "data.evaluation_samples=8", "tracking=none")
"""An A/A of a minute or two."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the inventory, as a table or as JSON."""
    parser = argparse.ArgumentParser(prog="runner machine", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-measure", action="store_true", help="neither peaks nor an A/A: at once")
    parser.add_argument("--dry-run", action="store_true", help="print what would be measured; launch nothing")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    output_dir = str(options.output_dir)
    if options.dry_run:
        return subprocess.run([*_self_comparison(output_dir), "--dry-run"], check=False).returncode
    machine, problems = this_machine(), []
    console = Console(stderr=True)
    peaks = None
    if not options.no_measure:
        if problem := _calibrate(output_dir, console):
            problems.append(problem)
        try:
            with measurement_lock(wait=True, report=console.print):
                peaks = _peaks(output_dir)
        except RunFailed as failure:
            problems.append(failure.reason)
    at_rest = _watch(machine.cores)
    entries = [*inventory.take(machine, cache_folder(RunConfig(output_dir=output_dir))), at_rest]
    if options.json:
        content: dict[str, object] = {"machine": as_dict(machine), "inventory": [asdict(entry) for entry in entries]}
        content |= {"peaks": asdict(peaks) if peaks else None, "problems": problems}
        print(json.dumps(content, indent=1))
    else:
        print_inventory(Console(), machine.name, entries, peaks)
    for problem in problems:
        console.print(problem, style="yellow", markup=False, highlight=False)
    return exit_codes.FAILED if problems else exit_codes.OK


def _self_comparison(output_dir: str) -> list[str]:
    """Return the command of a short A/A."""
    return [sys.executable, "-m", "runner", *SELF_COMPARISON, f"output_dir={output_dir}", "wait=true"]


def _calibrate(output_dir: str, console: Console) -> str:
    """Calibrate the noise floor of a small network; return what failed, empty if nothing did."""
    console.print("A/A: a small network against itself, about two minutes …")
    done = subprocess.run(_self_comparison(output_dir), stdout=subprocess.PIPE, text=True, check=False)
    return "" if done.returncode == 0 else f"the noise floor was not calibrated: exit code {done.returncode}"


def _peaks(output_dir: str) -> Peaks:
    """Measure the peaks in a process like that of a plain run.

    Raises:
        RunFailed: they could not be measured.
    """
    composition.register_schema()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = composition.typed(composition.compose_settings([f"output_dir={output_dir}"]))
    return measure_peaks(build_launches(config, this_machine(), os.environ)[0], config.measure.prepare_timeout_s)


def _watch(cores: Sequence[int]) -> inventory.Entry:
    """Watch the machine at rest, while this program does nothing."""
    watch = Watch(cores)
    before = watch.read()
    time.sleep(WATCHED_S)
    noise = watch.between(before, watch.read())
    found = f"other processes {noise.foreign:.1%}, steal {noise.steal:.1%} of the cores' time"
    return inventory.Entry("at rest", found, "; ".join(noise.disturbances()))
