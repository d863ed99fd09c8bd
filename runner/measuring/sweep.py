"""What outlives one run: the kept baseline worker, the fp32 references, and the order of the runs."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from rich.console import Console

from runner.measuring.baseline_pool import BaselinePool
from runner.measuring.phase_timer import PhaseTimer
from runner.measuring.progress import Progress
from runner.measuring.run import Run, execute_run
from runner.planning.eta import Forecast
from runner.processes.peak import peak_share
from runner.processes.signals import defer_interrupt
from runner.protocol import Peaks
from runner.results.files import save, without_secrets, write_json
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import SweepStore
from runner.tracking.recorder import Tracker


class Sweep:
    """All runs of one command."""

    def __init__(self, ledger: SweepStore, plans: Sequence[Plan], console: Console, peaks: Peaks | None = None) -> None:
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
        pool = BaselinePool()
        try:
            with Progress(self._console, len(self._plans)) as progress:
                for number, plan in enumerate(self._plans):
                    kept = self._ledger.kept(number)
                    if kept is None and not may_take(self._forecast.expect(plan)):
                        break
                    begin = time.monotonic()
                    made = kept or self._make(number, progress, pool)
                    with defer_interrupt():
                        result = results[number] = kept or self._save(number, made)
                        if number not in self._unsaved:
                            tracker.record(result, self._ledger.run_folder(number))
                        progress.end(number, result, kept=kept is not None)
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
            pool.close()
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

    def _make(self, number: int, progress: Progress, pool: BaselinePool) -> Result:
        """Make a run; whatever happens, there is a result."""
        plan, begin = self._plans[number], time.monotonic()
        left = [other for place, other in enumerate(self._plans) if place >= number and not self._ledger.kept(place)]
        progress.begin(number, plan.label, self._forecast.expect_all(left))
        watch = PhaseTimer()
        try:
            folder = self._ledger.make_run_folder(number)
            (folder / "config.yaml").write_text(plan.yaml, encoding="utf-8")
            result = execute_run(Run(plan, folder, progress, watch), pool)
        except KeyboardInterrupt:
            pool.close()
            reason = "stopped by the person"
            result = replace(self._unmeasured(plan, Status.interrupted, reason, begin), phases=watch.seconds)
        except Exception as error:  # a full disk, or a defect of this program: it ends a run, never a sweep
            pool.close()
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
