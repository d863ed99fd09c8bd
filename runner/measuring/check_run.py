"""A row that is checked, not measured: does the model load, run, and compute what fp32 computes?"""

from __future__ import annotations

from runner.measuring.row import Row
from runner.measuring.row_group import RowGroup
from runner.results.status import RunFailed


class CheckRun(RowGroup):
    """One row: load, one batch, evidence and accuracy. Nothing is timed.

    There is no baseline, because no speed is compared. The first row of a model also starts its reference, unless the
    row is the reference itself or the cache holds the answers.
    """

    def _run_rows(self) -> None:
        """Run the row's process from load to stop."""
        for row in self._rows:
            self._is_same_code()
            try:
                row.member.start()
                row.member.finish_load()
                row.member.running.freeze()
                row.observe()
                row.evaluate(self._references, row.member)
            finally:
                row.member.stop()

    def _failure_of(self, row: Row, failure: RunFailed | None) -> RunFailed | None:  # noqa: ARG002 -- the only row
        """Return how the group ended: it has one row."""
        return failure
