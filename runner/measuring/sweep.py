"""All runs of one command: measured in blocks that share their baseline, each saved and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from uuid import uuid4

from rich.console import Console

from runner import exit_codes
from runner.analysis.statistics import Estimate
from runner.measuring.block_run import BlockRun
from runner.measuring.check_run import CheckRun
from runner.measuring.reference import References
from runner.measuring.round_log import remove_checkpoint
from runner.measuring.row_group import RowGroup
from runner.planning.blocks import group
from runner.planning.eta import Forecast
from runner.processes.peak import peak_share
from runner.processes.signals import defer_interrupt
from runner.protocol import Peaks
from runner.reporting.answer import answer
from runner.reporting.progress import Progress
from runner.results.files import save, without_secrets, write_json
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import SweepStore
from runner.tracking.recorder import Tracker

SELF_COMPARISON_ROWS = 5
"""With more measured rows than this, one block also measures a second process of its baseline (A/A)."""


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
        self._results: dict[int, Result] = {}
        self._references = References()
        self._forecast = Forecast()
        self._block = 0
        self._session = uuid4().hex[:8]
        """Part of the names of blocks: those of another session, or of another machine, are not paired with these."""
        self._progress: Progress
        for number, plan in enumerate(plans):
            if (reused := store.reused(number)) is not None:
                self._forecast.note(plan, reused.wall_s)
        self.interrupted = False
        """Whether the user stopped it."""
        self.self_comparison: Estimate | None = None
        """Speedup of a second process of the baseline over the first: it is 1."""

    def run(
        self, tracker: Tracker, may_start: Callable[[float | None], bool], on_built: Callable[[], None]
    ) -> dict[int, Result]:
        """Measure and record every run that has no result yet; a failure in one never ends the sweep.

        Args:
            tracker: records each result.
            may_start: called before each block with the seconds that it is expected to take; the sweep ends when it
                returns false.
            on_built: called when a block has made artifacts for the cache.

        Returns:
            The results by the numbers of their plans, without those that were not started.
        """
        with Progress(self._console, len(self._plans)) as self._progress:
            try:
                waiting = [number for number in range(len(self._plans)) if not self._keep(number, tracker)]
                while waiting and not self.interrupted:
                    numbers = self._affordable(group(self._plans, waiting), may_start)
                    if not numbers:
                        break
                    ended = self._run_block(numbers, tracker)
                    waiting = [number for number in waiting if number not in ended]
                    if any(self._results[number].rebuilt for number in ended):
                        on_built()
            except KeyboardInterrupt:  # between two blocks: what is finished is saved
                self.interrupted = True
        return dict(sorted(self._results.items()))

    @property
    def planned(self) -> Sequence[Plan]:
        """The plans of all runs that belong to the sweep."""
        return self._plans

    def answer(self, made: dict[int, Result]) -> list[str]:
        """Return the sentence below the table, from the results by the numbers of their plans."""
        return answer([made[number] for number in sorted(made)])

    def exit_code(self, made: dict[int, Result]) -> int:
        """Return the exit code for the statuses of the runs."""
        return exit_code(list(made.values()))

    def save_the_rest(self) -> list[str]:
        """Try again to write the results that could not be written; return a line for each that still cannot."""
        lines = []
        for number, result in self._unsaved.items():
            try:
                save(result, self._store.make_run_folder(number))
            except (OSError, ValueError) as error:
                lines.append(f"{result.label}: its result is only in this table, it could not be written: {error}")
        return lines

    def _keep(self, number: int, tracker: Tracker) -> bool:
        """Record the result that an earlier command measured; return whether there is one."""
        reused = self._store.reused(number)
        if reused is None:
            return False
        self._results[number] = reused
        tracker.record(reused, self._store.run_folder(number))
        self._progress.end(number, reused, reused=True, left_s=self._left_s())
        return True

    def _affordable(self, numbers: Sequence[int], may_start: Callable[[float | None], bool]) -> list[int]:
        """Return the first runs of a block that end within the budget; one run if nothing is known about it."""
        found: list[int] = []
        for number in numbers:
            expected = self._forecast.expect_all([self._plans[one] for one in (*found, number)])
            if not may_start(expected):
                break
            found.append(number)
            if expected is None and self._plans[number].config.budget:
                break
        return found

    def _left_s(self) -> float | None:
        """Return the seconds that the runs without a result will take, None before any has finished."""
        left = [
            plan
            for number, plan in enumerate(self._plans)
            if number not in self._results and not self._store.reused(number)
        ]
        return self._forecast.expect_all(left)

    def _run_block(self, numbers: Sequence[int], tracker: Tracker) -> list[int]:
        """Measure runs side by side, save and record their results; return the numbers of those that ended."""
        self._block += 1
        self._progress.begin(numbers, [self._plans[number].label for number in numbers], self._left_s())
        block = self._open_block(
            f"{self._block:02d}-{self._session}", {number: self._plans[number] for number in numbers}
        )
        ended = block.run()
        with defer_interrupt():
            for number, result in ended.items():
                self._results[number] = self._save(number, self._with_peak_share(number, result))
            for number in self._to_record(list(ended)):
                result = self._results[number]
                self._forecast.note(self._plans[number], result.wall_s)
                if number not in self._unsaved:
                    tracker.record(result, self._store.run_folder(number))
                self._progress.end(number, result, reused=False, left_s=self._left_s())
        self.interrupted |= block.interrupted
        self.self_comparison = self.self_comparison or block.self_comparison()
        return list(ended)

    def _open_block(self, name: str, plans: Mapping[int, Plan]) -> RowGroup:
        """Return what measures runs side by side."""
        if next(iter(plans.values())).config.measure.check:
            return CheckRun(name, plans, self._store, self._references, self._progress)
        block = BlockRun(name, plans, self._store, self._references, self._progress)
        if self.self_comparison is None and not any(plan.part for plan in self._plans):
            measured = sum(result.measurement is not None for result in self._results.values())
            block.compare_with_itself_above(SELF_COMPARISON_ROWS - measured)
        return block

    def _to_record(self, ended: list[int]) -> list[int]:
        """Return the runs of a block whose results are final."""
        return ended

    def _with_peak_share(self, number: int, result: Result) -> Result:
        """Return a result with its share of the machine's peak, where the peaks are those of its model."""
        config = self._plans[number].config
        if self._peaks is None or result.shown is None or config.model != self._plans[0].config.model:
            return result
        return replace(result, peak_share=peak_share(self._peaks, result.shown, str(config.precision.name)))

    def _save(self, number: int, result: Result) -> Result:
        """Write a result. If that fails, its row says so, and it is written again at the end."""
        result = without_secrets(result)
        try:
            folder = self._store.make_run_folder(number)
            save(result, folder)
            write_json(folder / "evidence.json", [asdict(finding) for finding in result.evidence])
            if result.status is not Status.interrupted:
                remove_checkpoint(folder)
        except OSError as error:  # a full disk
            self._unsaved[number] = result
            result = replace(result, notes=[*result.notes, f"not all of it could be written: {error}"])
        except ValueError as error:  # a number that JSON cannot express: it is no result
            status, reason = Status.failed, f"its result could not be written: {error}"
            result = replace(result, status=status, reason=reason, measurement=None, accuracy=None, evidence=[])
            self._unsaved[number] = result
        return result


def exit_code(results: Sequence[Result]) -> int:
    """Return the exit code for the statuses of runs."""
    return exit_codes.OK if all(result.is_harmless for result in results) else exit_codes.FAILED
