"""A race on the machine: a block whose rows leave when they are beaten or break a bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runner.analysis.accuracy import Accuracy
from runner.analysis.statistics import Estimate
from runner.measuring.block import Policy
from runner.measuring.block_run import BlockRun
from runner.measuring.member import Member
from runner.measuring.row import Row
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import RunFailed, Status
from runner.searching.bounds import QUANTITIES, Bound, Met
from runner.searching.quantities import PERCENTILES, estimate, judge
from runner.searching.racing import Racing, batches_ms, beaten, goal_logs
from runner.searching.words import Request

VARIANT = ("backend.name", "backend.options", "precision", "memory_format")
"""Settings that the outputs depend on: candidates that differ in others have the same accuracy."""


UNDECIDED = "not decided"
"""Begins the reason of a row that a resumed search races again."""


@dataclass
class Race:
    """What a search knows of its candidates, from block to block."""

    request: Request
    deadline: float
    """By the monotonic clock: no replicate of a race starts later."""
    rows: dict[int, Row] = field(default_factory=dict)
    """Every row that was timed, by the number of its plan."""
    accuracies: dict[str, Accuracy] = field(default_factory=dict)
    """By precision variant."""
    broken: dict[str, str] = field(default_factory=dict)
    """By precision variant, the bound that it breaks."""
    behind: dict[int, Estimate] = field(default_factory=dict)
    """By candidate, the ratio to the leader that beat it."""

    def variant_of(self, plan: Plan) -> str:
        """Return what the outputs of a plan depend on."""
        return repr(sorted((name, str(value)) for name, value in plan.settings.items() if name.startswith(VARIANT)))


class RaceRun(BlockRun):
    """Candidates and the best so far, measured side by side until one of them remains."""

    def __init__(self, *arguments: Any, race: Race) -> None:
        """Open nothing yet; the arguments are those of :class:`runner.measuring.row_group.RowGroup`."""
        super().__init__(*arguments)
        self._race = race

    def _open_row(self, number: int, plan: Plan) -> Row:
        """Return a row; one that took part in an earlier race continues."""
        known = self._race.rows.get(number)
        if known is not None:
            return known
        row = super()._open_row(number, plan)
        row.accuracy = row.accuracy or self._race.accuracies.get(self._race.variant_of(plan))
        return row

    def _policy(self) -> Policy:
        return Racing(self._rows[0].plan.config.measure.rounds, self._race.deadline)

    def _failure_of(self, row: Row, failure: RunFailed | None) -> RunFailed | None:
        """Return how a row ended; one that had no time for a second replicate is not decided."""
        found = super()._failure_of(row, failure)
        if found is None and row.member.replicates < 2:
            return RunFailed(Status.dropped, f"{UNDECIDED}: the budget ended before its second replicate")
        return found

    def _admit(self, baseline: Member, present: list[Member]) -> None:
        """Judge the accuracy of a precision variant once, before anything of it is timed."""
        for row in [row for row in self._rows if row.member in present]:
            variant = self._race.variant_of(row.plan)
            try:
                if row.accuracy is None:
                    row.accuracy = self._race.accuracies.get(variant)
                row.evaluate(self._references, baseline)
            except RunFailed as failure:
                self._drop(row, failure)
                continue
            if row.accuracy is not None:
                self._race.accuracies.setdefault(variant, row.accuracy)
            if reason := self._broken(row, self._of_outputs()):
                self._race.broken.setdefault(variant, reason)
                self._drop(row, RunFailed(Status.dropped, reason))

    def _replicate_ended(self) -> None:
        """Drop the rows that break a bound, or are slower than the leader beyond doubt."""
        assert self._block is not None
        for row in self._live():
            self._race.rows[row.number] = row
            if reason := self._broken(row, self._race.request.bounds):
                self._drop(row, RunFailed(Status.dropped, reason))
        live = self._live()
        if len(live) < 2:
            return
        leader, behind = beaten([goal_logs(self._race.request.goal, row.member) for row in live])
        for place, ratio in behind.items():
            self._race.behind[live[place].number] = ratio
            shown = (ratio.value, ratio.low, ratio.high)
            if not self._race.request.maximises:
                shown = (1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
            words = "{:.2f} ({:.2f} … {:.2f}) times the ".format(*shown) + self._race.request.goal
            self._drop(live[place], RunFailed(Status.dropped, f"{words} of {live[leader].plan.label}, in a race"))

    def _live(self) -> list[Row]:
        assert self._block is not None
        return [row for row in self._rows if row.member in self._block.members and row.member.rounds]

    def _drop(self, row: Row, failure: RunFailed) -> None:
        assert self._block is not None
        self._block.drop(row.member, failure)

    def _of_outputs(self) -> tuple[Bound, ...]:
        """Return the bounds on what the outputs show: nothing needs to be timed for them."""
        names = ("samples",)
        bounds = self._race.request.bounds
        return tuple(one for one in bounds if QUANTITIES[one.name].interval in names or one.name == "sqnr_db")

    def _broken(self, row: Row, bounds: tuple[Bound, ...]) -> str:
        """Return the first bound that a row breaks by its interval, in words; empty if there is none."""
        result = provisional(row)
        times = batches_ms(row.member.rounds)
        for bound in bounds:
            if judge(bound, result, times) is Met.broken:
                return f"it breaks {bound}: {shown(bound, result, times)}"
        return ""


def provisional(row: Row) -> Result:
    """Return what is known of a row so far, without writing anything; a measurement needs two replicates."""
    return row.result(None, "", steady=True, shared_s={}, wall_s=0.0, write=False)


def shown(bound: Bound, result: Result, batches: list[float]) -> str:
    """Return what a row shows for a bound, with its interval."""
    metric = QUANTITIES[bound.name]
    if bound.name in PERCENTILES:
        late = sum(one > bound.limit for one in batches)
        return f"{late} of {len(batches)} batches are later"
    found = estimate(bound.name, result)
    return "not measured" if found is None else in_words(found, metric.scale, metric.shown_unit)


def in_words(found: Estimate, scale: float, unit: str) -> str:
    """Return an estimate with its interval, if it has one, and its unit."""
    value, low, high = (_digits(one / scale) for one in (found.value, found.low, found.high))
    shown = f"{value} {unit}".strip()
    return shown if found.low == found.high else f"{shown} ({low} … {high})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
