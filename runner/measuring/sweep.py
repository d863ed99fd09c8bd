"""All runs of one command, in order: each is executed, saved and recorded."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)


class Sweep:
    """All runs of one command."""

    def __init__(self, store: SweepStore, plans: Sequence[Plan], console: Console, peaks: Peaks | None = None) -> None:
        """Keep the plans and the store of their results.

        Args:
            store: of the sweep's folder; each run gets a folder in it, or already has one.
            plans: one per run, in order.
            console: for the progress display.
            peaks: of this machine, if each run's share of them is wanted.
        """
        self._store = store
        self._peaks = peaks
        self._plans = plans
        self._console = console
        self._unsaved: dict[int, Result] = {}
        self._forecast = Forecast()
        for number, plan in enumerate(plans):
            if (reused := store.reused(number)) is not None:
                self._forecast.note(plan, reused.wall_s)
        self.interrupted = False
        """Whether the user stopped it."""

    def run(
        self, tracker: Tracker, may_start: Callable[[float | None], bool], on_built: Callable[[], None]
    ) -> dict[int, Result]:
        """Execute and record every run that has no result yet; a failure in one never ends the sweep.

        Args:
            tracker: records each result.
            may_start: called before each run with the seconds that it is expected to take; the sweep ends when it
                returns false.
            on_built: called when a run has made artifacts for the cache.

        Returns:
            The results by the numbers of their plans, without those that were not started.
        """
        results: dict[int, Result] = {}
        pool = BaselinePool()
        try:
            with Progress(self._console, len(self._plans)) as progress:
                for number, plan in enumerate(self._plans):
                    reused = self._store.reused(number)
                    if reused is None and not may_start(self._forecast.expect(plan)):
                        break
                    begin = time.monotonic()
                    made = reused or self._execute(number, progress, pool)
                    with defer_interrupt():
                        result = results[number] = reused or self._save(number, made)
                        if reused is None:
                            self._forecast.note(plan, time.monotonic() - begin)
                        if number not in self._unsaved:
                            tracker.record(result, self._store.run_folder(number))
                        progress.end(number, result, reused=reused is not None, left_s=self._left_s(number + 1))
                    if result.rebuilt and reused is None:
                        on_built()
                    if result.status is Status.interrupted:
                        self.interrupted = True
                        break
        except KeyboardInterrupt:  # between two runs: the finished ones are saved
            self.interrupted = True
        finally:
            pool.close()
        for number in range(len(self._plans)):  # after the last that was executed
            if number not in results and (reused := self._store.reused(number)) is not None:
                results[number] = reused
        return results

    def save_the_rest(self) -> list[str]:
        """Try again to write the results that could not be written; return a line for each that still cannot."""
        lines = []
        for number, result in self._unsaved.items():
            try:
                save(result, self._store.make_run_folder(number))
            except (OSError, ValueError) as error:
                lines.append(f"{result.label}: its result is only in this table, it could not be written: {error}")
        return lines

    def _left_s(self, first: int) -> float | None:
        """Return the seconds that the runs from a number on will take, None before any has finished."""
        left = [plan for number, plan in enumerate(self._plans) if number >= first and not self._store.reused(number)]
        return self._forecast.expect_all(left)

    def _execute(self, number: int, progress: Progress, pool: BaselinePool) -> Result:
        """Execute a run. Whatever happens in it, it has a result."""
        plan, begin = self._plans[number], time.monotonic()
        progress.begin(number, plan.label, self._left_s(number))
        timer = PhaseTimer()
        try:
            folder = self._store.make_run_folder(number)
            (folder / "config.yaml").write_text(plan.yaml, encoding="utf-8")
            result = execute_run(Run(plan, folder, progress, timer), pool)
        except KeyboardInterrupt:
            pool.close()
            reason = "interrupted by the user"
            result = replace(self._unmeasured(plan, Status.interrupted, reason, begin), phases=timer.seconds)
        except Exception as error:  # a full disk, or a defect of this program: it ends a run, never a sweep
            pool.close()
            log.info("%s failed", plan.label, exc_info=True)  # its result holds the traceback
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            result = self._unmeasured(plan, Status.failed, reason, begin, traceback.format_exc())
        if self._peaks is not None and result.shown and plan.config.model == self._plans[0].config.model:
            share = peak_share(self._peaks, result.shown, str(plan.config.precision.name))
            result = replace(result, peak_share=share)
        return result

    def _save(self, number: int, result: Result) -> Result:
        """Write a result. If that fails, its row says so, and it is written again at the end."""
        result = without_secrets(result)
        try:
            folder = self._store.make_run_folder(number)
            save(result, folder)
            write_json(folder / "evidence.json", [asdict(finding) for finding in result.evidence])
        except OSError as error:  # a full disk
            self._unsaved[number] = result
            result = replace(result, notes=[*result.notes, f"not all of it could be written: {error}"])
        except ValueError as error:  # a number that JSON cannot express: it is no result
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
