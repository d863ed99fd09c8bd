"""What outlives one run: the plans, the kept baseline worker, the fp32 references, the record, the closing table."""

from __future__ import annotations

import itertools
import json
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from runner import ablation, diagnosis, inventory
from runner.calibration import calibrate
from runner.config import RunConfig
from runner.environment import build_launches, describe
from runner.experiment import LoadedWorker, Run, run_experiment
from runner.lock import only_measurement
from runner.machine import Machine, as_dict, this_machine
from runner.noise import Watch
from runner.peak import describe as describe_peaks
from runner.peak import measure_peaks, peak_share
from runner.plans import Plan
from runner.protocol import Job, Peaks
from runner.record import row
from runner.report import csv_table, markdown_table, print_evidence, print_table, time_line
from runner.result import HARMLESS, Result, RunFailed, Status, save, write_json
from runner.screen import Screen
from runner.statistics import Verdict
from runner.tracking import NOTES_FILE, Tracker

AT_REST_S = 0.5
"""How long the machine is looked at before anything is launched."""
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


class KeptBench:
    """Baseline worker and references, kept from one run of a sweep to the next."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._kept: LoadedWorker | None = None
        self._references: dict[str, Path] = {}

    def baseline(self, config: RunConfig, run: Run) -> LoadedWorker:
        """Return the kept worker where it is of this configuration, else a new one.

        Where a run measures several process pairs, and in A/A, each pair is fresh: a kept process would carry what it
        is by accident into all of them.

        Raises:
            RunFailed: the baseline could not be started, loaded or warmed up.
        """
        launches = build_launches(config, this_machine(), os.environ)
        kept, self._kept = self._kept, None
        if kept is not None:
            fresh = config.measure.processes_max > 1 or run.plan.config.aa
            if kept.worker.alive() and kept.worker.launches == launches and not fresh:
                run.note_launches(launches, "baseline")
                return kept
            kept.worker.stop()
        return run.start(config, "baseline")

    def release(self, worker: LoadedWorker) -> None:
        """Keep a worker that is alive for the next run."""
        if worker.worker.alive():
            self._kept = worker
        else:
            worker.worker.stop()

    def reference(self, config: RunConfig, run: Run, baseline: LoadedWorker) -> Path:
        """Return the file with the fp32 logits; the baseline gives them where it is the reference."""
        launches = build_launches(config, this_machine(), os.environ)
        key = _subject(launches[0].job)
        if key not in self._references:
            path = run.folder / "reference.npz"
            if baseline.worker.launches == launches:
                run.evaluate(baseline.worker, path, cached=True)
            else:
                worker, _ = run.open(config, "reference")
                try:
                    run.evaluate(worker, path, cached=True)
                finally:
                    worker.stop()
            self._references[key] = path
        return self._references[key]

    def close(self) -> None:
        """Stop the kept worker."""
        if self._kept is not None:
            self._kept.worker.stop()
            self._kept = None


def _subject(job: Job) -> str:
    """Return what a reference depends on: the network and the images, not how fast they are run."""
    fields = asdict(job)
    del fields["batch_size"]
    return json.dumps(fields, sort_keys=True)


class Sweep:
    """All runs of one command."""

    def __init__(self, plans: Sequence[Plan], folder: Path, console: Console, peaks: Peaks | None = None) -> None:
        """Keep the plans and where their results go.

        Args:
            plans: one per run, in order.
            folder: made, if need be; a folder per run comes into it.
            console: for the progress display.
            peaks: of this machine, where each run's share of them is wanted.
        """
        self._peaks = peaks
        self._plans = plans
        self._folder = folder
        self._console = console
        self.interrupted = False
        """Whether the person stopped it."""

    def run(self, tracker: Tracker) -> list[Result]:
        """Make every run and record it; a failure in one never ends the sweep.

        Raises:
            OSError: the sweep's folder cannot be written.
        """
        results: list[Result] = []
        bench = KeptBench()
        try:
            with Screen(self._console, len(self._plans)) as screen:
                for number, plan in enumerate(self._plans):
                    result = self._run_one(number, plan, screen, bench)
                    results.append(result)
                    screen.end(result)
                    tracker.record(result, self._run_folder(number, plan))
                    if result.status is Status.interrupted:
                        self.interrupted = True
                        break
        except KeyboardInterrupt:  # between two runs: those that are finished are kept
            self.interrupted = True
        finally:
            bench.close()
        return results

    def _run_one(self, number: int, plan: Plan, screen: Screen, bench: KeptBench) -> Result:
        folder = self._run_folder(number, plan)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(plan.yaml, encoding="utf-8")
        screen.begin(plan.label)
        begin = time.monotonic()
        run = Run(plan, folder, screen)
        try:
            result = run_experiment(run, bench)
        except KeyboardInterrupt:
            bench.close()
            left = len(self._plans) - number - 1
            reason = "stopped by the person" + (f"; {left} more were not begun" if left else "")
            result = replace(self._unmeasured(plan, Status.interrupted, reason, begin), phases=run.watch.seconds)
        except Exception as error:  # a defect of this program: it ends a run, never a sweep
            bench.close()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            result = self._unmeasured(plan, Status.failed, reason, begin, traceback.format_exc())
        if self._peaks is not None and result.shown and plan.config.model == self._plans[0].config.model:
            share = peak_share(self._peaks, result.shown, str(plan.config.precision.name))
            result = replace(result, peak_share=share)
        try:
            write_json(folder / "evidence.json", [asdict(finding) for finding in result.evidence])
            save(result, folder)
        except (OSError, ValueError) as error:  # a full disk, or a number that JSON has no word for
            reason = f"its result could not be written: {error}"
            result = self._unmeasured(plan, Status.failed, reason, begin, traceback.format_exc())
        return result

    @staticmethod
    def _unmeasured(plan: Plan, status: Status, reason: str, begin: float, exception: str = "") -> Result:
        return Result(
            label=plan.label,
            status=status,
            reason=reason,
            fingerprint=plan.fingerprint,
            settings=plan.settings,
            wall_s=time.monotonic() - begin,
            exception=exception,
        )

    def _run_folder(self, number: int, plan: Plan) -> Path:
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in plan.label)
        return self._folder / f"{number + 1:03d}_{name[:80]}"


def conduct(plans: Sequence[Plan], folder: Path, console: Console) -> int:
    """Make a sweep where no other measurement runs, record it, print its table; return the process's exit code.

    Raises:
        MachineBusy: another measurement runs on this machine.
        OSError: the sweep's folder cannot be written.
    """
    with only_measurement(wait=plans[0].config.wait, tell=lambda line: _say(console, line)):
        return _conduct(plans, make_folder(folder), console)


def _conduct(plans: Sequence[Plan], folder: Path, console: Console) -> int:
    begin = time.monotonic()
    machine, config = this_machine(), plans[0].config
    output_dir = Path(config.output_dir)
    found = [asdict(entry) for entry in inventory.take(machine, output_dir)]
    write_json(folder / "machine.json", as_dict(machine) | {"inventory": found})
    _warn_of_noise(machine, console)
    peaks = _peaks(plans, folder, console)
    before_s = {"peak": time.monotonic() - begin}
    tracker = Tracker(config.tracking, output_dir, folder, console)
    tracker.begin(folder / "machine.json", machine.name)
    sweep = Sweep(plans, folder, console, peaks)
    results = sweep.run(tracker)
    rows = [row(result) for result in results]
    title = f"{machine.name} · baseline: {describe(plans[0].baseline)} · {config.measure.name}"
    files = _write_tables(rows, title, folder, console)
    conclusions = [
        *_guarded("diagnosis", lambda: diagnosis.lines(plans, results, machine)),
        *_guarded("ablation", lambda: ablation.lines(plans, results)),
        *_guarded("noise floor", lambda: _raised_floors(plans, results)),
        *_guarded("calibration", lambda: _calibrate(plans, results, machine)),
    ]
    (folder / NOTES_FILE).write_text("".join(f"{line}\n" for line in conclusions), encoding="utf-8")
    tracker.finish([*files, folder / NOTES_FILE], interrupted=sweep.interrupted)
    print_table(console, rows, title, conclusions)
    if config.verbose:
        print_evidence(console, {result.label: result.evidence for result in results})
    if peaks is not None:
        console.print(describe_peaks(peaks), highlight=False)
    console.print(time_line(results, time.monotonic() - begin, before_s if peaks else None), highlight=False)
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)
    return EXIT_INTERRUPTED if sweep.interrupted else exit_code(results)


def _guarded(what: str, conclude: Callable[[], list[str]]) -> list[str]:
    """Return conclusions, or why there are none: the table is worth more than what is said of it."""
    try:
        return conclude()
    except Exception as error:
        return [f"no {what}: {type(error).__name__}: {error}"]


def _say(console: Console, line: str) -> None:
    console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _warn_of_noise(machine: Machine, console: Console) -> None:
    """Look at the machine at rest, and say who disturbs it."""
    watch = Watch(machine.cores)
    before = watch.read()
    time.sleep(AT_REST_S)
    for disturbance in watch.between(before, watch.read()).disturbances():
        _say(console, f"this machine is not at rest: {disturbance}; disturbed rounds will be measured again")


def _raised_floors(plans: Sequence[Plan], results: Sequence[Result]) -> list[str]:
    """Tell by which δ it was judged, where that is not the one that `measure` names."""
    floors = {
        result.shown.noise_floor
        for plan, result in zip(plans, results, strict=False)
        if result.shown and result.shown.noise_floor > plan.config.measure.noise_floor
    }
    source = "by A/A runs on this machine (python -m runner.machine lists them)"
    return [f"δ is {floor:.1%} here, {source}" for floor in sorted(floors)]


def _calibrate(plans: Sequence[Plan], results: Sequence[Result], machine: Machine) -> list[str]:
    """Keep the noise floor that the A/A runs of a sweep found; return it in words."""
    by_config: dict[str, tuple[RunConfig, list[float]]] = {}
    for plan, result in zip(plans, results, strict=False):
        speedups = by_config.setdefault(repr(plan.config), (plan.config, []))[1]
        if result.shown and result.shown.verdict is not Verdict.too_noisy:
            speedups.append(result.shown.speedup.value)
    told, output_dir = [], plans[0].config.output_dir
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
                f"measure={found.measure} under these settings from now on (kept in {output_dir}/cache/noise: remove "
                "it to undo that)"
            )
    return told


def _peaks(plans: Sequence[Plan], folder: Path, console: Console) -> Peaks | None:
    """Measure the machine's peaks before the rows of a table; None where there is no table, or they cannot be had."""
    if not any(plan.config.row.table for plan in plans):
        return None
    try:
        peaks = measure_peaks(build_launches(plans[0].reference, this_machine(), os.environ)[0])
    except RunFailed as failure:
        _say(console, failure.reason)
        return None
    write_json(folder / "peaks.json", asdict(peaks))
    return peaks


def _write_tables(rows: Sequence[dict[str, Any]], title: str, folder: Path, console: Console) -> list[Path]:
    """Write the closing table, and the figure where the rows are a table's; return the files."""
    texts = {"table.md": markdown_table(rows) + "\n", "table.csv": csv_table(rows)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = [folder / name for name in texts]
    if any(one["tags.table"] for one in rows):
        from runner.figure import draw

        try:
            files += draw(rows, title, folder)
        except Exception as error:  # the numbers are worth more than their picture
            _say(console, f"the figure could not be drawn: {error!r}")
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
