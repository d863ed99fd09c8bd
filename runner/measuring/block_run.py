"""One block of rows: replicates beside their baseline, evidence, accuracy, checkpoints."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping

from runner.analysis.statistics import Estimate
from runner.measuring.aggregation import estimate_speedup, provisional_speedup
from runner.measuring.block import Block, FixedPlan, Policy
from runner.measuring.member import Member, note_launches
from runner.measuring.reference import References
from runner.measuring.round_log import Checkpoint, write_checkpoint
from runner.measuring.row import Row, refuse_baseline
from runner.measuring.row_group import RowGroup
from runner.measuring.slices import clean_rounds
from runner.reporting.progress import Progress
from runner.results.plan import Plan
from runner.results.status import RunFailed
from runner.results.store import SweepStore


class BlockRun(RowGroup):
    """Rows of one model and one baseline, measured side by side."""

    def __init__(
        self, name: str, plans: Mapping[int, Plan], store: SweepStore, references: References, progress: Progress
    ) -> None:
        """Open nothing yet; the arguments are those of :class:`RowGroup`."""
        super().__init__(name, plans, store, references, progress)
        self._block: Block | None = None
        self._second: Member | None = None
        self._most_without_second: float = math.inf

    def compare_with_itself_above(self, rows: int) -> None:
        """Measure a second process of the baseline too if more than so many rows have a first replicate.

        The speedup of a process over itself is 1. It takes part from the second replicate on.
        """
        self._most_without_second = rows

    def self_comparison(self) -> Estimate | None:
        """Return the speedup of the second process of the baseline over the first; None if it was not measured."""
        if self._second is None or self._second.replicates < 2:
            return None
        return estimate_speedup(clean_rounds(self._second.rounds))

    def _failure_of(self, row: Row, failure: RunFailed | None) -> RunFailed | None:
        """Return how a row left the block early, else how the block ended."""
        return failure if self._block is None else self._block.failures.get(row.member, failure)

    def _is_left_out(self, row: Row) -> bool:
        """Return whether there was no room for a row in the block."""
        return self._block is not None and row.member in self._block.deferred

    def _shared(self) -> Iterable[Member]:
        """Return the baseline, and its second process."""
        if self._block is not None:
            yield self._block.baseline
        if self._second is not None:
            yield self._second

    def _is_steady(self) -> bool:
        """Return whether the baseline reached a steady speed."""
        return self._block is None or self._block.baseline.steady

    def _run_rows(self) -> None:
        """Measure replicates until the policy wants no other.

        Raises:
            RunFailed: the baseline failed, or a setting of it did not take effect.
            KeyboardInterrupt: the user stopped it.
        """
        first = self._rows[0]
        baseline = Member("baseline", first.plan.baseline, first.member.folder, "baseline", self._progress.phase)
        policy = self._policy()
        self._block = Block(
            baseline,
            [row.member for row in self._rows],
            random.Random(f"{first.plan.config.seed} {first.plan.label}"),
            on_round=self._show,
        )
        while self._is_same_code() and self._block.run_replicate(
            policy, lambda found: self._conclude(baseline, found), lambda found: self._admit(baseline, found)
        ):
            self._write_checkpoints()
            self._replicate_ended()
            self._progress.provisional([(row.plan.label, provisional_speedup(row.member)) for row in self._rows])
            measured = sum(bool(row.member.rounds) for row in self._rows)
            if self._second is None and measured > self._most_without_second:
                self._second = self._add_second(baseline)
        if baseline.loaded is not None:
            for row in [one for one in self._rows[1:] if one.member.rounds]:
                note_launches(row.member.folder, "baseline", baseline.launches)

    def _policy(self) -> Policy:
        """Return who is measured, and how often."""
        measure = self._rows[0].plan.config.measure
        return FixedPlan(measure.replicates, measure.rounds)

    def _admit(self, baseline: Member, present: list[Member]) -> None:
        """Look at members that are warm, before they are timed."""

    def _replicate_ended(self) -> None:
        """Look at the rows after a replicate."""

    def _add_second(self, baseline: Member) -> Member:
        """Return a second member for the baseline; it takes part if there is room for it."""
        assert self._block is not None
        second = Member("baseline again", baseline.config, baseline.folder, "baseline-again", self._progress.phase)
        second.loaded, second.batch_ms, second.rss_peak_mib = baseline.loaded, baseline.batch_ms, baseline.rss_peak_mib
        if self._block.fits(second):
            self._block.add(second)
        return second

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
