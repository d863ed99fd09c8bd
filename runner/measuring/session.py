"""One command from its first look at the machine to its closing table."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from runner.analysis.statistics import Verdict
from runner.config.durations import seconds_of
from runner.config.labels import describe
from runner.config.schema import RunConfig
from runner.errors import NothingLaunched
from runner.machine.facts import Machine, as_dict, this_machine
from runner.machine.interference import Watch
from runner.machine.lock import measurement_lock
from runner.measuring.progress import say
from runner.measuring.sweep import Sweep
from runner.planning import inventory
from runner.planning.resume import Command, stored
from runner.processes.launch import build_launches, cache_dir
from runner.processes.peak import describe as describe_peaks
from runner.processes.peak import measure_peaks
from runner.processes.process_tree import Reaper
from runner.protocol import Peaks
from runner.reporting import contributions, diagnosis
from runner.reporting.notes import time_line
from runner.reporting.table import csv_table, markdown_table, print_evidence, print_table
from runner.results import artifacts
from runner.results.files import write_json
from runner.results.noise_floor import calibrate
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.rows import row
from runner.results.status import HARMLESS, RunFailed
from runner.results.store import MACHINE_FILE, NOTES_FILE, SweepStore
from runner.tracking.recorder import Tracker

AT_REST_S = 0.5
"""How long the machine is looked at before anything is launched."""
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def run_session(command: Command, plans: Sequence[Plan], folder: Path, console: Console) -> int:
    """Make a sweep where no other measurement runs, record it, print its table; return the process's exit code.

    Args:
        command: what was asked for.
        plans: one per run, in order.
        folder: for a new sweep; one that is resumed has its own.
        console: for everything that is shown.

    Raises:
        NothingLaunched: another measurement runs on this machine, or the sweep's folder cannot be written.
    """
    config = plans[0].config
    with measurement_lock(wait=config.wait, tell=lambda line: say(console, line)), Reaper():
        begin = time.monotonic()
        try:
            folder = _resumed(command, folder.with_name(config.resume)) if config.resume else make_folder(folder)
            found = [asdict(entry) for entry in inventory.take(this_machine(), Path(config.output_dir))]
            write_json(folder / MACHINE_FILE, as_dict(this_machine()) | {"inventory": found})
            ledger = SweepStore(folder, plans)
            ledger.write_plan(command.as_json())
        except OSError as error:
            raise NothingLaunched(f"{error.filename or folder} cannot be written: {error.strerror}") from error
        return _run_session(ledger, plans, console, begin)


def _resumed(command: Command, folder: Path) -> Path:
    """Return the folder of the sweep that a command goes on with.

    Raises:
        NothingLaunched: it holds no sweep, or another command's.
    """
    if not SweepStore.holds_plan(folder) or not command.asks_as(*stored(folder)):
        raise NothingLaunched(
            f"{folder} is no sweep of this command: resume it with python -m runner resume=NAME alone"
        )
    return folder


def _run_session(ledger: SweepStore, plans: Sequence[Plan], console: Console, begin: float) -> int:
    machine, config, folder = this_machine(), plans[0].config, ledger.folder
    if config.resume:
        say(console, f"going on with {folder.name}")
    for remark in ledger.remarks:
        say(console, remark)
    if config.measure.guards:
        _warn_of_noise(machine, console)
    cached = artifacts.Artifacts(cache_dir(config))

    def trim() -> None:
        for line in _guarded("eviction", lambda: cached.trim(config.cache_limit_gib)):
            say(console, line)

    budget = seconds_of(config.budget) if config.budget else None
    trim()
    peaks = _peaks(plans, ledger, console)
    before_s = {"peak": time.monotonic() - begin}
    tracker = Tracker(config.tracking, Path(config.output_dir), folder, lambda line: say(console, line))
    tracker.begin(folder / MACHINE_FILE, machine.name)
    sweep = Sweep(ledger, plans, console, peaks)
    made = sweep.run(tracker, lambda seconds: _fits(budget, time.monotonic() - begin, seconds), trim)
    trim()
    ended, results = [plans[number] for number in sorted(made)], [made[number] for number in sorted(made)]
    rows = [row(result) for result in results]
    title = f"{machine.name} · baseline: {describe(plans[0].baseline)} · {config.measure.name}"
    unsaved = sweep.save_the_rest()
    conclusions = [
        *unsaved,
        *_guarded("diagnosis", lambda: diagnosis.lines(ended, results, machine)),
        *_guarded("ablation", lambda: contributions.lines(plans, [made.get(number) for number in range(len(plans))])),
        *_guarded("noise floor", lambda: _raised_floors(ended, results)),
        *_guarded("calibration", lambda: _calibrate(ended, results, machine)),
        *_not_begun(plans, made, ledger, interrupted=sweep.interrupted),
    ]
    files = _write_tables(rows, title, conclusions, folder, console)
    tracker.finish(files, interrupted=sweep.interrupted)
    now = [result for number, result in made.items() if not ledger.kept(number)]
    lines = [
        *([describe_peaks(peaks)] if peaks is not None else []),
        time_line(now, time.monotonic() - begin, before_s if peaks else None),
        f"results: {folder}",
    ]
    try:
        print_table(console, rows, title, conclusions)
        if config.verbose:
            print_evidence(console, {result.label: result.evidence for result in results})
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True)
    except OSError as error:  # a full disk behind standard output, or a terminal that has gone
        print(f"the table could not be shown: {error}; it is in {folder}", file=sys.stderr)
        return EXIT_FAILED
    if sweep.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if unsaved else exit_code(results)


def _fits(budget: float | None, spent: float, expected: float | None) -> bool:
    """Return whether a run ends within the budget; before any has ended nobody knows, and it is begun."""
    return budget is None or spent + (expected or 0.0) <= budget


def _not_begun(
    plans: Sequence[Plan], made: Mapping[int, Result], ledger: SweepStore, *, interrupted: bool
) -> list[str]:
    """Return how many runs were kept and how many are left, and the command that goes on."""
    told = []
    kept = sum(ledger.kept(number) is not None for number in made)
    if kept:
        told.append(f"{kept} of {len(plans)} runs were there already and are kept (fresh=true measures all again)")
    left, config = len(plans) - len(made), plans[0].config
    elsewhere = "" if config.output_dir == RunConfig.output_dir else f" output_dir={config.output_dir}"
    go_on = f"to go on: python -m runner resume={ledger.folder.name}{elsewhere}"
    if left:
        why = "" if interrupted else f" within the budget of {config.budget}"
        told.append(f"{left} more {'was' if left == 1 else 'were'} not begun{why}; {go_on}")
    elif interrupted:
        told.append(go_on)
    return told


def _guarded(what: str, conclude: Callable[[], list[str]]) -> list[str]:
    """Return conclusions, or why there are none: the table is worth more than what is said of it."""
    try:
        return conclude()
    except Exception as error:
        return [f"no {what}: {type(error).__name__}: {error}"]


def _warn_of_noise(machine: Machine, console: Console) -> None:
    """Look at the machine at rest, and say who disturbs it."""
    watch = Watch(machine.cores)
    before = watch.read()
    time.sleep(AT_REST_S)
    for disturbance in watch.between(before, watch.read()).disturbances():
        say(console, f"this machine is not at rest: {disturbance}; contaminated rounds will be measured again")


def _raised_floors(plans: Sequence[Plan], results: Sequence[Result]) -> list[str]:
    """Tell by which δ it was judged, where that is not the one that `measure` names."""
    floors = {
        result.shown.noise_floor
        for plan, result in zip(plans, results, strict=True)
        if result.shown and result.shown.noise_floor > plan.config.measure.noise_floor
    }
    source = "by A/A runs on this machine (python -m runner.machine lists them)"
    return [f"δ is {floor:.1%} here, {source}" for floor in sorted(floors)]


def _calibrate(plans: Sequence[Plan], results: Sequence[Result], machine: Machine) -> list[str]:
    """Keep the noise floor that the A/A runs of a sweep found; return it in words."""
    by_config: dict[str, tuple[RunConfig, list[float]]] = {}
    for plan, result in zip(plans, results, strict=True):
        speedups = by_config.setdefault(repr(plan.config), (plan.config, []))[1]
        if result.shown and result.shown.verdict is not Verdict.too_noisy:
            speedups.append(result.shown.speedup.value)
    told = []
    for config, speedups in by_config.values():
        if config.aa and len(speedups) < config.aa:
            told.append(
                f"{describe(config)}: not calibrated: {len(speedups)} of {config.aa} A/A runs ended with a number"
            )
        elif config.aa:
            found = calibrate(config, machine, speedups)
            told.append(
                f"{len(speedups)} A/A runs of {describe(config)}: mean |speedup - 1| {found.mean_error:.2%}; "
                f"the next will lie within ±{found.noise_floor:.1%}, and δ is not under that for model={found.model} "
                f"measure={found.measure} under these settings from now on (kept in {config.output_dir}/cache/noise: "
                "remove it to undo that)"
            )
    return told


def _peaks(plans: Sequence[Plan], ledger: SweepStore, console: Console) -> Peaks | None:
    """Measure the machine's peaks before the rows of a table; None where nothing needs them, or they cannot be had."""
    if not any(plan.config.row.table and not ledger.kept(number) for number, plan in enumerate(plans)):
        return None
    try:
        peaks = measure_peaks(build_launches(plans[0].reference, this_machine(), os.environ)[0])
        write_json(ledger.folder / "peaks.json", asdict(peaks))
    except (RunFailed, OSError) as failure:
        say(console, f"no peak shares: {failure}")
        return None
    return peaks


def _write_tables(
    rows: Sequence[dict[str, Any]], title: str, conclusions: Sequence[str], folder: Path, console: Console
) -> list[Path]:
    """Write the closing table and notes, and the figure where the rows are a table's; return the files."""
    files = []
    try:
        texts = {
            "table.md": markdown_table(rows) + "\n",
            "table.csv": csv_table(rows),
            NOTES_FILE: "".join(f"{line}\n" for line in conclusions),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
            files.append(folder / name)
        if any(one["tags.table"] for one in rows):
            from runner.reporting.figure import draw

            files += draw(rows, title, folder)
    except Exception as error:  # a full disk, or the picture: the numbers are worth more
        say(console, f"the table's files could not all be written: {error!r}")
    return files


def make_folder(wanted: Path) -> Path:
    """Make the sweep's folder and return it; with a number behind its name where another sweep took the second.

    Raises:
        OSError: it cannot be made.
    """
    for name in itertools.chain([wanted.name], (f"{wanted.name}_{number}" for number in itertools.count(2))):
        try:
            wanted.with_name(name).mkdir(parents=True)
        except FileExistsError:
            continue
        return wanted.with_name(name)
    raise AssertionError("there is always another number")


def exit_code(results: Sequence[Result]) -> int:
    """Return the process's exit code for the statuses of its runs."""
    return EXIT_OK if all(result.status in HARMLESS for result in results) else EXIT_FAILED
