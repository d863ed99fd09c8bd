"""One command, from its first look at the machine to its closing table: prepare, run, conclude, show."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from runner import exit_codes
from runner.config.durations import seconds_of
from runner.config.labels import describe
from runner.config.schema import RunConfig
from runner.errors import NothingLaunched
from runner.machine.facts import as_dict, this_machine
from runner.machine.interference import at_rest
from runner.machine.lock import measurement_lock
from runner.measuring.sweep import Sweep
from runner.planning import inventory
from runner.planning.resume import Command, reusable_runs, stored_command
from runner.processes.launch import build_launches
from runner.processes.peak import measure_peaks
from runner.processes.process_tree import Reaper
from runner.protocol import Peaks
from runner.reporting.conclusions import (
    calibration_line,
    conclusions,
    guarded,
    progress_lines,
    self_comparison_line,
    self_comparisons,
)
from runner.reporting.machine import peak_line
from runner.reporting.notes import time_line
from runner.reporting.progress import say
from runner.reporting.table import print_evidence, print_table, write_tables
from runner.results.artifacts import Artifacts, cache_folder
from runner.results.files import write_json
from runner.results.metrics import row
from runner.results.noise_floor import calibrate
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import RunFailed
from runner.results.store import MACHINE_FILE, PAGE_FILE, SweepStore, make_sweep_folder, sweep_id_of
from runner.results.stored_sweep import read_sweep
from runner.tracking.recorder import Tracker

log = logging.getLogger(__name__)


SweepOf = Callable[[SweepStore], Sweep]
"""Makes what measures a command's plans, from its store."""


@dataclass(frozen=True)
class Session:
    """One command whose sweep is ready to run."""

    plans: Sequence[Plan]
    store: SweepStore
    console: Console
    cached: Artifacts
    tracker: Tracker
    peaks: Peaks | None
    """Of this machine, if a row's share of them is wanted."""
    start: float
    """When the command started, by the monotonic clock."""
    preparing_s: float

    @property
    def config(self) -> RunConfig:
        """The configuration that all session fields are read from."""
        return self.plans[0].config

    def trim_cache(self) -> None:
        """Remove artifacts beyond the cache's limit, and report what was removed."""
        for line in guarded("eviction", lambda: self.cached.trim(self.config.cache_limit_gib)):
            say(self.console, line)

    def has_time_for(self, expected_s: float | None) -> bool:
        """Return whether a run ends within the budget. With no estimate yet, the run is started."""
        budget = seconds_of(self.config.budget) if self.config.budget else None
        return budget is None or time.monotonic() - self.start + (expected_s or 0.0) <= budget


@dataclass(frozen=True)
class Conclusion:
    """What a sweep ended in."""

    made: dict[int, Result]
    """Results by the numbers of their plans."""
    rows: list[dict[str, Any]]
    title: str
    lines: list[str]
    """What was concluded from all rows."""
    unsaved: int
    """Results that could not be written."""
    interrupted: bool
    code: int
    """Exit code for the statuses of the runs."""
    page: bool
    """Whether the page was written."""


def run_session(
    command: Command,
    plans: Sequence[Plan],
    folder: Path,
    console: Console,
    *,
    wide: bool = False,
    sweep_of: SweepOf | None = None,
) -> int:
    """Measure a sweep while no other measurement runs, record it, print its table; return the exit code.

    Args:
        command: as the user gave it.
        plans: one per run, in order.
        folder: for a new sweep; a resumed one has its own.
        console: for everything that is shown.
        wide: whether the closing table has all columns.
        sweep_of: returns what measures the plans in a store; None: a sweep of all of them.

    Raises:
        NothingLaunched: another measurement runs on this machine, or the sweep's folder cannot be written.
    """
    with measurement_lock(wait=plans[0].config.wait, report=lambda line: say(console, line)), Reaper():
        session = prepare(command, plans, folder, console)
        sweep = sweep_of(session.store) if sweep_of else Sweep(session.store, plans, console, session.peaks)
        made = sweep.run(session.tracker, session.has_time_for, session.trim_cache)
        conclusion = conclude(session, sweep, made)
        return show(session, conclusion, wide=wide)


def prepare(command: Command, plans: Sequence[Plan], folder: Path, console: Console) -> Session:
    """Write the sweep's plan, look at the machine at rest, and measure its peaks if a table needs them.

    Raises:
        NothingLaunched: the sweep's folder cannot be written, or is another command's.
    """
    start, config, machine = time.monotonic(), plans[0].config, this_machine()
    store, messages = _open_store(command, plans, folder)
    log.info("sweep %s: %d runs", store.folder, len(plans))
    if config.resume:
        say(console, f"resuming {store.folder.name}")
    for line in messages:
        say(console, line)
    if any(plan.config.measure.guards and not plan.config.measure.check for plan in plans):
        for disturbance in at_rest(machine.cores):
            say(console, f"this machine is not at rest: {disturbance}; contaminated rounds will be repeated")
    tracker = Tracker(config.tracking, Path(config.output_dir), store.folder, lambda line: say(console, line))
    cached = Artifacts(cache_folder(config))
    session = Session(plans, store, console, cached, tracker, None, start, 0.0)
    session.trim_cache()
    peaks = _peaks(plans, store, console)
    preparing_s = time.monotonic() - start
    tracker.start(store.folder / MACHINE_FILE, machine.name)
    return Session(plans, store, console, cached, tracker, peaks, start, preparing_s)


def conclude(session: Session, sweep: Sweep, made: dict[int, Result]) -> Conclusion:
    """Draw the conclusions of a sweep, write its tables, and end its record in the tracking store."""
    session.trim_cache()
    plans, machine, folder = session.plans, this_machine(), session.store.folder
    unsaved = sweep.save_the_rest()
    reused = sum(session.store.reused(number) is not None for number in made)
    lines = [
        *unsaved,
        *conclusions(plans, made, machine),
        *self_comparison_line(sweep.self_comparison),
        *guarded("calibration", lambda: _calibrate(plans, made)),
        *progress_lines(sweep.planned, made, reused, folder.name, interrupted=sweep.interrupted),
        *guarded("answer", lambda: sweep.answer(made)),
    ]
    rows = [row(made[number]) for number in sorted(made)]
    baseline = [] if session.config.measure.check else [f"baseline: {_baselines(plans)}"]
    title = " · ".join([machine.name, *baseline, session.config.measure.name])
    files, problems = write_tables(rows, title, lines, folder)
    page, more = _write_page(folder)
    files += page
    for problem in [*problems, *more]:
        say(session.console, problem)
    session.tracker.finish(files, interrupted=sweep.interrupted)
    return Conclusion(made, rows, title, lines, len(unsaved), sweep.interrupted, sweep.exit_code(made), bool(page))


def _write_page(folder: Path) -> tuple[list[Path], list[str]]:
    """Write the page of a sweep; return its path, or a message if it could not be written."""
    try:
        from runner.reporting.page.sweep_page import write_page  # only after everything is measured

        return [write_page(read_sweep(folder), logs=True)], []
    except Exception as error:  # such as a full disk, or a missing package: the table is printed in any case
        return [], [f"report.html could not be written: {error!r}"]


def show(session: Session, conclusion: Conclusion, *, wide: bool = False) -> int:
    """Print the table and what was concluded, and return the exit code of the command."""
    console, made = session.console, conclusion.made
    now = [result for number, result in made.items() if not session.store.reused(number)]
    besides = {"peak": session.preparing_s} if session.peaks else None
    last = [
        *([peak_line(session.peaks)] if session.peaks else []),
        time_line(now, time.monotonic() - session.start, besides),
        f"results: {session.store.folder}" + (f", {PAGE_FILE} among them" if conclusion.page else ""),
    ]
    try:
        print_table(console, conclusion.rows, conclusion.title, conclusion.lines, wide=wide)
        if session.config.verbose:
            print_evidence(console, {made[number].label: made[number].evidence for number in sorted(made)})
        for line in last:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    except OSError as error:  # a full disk behind standard output, or a terminal that was closed
        print(f"the table could not be shown: {error}; it is in {session.store.folder}", file=sys.stderr)
        return exit_codes.FAILED
    if conclusion.interrupted:
        return exit_codes.INTERRUPTED
    return exit_codes.FAILED if conclusion.unsaved else conclusion.code


def _baselines(plans: Sequence[Plan]) -> str:
    """Return the baseline of all rows in words; if they have different ones, each row's settings name its own."""
    different = {describe(plan.baseline) for plan in plans}
    return different.pop() if len(different) == 1 else f"{len(different)} different ones"


def _open_store(command: Command, plans: Sequence[Plan], folder: Path) -> tuple[SweepStore, list[str]]:
    """Make the folder of a new sweep, or open that of a resumed one; write the machine and the plan into it.

    Returns:
        The sweep's store, and messages about earlier results that are not reused.

    Raises:
        NothingLaunched: the folder cannot be written, or is another command's.
    """
    config = plans[0].config
    try:
        if config.resume:
            folder = folder.with_name(config.resume)
            if not SweepStore.holds_plan(folder) or not command.measures_as(*stored_command(folder)):
                raise NothingLaunched(f"{folder} is no sweep of this command: resume it by runner resume NAME alone")
            sweep_id = sweep_id_of(folder)
        else:
            sweep_id = uuid4().hex
            folder = make_sweep_folder(folder, sweep_id)
        found = [asdict(entry) for entry in inventory.take(this_machine(), cache_folder(config))]
        write_json(folder / MACHINE_FILE, as_dict(this_machine()) | {"inventory": found})
        reused, messages = reusable_runs(folder, plans)
        store = SweepStore(folder, plans, reused)
        store.write_plan(command.as_json(), sweep_id)
    except OSError as error:
        raise NothingLaunched(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return store, messages


def _peaks(plans: Sequence[Plan], store: SweepStore, console: Console) -> Peaks | None:
    """Measure the machine's peaks before the rows of a table; None if no speed needs them, or there are none."""
    left = [plan.config for number, plan in enumerate(plans) if not store.reused(number)]
    if not any(config.row.table and not config.measure.check for config in left):
        return None
    try:
        reference = plans[0].reference
        launch = build_launches(reference, this_machine(), os.environ)[0]
        peaks = measure_peaks(launch, reference.measure.prepare_timeout_s)
        write_json(store.folder / "peaks.json", asdict(peaks))
    except (RunFailed, OSError) as failure:
        say(console, f"no peak shares: {failure}")
        return None
    return peaks


def _calibrate(plans: Sequence[Plan], made: dict[int, Result]) -> list[str]:
    """Store the noise floor that the A/A runs of a sweep found, and return a line for each configuration."""
    lines = []
    for config, speedups in self_comparisons(plans, made):
        found = calibrate(config, this_machine(), speedups) if len(speedups) >= config.aa else None
        lines.append(calibration_line(config, speedups, found, str(cache_folder(config) / "noise")))
    return lines
