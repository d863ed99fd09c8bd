"""One block of rows from its first process to the results: replicates, evidence, accuracy, checkpoints."""

from __future__ import annotations

import logging
import math
import random
import time
import traceback
from collections.abc import Mapping

from runner.analysis.statistics import Estimate
from runner.measuring.aggregation import estimate_speedup
from runner.measuring.block import Block
from runner.measuring.member import Member, note_launches
from runner.measuring.policy import FixedPlan
from runner.measuring.progress import Progress
from runner.measuring.reference import References
from runner.measuring.round_log import Checkpoint, read_checkpoint, write_checkpoint
from runner.measuring.row import Row, refuse_baseline
from runner.measuring.slices import clean_rounds
from runner.planning.fingerprint import code_version, is_current
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import RunFailed, Status
from runner.results.store import SweepStore

log = logging.getLogger(__name__)


class BlockRun:
    """Rows of one model and one baseline, measured side by side."""

    def __init__(
        self, name: str, plans: Mapping[int, Plan], store: SweepStore, references: References, progress: Progress
    ) -> None:
        """Open nothing yet.

        Args:
            name: of the block; runs that share it are paired with one another.
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
        self._failures: dict[int, RunFailed] = {}
        self._block: Block | None = None
        self._second: Member | None = None
        self._most_without_second: float = math.inf
        self.interrupted = False
        """Whether the user stopped it."""

    def compare_with_itself_above(self, rows: int) -> None:
        """Measure a second process of the baseline too if more than so many rows have a first replicate.

        The speedup of a process over itself is 1. It takes part from the second replicate on.
        """
        self._most_without_second = rows

    def run(self) -> dict[int, Result]:
        """Measure the block; whatever happens in it, its rows have results.

        Returns:
            The results by the numbers of their plans, without rows that had no room in this block.
        """
        begin = time.monotonic()
        failure: RunFailed | None = None
        try:
            self._open()
            if self._rows:
                self._measure()
        except KeyboardInterrupt:
            self.interrupted = True
            failure = RunFailed(Status.interrupted, "interrupted by the user")
        except RunFailed as found:  # the baseline's
            failure = found
        except Exception as error:  # a full disk, or a defect of this program: it ends a block, never a sweep
            log.info("block %s failed", self._name, exc_info=True)  # the results hold the traceback
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            failure = RunFailed(Status.failed, reason, exception=traceback.format_exc())
        return self._results(failure, time.monotonic() - begin)

    def self_comparison(self) -> Estimate | None:
        """Return the speedup of the second process of the baseline over the first; None if it was not measured."""
        if self._second is None or self._second.replicates < 2:
            return None
        return estimate_speedup(clean_rounds(self._second.rounds))

    def _open(self) -> None:
        """Make the folder of each row, and load what an interrupted sweep has measured of it."""
        for number, plan in self._plans.items():
            try:
                self._rows.append(self._open_row(number, plan))
            except OSError as error:  # a full disk
                self._failures[number] = RunFailed(
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

    def _measure(self) -> None:
        """Measure replicates until the policy wants no other.

        Raises:
            RunFailed: the baseline failed, or a setting of it did not take effect.
            KeyboardInterrupt: the user stopped it.
        """
        first = self._rows[0]
        measure, config = first.plan.config.measure, first.plan.baseline
        folder = first.member.folder
        baseline = Member("baseline", config, folder, "baseline", self._progress.phase)
        policy = FixedPlan(measure.replicates, measure.rounds)
        self._block = Block(
            baseline,
            [row.member for row in self._rows],
            random.Random(f"{first.plan.config.seed} {first.plan.label}"),
            on_round=self._show,
        )
        while self._is_same_code() and self._block.run_replicate(policy, lambda found: self._conclude(baseline, found)):
            self._write_checkpoints()
            measured = sum(bool(row.member.rounds) for row in self._rows)
            if self._second is None and measured > self._most_without_second:
                self._second = self._add_second(baseline)
        if baseline.loaded is not None:
            for row in [one for one in self._rows[1:] if one.member.rounds]:
                note_launches(row.member.folder, "baseline", baseline.launches)

    def _add_second(self, baseline: Member) -> Member:
        """Return a second member for the baseline; it takes part if there is room for it."""
        assert self._block is not None
        second = Member("baseline again", baseline.config, baseline.folder, "baseline-again", self._progress.phase)
        second.loaded, second.batch_ms, second.rss_peak_mib = baseline.loaded, baseline.batch_ms, baseline.rss_peak_mib
        if self._block.fits(second):
            self._block.add(second)
        return second

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

    def _show(self, replicate: int, count: int) -> None:
        if self._block is not None:
            measure = self._rows[0].plan.config.measure
            replicates = max(measure.replicates, replicate + 1)  # a second process of the baseline starts one later
            self._progress.round(replicate + 1, replicates, count, measure.rounds)

    def _conclude(self, baseline: Member, present: list[Member]) -> None:
        """Collect evidence and accuracy while the processes of a replicate exist; rows with invalid ones leave."""
        assert self._block is not None
        rows = [row for row in self._rows if row.member in present]
        arithmetic = any(not row.is_examined for row in rows)
        for row in rows:
            try:
                row.observe()
                row.evaluate(self._references, baseline)
            except RunFailed as failure:
                self._block.drop(row.member, failure)
        if baseline.instances is not None and baseline.instances.alive():
            refuse_baseline(baseline.observe(arithmetic=arithmetic))

    def _write_checkpoints(self) -> None:
        assert self._block is not None
        for row in self._rows:
            member = row.member
            if member not in self._block.members or member.loaded is None or member.batch_ms is None:
                continue
            checkpoint = Checkpoint(
                fingerprint=row.plan.fingerprint,
                rounds=member.rounds,
                loaded=member.loaded,
                batch_ms=member.batch_ms,
                steady=member.steady,
                rss_peak_mib=member.rss_peak_mib,
                accuracy=row.accuracy,
                accuracy_failure=row.accuracy_failure,
                evidence=row.evidence,
                evidence_failure=row.evidence_failure,
            )
            try:
                write_checkpoint(member.folder, checkpoint)
            except OSError as error:  # a full disk: the numbers matter more
                row.unwritten = [f"its replicates could not be saved while it was measured: {error}"]

    def _results(self, failure: RunFailed | None, wall_s: float) -> dict[int, Result]:
        """Return the result of each row that was not deferred. Common seconds are shared equally."""
        block = self._block
        deferred = [] if block is None else block.deferred
        rows = [row for row in self._rows if row.member not in deferred]
        shared: dict[str, float] = {}
        for member in [] if block is None else [block.baseline, *([self._second] if self._second else [])]:
            for phase, seconds in member.timer.seconds.items():
                shared[phase] = shared.get(phase, 0.0) + seconds / max(1, len(rows))
        total = sum(sum(row.member.timer.seconds.values()) for row in rows) + len(rows) * sum(shared.values())
        host_s = max(0.0, wall_s - total) / max(1, len(rows))
        found = {}
        for row in rows:
            own = failure if block is None else block.failures.get(row.member, failure)
            seconds = sum(row.member.timer.seconds.values()) + sum(shared.values()) + host_s
            steady = block is None or block.baseline.steady
            found[row.number] = row.result(own, self._name, steady=steady, shared_s=shared, wall_s=seconds)
        for number, own in self._failures.items():
            found[number] = Result(
                label=self._plans[number].label,
                status=own.status,
                reason=own.reason,
                fingerprint=self._plans[number].fingerprint,
                settings=self._plans[number].settings,
                exception=own.exception,
            )
        return dict(sorted(found.items()))
