"""A search: races between candidates, then the best measured afresh, and what each of its settings contributes."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from rich.console import Console

from runner import exit_codes
from runner.config.schema import MeasureConfig
from runner.errors import ConfigurationError
from runner.measuring.block_run import BlockRun
from runner.measuring.row_group import RowGroup
from runner.measuring.sweep import Sweep
from runner.planning.blocks import group
from runner.reporting.progress import Progress, say
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import SweepStore
from runner.searching.race import UNDECIDED, Race, RaceRun
from runner.searching.racing import goal_logs
from runner.searching.words import CONFIRMATIONS, Request
from runner.tracking.recorder import Tracker

log = logging.getLogger(__name__)

AT_ONCE = 6
"""Newcomers in a race: with the best so far, a round of them stays below 20 s for most networks."""
CONFIRM_SHARE = 0.35
"""Share of the budget that is kept for the confirmation until a race shows how long a replicate takes."""
ONCE_PHASES = ("prepare", "first inference", "accuracy", "reference accuracy", "evidence")
"""Phases of a member's first replicate alone."""
FINISH_S = 5.0
"""Seconds for the tables and the page."""

ComposeMore = Callable[[Sequence[Sequence[str]]], list[Plan]]
"""Returns the plans of further jobs."""
Conclude = Callable[["Search", dict[int, Result], Path, float], list[str]]
"""Returns sentences for a search, its results, its folder and the seconds that it took."""

Promising = Callable[["Search", Sequence[int], int], list[int]]
"""Returns so many of the candidates that wait: those to race next."""


@dataclass
class Progression:
    """What happened in a search."""

    seen: list[int] = field(default_factory=list)
    """Candidates that were raced, or left out because their precision variant breaks a bound."""
    confirmed: list[int] = field(default_factory=list)
    """Plans of the confirmation: the winner's first."""
    preset: str = ""
    """Of `measure`, with which they were measured."""
    parts: list[int] = field(default_factory=list)
    """Plans of the ablation of the winner."""
    replicate_s: list[float] = field(default_factory=list)
    """Seconds that one replicate of one member took, in each race."""
    extra_s: list[float] = field(default_factory=list)
    """Seconds that each race took besides: to make artifacts, for evidence and accuracy."""
    feasible: dict[int, float] = field(default_factory=dict)
    """By candidate, the mean logarithm of its goal over the baseline's, such that more is better."""


class Search(Sweep):
    """A sweep whose runs are chosen while it is measured."""

    def __init__(
        self,
        store: SweepStore,
        plans: list[Plan],
        console: Console,
        *,
        request: Request,
        compose: ComposeMore,
        conclude: Conclude,
        promising: Promising,
        drawn_from: int,
        start: float,
    ) -> None:
        """Keep the candidates.

        Args:
            store: of the sweep's folder; it shares the list of plans.
            plans: of the candidates; those of the confirmation are appended.
            console: for the progress display.
            request: goal, bounds and budget.
            compose: makes the plans of the confirmation.
            conclude: says what was found, see :func:`runner.searching.answer.lines`.
            promising: chooses who is raced next, see :func:`runner.searching.surrogate.promising`.
            drawn_from: number of combinations that the candidates were drawn from; 0 if they are all.
            start: when the command started, by the monotonic clock.
        """
        super().__init__(store, plans, console)
        self.request = request
        self.candidates = list(range(len(plans)))
        self.progression = Progression()
        self._every_plan = plans
        self._compose = compose
        self._conclude = conclude
        self._promising = promising
        self.drawn_from = drawn_from
        self._start = start
        self._end = start + request.budget_s - FINISH_S
        self._racing = True
        self._presets: dict[str, MeasureConfig] = {}
        self.race = Race(request, self._end - CONFIRM_SHARE * request.budget_s)

    def run(
        self,
        tracker: Tracker,
        may_start: Callable[[float | None], bool],  # noqa: ARG002 -- a search has a budget of its own
        on_built: Callable[[], None],
    ) -> dict[int, Result]:
        """Race the candidates, confirm the winner, and take its settings away in turn, within the budget."""
        with Progress(self._console, len(self.candidates) + 2) as self._progress:
            try:
                self._run_races(tracker, on_built)
                self._racing = False
                survivors = self.ranked()
                self._record_the_rest(tracker)
                if survivors and not self.interrupted:
                    self._confirm(survivors, tracker)
                if self.progression.confirmed and not self.interrupted:
                    self._ablate(self.progression.confirmed[0], tracker)
            except KeyboardInterrupt:
                self.interrupted = True
            finally:
                unseen = self.candidates if self.interrupted else []  # so that it is found as unfinished
                self._list(sorted({*self._results, *unseen}))
        return dict(sorted(self._results.items()))

    def ranked(self) -> list[int]:
        """Return the candidates that remain, the best first: those whose bounds are met before uncertain ones."""
        alive = [number for number, result in self._results.items() if result.status is Status.ok]
        alive = [number for number in alive if number in self.race.rows and number in self.progression.feasible]
        return sorted(alive, key=lambda number: -self.progression.feasible[number])

    def exit_code(self, made: dict[int, Result]) -> int:
        """Return 0 if there is a confirmed answer: that some candidates cannot run is no failure of a search."""
        if any(number in made and made[number].is_harmless for number in self.progression.confirmed):
            return exit_codes.OK
        return super().exit_code(made)

    def _run_races(self, tracker: Tracker, on_built: Callable[[], None]) -> None:
        waiting = self._reuse(tracker)
        random.Random(self._every_plan[0].config.seed).shuffle(waiting)
        waiting = _one_of_each(waiting, [self.race.variant_of(plan) for plan in self._every_plan])
        while waiting and not self.interrupted and self._has_time_to_race():
            best = self.ranked()[:1]
            chosen = self._choose(waiting)
            if not chosen:
                break
            self._list(sorted({*self._results, *best, *chosen}))
            begin = time.monotonic()
            ended = self._run_block([*best, *chosen], tracker)
            self._note(ended, time.monotonic() - begin)
            waiting = [number for number in waiting if number not in ended]
            waiting = self._leave_out(waiting, tracker)
            on_built()

    def _reuse(self, tracker: Tracker) -> list[int]:
        """Return the candidates without a result; of a resumed search those that were dropped stay dropped."""
        waiting = []
        for number in self.candidates:
            known = self._store.reused(number)
            settled = known is not None and known.status in (Status.dropped, Status.unsupported)
            if known is not None and settled and UNDECIDED not in known.reason:
                self._keep(number, tracker)
                self.progression.seen.append(number)
            else:
                waiting.append(number)
        return waiting

    def _choose(self, waiting: Sequence[int]) -> list[int]:
        """Return the newcomers of the next race: of one baseline, one precision variant each at first."""
        return self._promising(self, group(self._every_plan, list(waiting)), AT_ONCE)

    def _has_time_to_race(self) -> bool:
        """Return whether a race of two replicates, and the confirmation after it, end within the budget."""
        seconds = self.progression.replicate_s
        if seconds:
            replicate_s = fmean(seconds[-3:])
            confirm_s = self._confirmation_s(replicate_s, self.request.confirm)
            self.race.deadline = self._end - confirm_s
            race_s = 2 * (AT_ONCE + 2) * replicate_s + min(self.progression.extra_s)
            return time.monotonic() + race_s < self.race.deadline
        return time.monotonic() < self.race.deadline

    def _confirmation_s(self, replicate_s: float, preset: str) -> float:
        """Return the seconds that the confirmation takes: three members, for longer than in a race."""
        if preset not in self._presets:
            [plan] = self._afresh([self._every_plan[0]], preset)
            self._presets[preset] = plan.config.measure
        now, then = self._every_plan[0].config.measure, self._presets[preset]
        start_s = max(0.0, replicate_s - _timed_s(now))
        return 3 * then.replicates * (start_s + _timed_s(then))

    def _note(self, ended: Sequence[int], seconds: float) -> None:
        """Keep what a race showed."""
        members = [row.member for number in ended if (row := self.race.rows.get(number)) is not None]
        each = [
            sum(spent for phase, spent in member.timer.seconds.items() if phase not in ONCE_PHASES) / member.replicates
            for member in members
            if member.replicates
        ]
        if each:
            self.progression.replicate_s.append(fmean(each))
            turns = sum(member.replicates for member in members) + max(member.replicates for member in members)
            self.progression.extra_s.append(max(0.0, seconds - fmean(each) * turns))
        for number in ended:
            if number not in self.progression.seen:
                self.progression.seen.append(number)
            row = self.race.rows.get(number)
            if row is None or not row.member.rounds:
                continue
            logs = goal_logs(self.request.goal, row.member)
            base = {one.replicate: one.baseline_log for one in row.member.rounds}
            if logs:
                self.progression.feasible[number] = fmean(logs[key] - base.get(key, 0.0) for key in logs)

    def _leave_out(self, waiting: Sequence[int], tracker: Tracker) -> list[int]:
        """Drop the candidates whose precision variant breaks a bound, without timing them; return the others."""
        left = []
        for number in waiting:
            reason = self.race.broken.get(self.race.variant_of(self._every_plan[number]))
            if reason is None:
                left.append(number)
                continue
            plan = self._every_plan[number]
            words = f"not timed, like all of its precision variant: {reason}"
            result = Result(plan.label, Status.dropped, words, plan.fingerprint, plan.settings)
            self._results[number] = self._save(number, result)
            self.progression.seen.append(number)
            tracker.record(self._results[number], self._store.run_folder(number))
        return left

    def _confirm(self, survivors: Sequence[int], tracker: Tracker) -> None:
        """Measure the best and the runner-up afresh beside the baseline; the runner-up may be one that was beaten.

        With the preset that was asked for, or the longest that ends within the budget.
        """
        replicate_s = fmean(self.progression.replicate_s[-3:])
        left = CONFIRMATIONS[CONFIRMATIONS.index(self.request.confirm) :]
        fitting = [one for one in left if time.monotonic() + self._confirmation_s(replicate_s, one) <= self._end]
        self.progression.preset = (fitting or left[-1:])[0]
        merits = self.progression.feasible
        beaten = sorted((number for number in self.race.behind if number in merits), key=lambda one: -merits[one])
        best = [*survivors, *beaten][:2]
        self.progression.confirmed = self._append(
            self._afresh([self._every_plan[number] for number in best], self.progression.preset)
        )
        say(self._console, f"confirming {' and '.join(self._every_plan[one].label for one in best)}")
        self._run_group(self.progression.confirmed, tracker)

    def _afresh(self, plans: Sequence[Plan], preset: str) -> list[Plan]:
        """Return plans that measure the same with a preset."""
        own = [[word for word in plan.overrides if not word.startswith("measure=")] for plan in plans]
        made = self._compose([[*words, f"measure={preset}"] for words in own])
        return [replace(plan, label=f"{old.label}, confirmed") for plan, old in zip(made, plans, strict=True)]

    def _ablate(self, winner: int, tracker: Tracker) -> None:
        """Measure what each setting of the winner contributes, as far as there is time."""
        plan = self._every_plan[winner]
        try:
            words = [word for word in plan.overrides if not word.startswith("measure=")]
            parts = [one for one in self._compose([[*words, "measure=quick", "ablate=true"]]) if one.part][1:]
        except ConfigurationError as error:  # a setting that its baseline cannot be without
            log.info("no ablation of %s: %s", plan.label, error)
            return
        replicate_s = fmean(self.progression.replicate_s or [math.inf])
        for number in self._append([replace(one, label=f"winner, {one.part} alone") for one in parts]):
            if self.interrupted or time.monotonic() + 6 * replicate_s > self._end:
                break
            self.progression.parts.append(number)
            self._run_group([number], tracker)

    def _list(self, numbers: Sequence[int]) -> None:
        """Name the runs in the plan on disk; a full disk costs a search only that it cannot be resumed."""
        try:
            self._store.list_runs(numbers)
        except (OSError, ValueError) as error:
            say(self._console, f"the plan of this search could not be written, so it cannot be resumed: {error}")

    def _append(self, plans: Sequence[Plan]) -> list[int]:
        first = len(self._every_plan)
        self._every_plan += plans
        return list(range(first, len(self._every_plan)))

    def _run_group(self, numbers: Sequence[int], tracker: Tracker) -> None:
        """Measure runs that may need several blocks: not all fit beside each other in memory."""
        self._list(sorted({*self._results, *numbers}))
        waiting = list(numbers)
        while waiting and not self.interrupted:
            ended = self._run_block(group(self._every_plan, waiting), tracker)
            waiting = [number for number in waiting if number not in ended]

    def _open_block(self, name: str, plans: Mapping[int, Plan]) -> RowGroup:
        """Return a race, or a block of a fixed plan."""
        if not self._racing:
            return BlockRun(name, plans, self._store, self._references, self._progress)
        return RaceRun(name, plans, self._store, self._references, self._progress, race=self.race)

    def _to_record(self, ended: list[int]) -> list[int]:
        """Return the runs that are final: a survivor may race again."""
        if not self._racing:
            return ended
        return [number for number in ended if self._results[number].status is not Status.ok]

    def _record_the_rest(self, tracker: Tracker) -> None:
        for number in self.ranked():
            tracker.record(self._results[number], self._store.run_folder(number))

    def _left_s(self) -> float | None:
        """Return the seconds until the end of the budget."""
        return max(0.0, self._end - time.monotonic())

    def plan(self, number: int) -> Plan:
        """Return the plan of a candidate, or of a run of the confirmation."""
        return self._every_plan[number]

    def folder_of(self, number: int) -> Path:
        """Return the folder of a run."""
        return self._store.run_folder(number)

    @property
    def planned(self) -> Sequence[Plan]:
        """The plans of the runs that have a result: a search has no others."""
        return [self._every_plan[number] for number in self._results] or self._every_plan[:1]

    def answer(self, made: dict[int, Result]) -> list[str]:
        """Return what was found, in sentences."""
        return self._conclude(self, made, self._store.folder, time.monotonic() - self._start)


def _timed_s(measure: MeasureConfig) -> float:
    """Return the seconds that a member is timed in one replicate, with settling."""
    return 2 * measure.rounds * (measure.slice_s + measure.settle_s)


def _one_of_each(numbers: Sequence[int], variants: Sequence[str]) -> list[int]:
    """Return the numbers with one of each precision variant first: accuracy is judged once for all of a variant."""
    first: dict[str, int] = {}
    for number in numbers:
        first.setdefault(variants[number], number)
    ahead = list(first.values())
    return [*ahead, *(number for number in numbers if number not in ahead)]
