"""Rows that are run together, from their first process to their results."""

from __future__ import annotations

import logging
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from runner.analysis.statistics import Estimate
from runner.measuring.member import Member
from runner.measuring.reference import References
from runner.measuring.round_log import read_checkpoint
from runner.measuring.row import Row
from runner.planning.fingerprint import code_version, is_current
from runner.reporting.progress import Progress
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import RunFailed, Status
from runner.results.store import SweepStore

log = logging.getLogger(__name__)


class RowGroup(ABC):
    """Rows that are run together; a subclass says how."""

    def __init__(
        self, name: str, plans: Mapping[int, Plan], store: SweepStore, references: References, progress: Progress
    ) -> None:
        """Open nothing yet.

        Args:
            name: of the group; measured runs that share it are paired with one another.
            plans: by their numbers, in order.
            store: of the sweep.
            references: of the sweep.
            progress: shows each phase.
        """
        self._name = name
        self._plans = plans
        self._store = store
        self._references = references
        self._progress = progress
        self._rows: list[Row] = []
        self._unopened: dict[int, RunFailed] = {}
        self.interrupted = False
        """Whether the user stopped it."""

    def run(self) -> dict[int, Result]:
        """Run the rows; whatever happens, they have results.

        Returns:
            The results by the numbers of their plans, without rows that are left to another group.
        """
        begin = time.monotonic()
        failure: RunFailed | None = None
        try:
            self._open()
            if self._rows:
                self._run_rows()
        except KeyboardInterrupt:
            self.interrupted = True
            failure = RunFailed(Status.interrupted, "interrupted by the user")
        except RunFailed as found:  # of what the rows share: their baseline
            failure = found
        except Exception as error:  # a full disk, or a defect of this program: it ends a group, never a sweep
            log.info("%s failed", self._name, exc_info=True)  # the results hold the traceback
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            failure = RunFailed(Status.failed, reason, exception=traceback.format_exc())
        return self._results(failure, time.monotonic() - begin)

    def self_comparison(self) -> Estimate | None:
        """Return the speedup of a second process of the baseline over the first; None if it was not measured."""
        return None

    @abstractmethod
    def _run_rows(self) -> None:
        """Run the opened rows.

        Raises:
            RunFailed: what the rows share failed.
            KeyboardInterrupt: the user stopped it.
        """

    @abstractmethod
    def _failure_of(self, row: Row, failure: RunFailed | None) -> RunFailed | None:
        """Return how a row ended, None if it succeeded.

        Args:
            row: the row.
            failure: how the group ended; None if it succeeded.
        """

    def _is_left_out(self, row: Row) -> bool:  # noqa: ARG002 -- for groups with a limit
        """Return whether a row is left to another group."""
        return False

    def _shared(self) -> Iterable[Member]:
        """Return the members that all rows share."""
        return ()

    def _is_steady(self) -> bool:
        """Return whether all shared members reached a steady speed."""
        return all(member.steady for member in self._shared())

    def _open(self) -> None:
        """Make the folder of each row, and load what an interrupted sweep has measured of it."""
        for number, plan in self._plans.items():
            try:
                self._rows.append(self._open_row(number, plan))
            except OSError as error:  # a full disk
                self._unopened[number] = RunFailed(
                    Status.failed, f"{type(error).__name__}: {error}", exception=traceback.format_exc()
                )

    def _open_row(self, number: int, plan: Plan) -> Row:
        found = read_checkpoint(self._store.run_folder(number), plan.fingerprint)
        folder = self._store.make_run_folder(number, keep=found is not None)
        (folder / "config.yaml").write_text(plan.yaml, encoding="utf-8")
        member = Member(plan.label, plan.config, folder, "candidate", self._progress.phase)
        row = Row(number, plan, member)
        if found is not None:
            member.rounds, member.loaded, member.batch_ms = list(found.rounds), found.loaded, found.batch_ms
            member.steady, member.rss_peak_mib = found.steady, found.rss_peak_mib
            row.accuracy, row.accuracy_failure = found.accuracy, found.accuracy_failure
            row.evidence, row.evidence_failure = list(found.evidence), found.evidence_failure
        return row

    @staticmethod
    def _is_same_code() -> bool:
        """Return whether workers still start with the code that the fingerprints name.

        Raises:
            RunFailed: they do not.
        """
        if not is_current(code_version()):
            reason = "the code of this program changed while the sweep ran: start it again"
            raise RunFailed(Status.failed, reason)
        return True

    def _results(self, failure: RunFailed | None, wall_s: float) -> dict[int, Result]:
        """Return the result of each row that was not left out. Common seconds are shared equally."""
        rows = [row for row in self._rows if not self._is_left_out(row)]
        shared: dict[str, float] = {}
        for member in self._shared():
            for phase, seconds in member.timer.seconds.items():
                shared[phase] = shared.get(phase, 0.0) + seconds / max(1, len(rows))
        total = sum(sum(row.member.timer.seconds.values()) for row in rows) + len(rows) * sum(shared.values())
        host_s = max(0.0, wall_s - total) / max(1, len(rows))
        found = {}
        for row in rows:
            own = self._failure_of(row, failure)
            seconds = sum(row.member.timer.seconds.values()) + sum(shared.values()) + host_s
            found[row.number] = row.result(own, self._name, steady=self._is_steady(), shared_s=shared, wall_s=seconds)
        for number, own in self._unopened.items():
            found[number] = Result(
                label=self._plans[number].label,
                status=own.status,
                reason=own.reason,
                fingerprint=self._plans[number].fingerprint,
                settings=self._plans[number].settings,
                exception=own.exception,
            )
        return dict(sorted(found.items()))
