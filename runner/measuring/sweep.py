"""What outlives one run: the kept baseline worker, the fp32 references, and the order of the runs."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.measuring.progress import Screen
from runner.measuring.run import LoadedWorker, Run, Stopwatch, run_experiment
from runner.planning.eta import Forecast
from runner.planning.plans import Plan
from runner.processes.launch import build_launches
from runner.processes.peak import peak_share
from runner.processes.signals import finished_first
from runner.protocol import Job, Peaks
from runner.results.result import Result, Status, save, without_secrets, write_json
from runner.results.store import Ledger
from runner.tracking.recorder import Tracker


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
                try:
                    run.note_launches(launches, "baseline")
                except BaseException:  # nobody else knows of it any more
                    kept.worker.stop()
                    raise
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

    def __init__(self, ledger: Ledger, plans: Sequence[Plan], console: Console, peaks: Peaks | None = None) -> None:
        """Keep the plans and where their results go.

        Args:
            ledger: of the sweep's folder; a folder per run comes into it, or is already there.
            plans: one per run, in order.
            console: for the progress display.
            peaks: of this machine, where each run's share of them is wanted.
        """
        self._ledger = ledger
        self._peaks = peaks
        self._plans = plans
        self._console = console
        self._unsaved: dict[int, Result] = {}
        self._forecast = Forecast()
        for number, plan in enumerate(plans):
            if (kept := ledger.kept(number)) is not None:
                self._forecast.note(plan, kept.wall_s)
        self.interrupted = False
        """Whether the person stopped it."""

    def run(
        self, tracker: Tracker, may_take: Callable[[float | None], bool], on_built: Callable[[], None]
    ) -> dict[int, Result]:
        """Make every run that is not already there, and record it; a failure in one never ends the sweep.

        Args:
            tracker: records each.
            may_take: asked before each run with the seconds that it is expected to take; the sweep ends where it may
                not.
            on_built: told when a run has made artifacts that are kept.

        Returns:
            The results by the numbers of their plans; those that were not begun are not among them.
        """
        results: dict[int, Result] = {}
        bench = KeptBench()
        try:
            with Screen(self._console, len(self._plans)) as screen:
                for number, plan in enumerate(self._plans):
                    kept = self._ledger.kept(number)
                    if kept is None and not may_take(self._forecast.expect(plan)):
                        break
                    begin = time.monotonic()
                    made = kept or self._make(number, screen, bench)
                    with finished_first():
                        result = results[number] = kept or self._save(number, made)
                        if number not in self._unsaved:
                            tracker.record(result, self._ledger.run_folder(number))
                        screen.end(number, result, kept=kept is not None)
                    if kept is None:
                        self._forecast.note(plan, time.monotonic() - begin)
                        if result.rebuilt:
                            on_built()
                    if result.status is Status.interrupted:
                        self.interrupted = True
                        break
        except KeyboardInterrupt:  # between two runs: those that are finished are kept
            self.interrupted = True
        finally:
            bench.close()
        for number in range(len(self._plans)):  # behind the one that was the last to be made
            if number not in results and (kept := self._ledger.kept(number)) is not None:
                results[number] = kept
        return results

    def save_the_rest(self) -> list[str]:
        """Try again to write the results that could not be written; return a line for each that still cannot."""
        told = []
        for number, result in self._unsaved.items():
            try:
                save(result, self._ledger.make_run_folder(number))
            except (OSError, ValueError) as error:
                told.append(f"{result.label}: its result is only in this table, it could not be written: {error}")
        return told

    def _make(self, number: int, screen: Screen, bench: KeptBench) -> Result:
        """Make a run; whatever happens, there is a result."""
        plan, begin = self._plans[number], time.monotonic()
        left = [other for place, other in enumerate(self._plans) if place >= number and not self._ledger.kept(place)]
        screen.begin(number, plan.label, self._forecast.expect_all(left))
        watch = Stopwatch()
        try:
            folder = self._ledger.make_run_folder(number)
            (folder / "config.yaml").write_text(plan.yaml, encoding="utf-8")
            result = run_experiment(Run(plan, folder, screen, watch), bench)
        except KeyboardInterrupt:
            bench.close()
            reason = "stopped by the person"
            result = replace(self._unmeasured(plan, Status.interrupted, reason, begin), phases=watch.seconds)
        except Exception as error:  # a full disk, or a defect of this program: it ends a run, never a sweep
            bench.close()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            result = self._unmeasured(plan, Status.failed, reason, begin, traceback.format_exc())
        if self._peaks is not None and result.shown and plan.config.model == self._plans[0].config.model:
            share = peak_share(self._peaks, result.shown, str(plan.config.precision.name))
            result = replace(result, peak_share=share)
        return result

    def _save(self, number: int, result: Result) -> Result:
        """Write a result; one that cannot be written is kept in mind, and its row says so."""
        result = without_secrets(result)
        try:
            folder = self._ledger.make_run_folder(number)
            save(result, folder)
            write_json(folder / "evidence.json", [asdict(finding) for finding in result.evidence])
        except OSError as error:  # a full disk
            self._unsaved[number] = result
            result = replace(result, notes=[*result.notes, f"not all of it could be written: {error}"])
        except ValueError as error:  # a number that JSON has no word for: it is no result
            status, reason = Status.failed, f"its result could not be written: {error}"
            result = replace(result, status=status, reason=reason, measurement=None, accuracy=None, evidence=[])
            self._unsaved[number] = result
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
