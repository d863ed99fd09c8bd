"""Racing: candidates get replicates side by side until they are beaten beyond doubt, or break a bound.

The rule is a filter, not a verdict: who remains is measured afresh. It pools the spread of all candidates of a block,
because two replicates of one alone say almost nothing about its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from runner.analysis.statistics import Estimate, student_t
from runner.measuring.block import FixedPlan
from runner.measuring.member import Member
from runner.measuring.slices import Round, batch_times_ms, by_replicate, clean_rounds
from runner.searching.quantities import PERCENTILES

RACE_REPLICATES = 4
"""Replicates that a candidate gets in one block, unless it is dropped before. With six candidates of 2 % spread, the
pooled spread tells 4 % apart after four."""

Logs = Mapping[int, float]
"""Natural logarithms of a goal by the number of the replicate, such that more is better."""


@dataclass
class Racing:
    """The policy of a race: a few replicates for each, as long as there is time and more than one candidate."""

    rounds: int
    """Clean rounds per replicate."""
    deadline: float
    """By the clock: no replicate starts later."""
    replicates: int = RACE_REPLICATES
    clock: Callable[[], float] = time.monotonic
    _before: dict[Member, int] = field(default_factory=dict)

    def for_replicate(self, members: Sequence[Member]) -> list[Member]:
        """Return the candidates that get another replicate; none if the race is decided."""
        if not self._before:
            self._before = {member: member.replicates for member in members}
        waiting = [one for one in members if one.replicates - self._before.get(one, 0) < self.replicates]
        started = any(one.replicates > self._before.get(one, 0) for one in members)
        decided = started and len(members) < 2 and all(one.replicates >= 2 for one in members)
        return [] if decided or self.clock() >= self.deadline else waiting

    def for_round(self, members: Sequence[Member], replicate: int) -> list[Member]:
        """Return those with fewer clean rounds in this replicate than planned."""
        return FixedPlan(self.replicates, self.rounds).for_round(members, replicate)


def goal_logs(goal: str, member: Member) -> dict[int, float]:
    """Return the logarithm of a goal in each replicate, such that more is better.

    Args:
        goal: one of :data:`runner.searching.bounds.GOALS`.
        member: with its rounds.
    """
    if goal in ONCE:
        value = ONCE[goal](member)
        return {} if not value else {same[0].replicate: -math.log(value) for same in by_replicate(member.rounds)}
    return {same[0].replicate: _goal_log(goal, same) for same in by_replicate(clean_rounds(member.rounds))}


def _goal_log(goal: str, rounds: Sequence[Round]) -> float:
    if goal in PERCENTILES:
        times = [one for turn in rounds for one in batches_ms([turn])]
        return -math.log(float(np.percentile(times, 100 * PERCENTILES[goal])))
    if goal == "first_token_ms":
        parts = [part for one in rounds for turn in one.candidate for part in turn.parts]
        first = [mark - begin for part in parts for begin, mark in zip(part.stamps_ns[0], part.marks_ns, strict=False)]
        return -math.log(float(np.median(first)))
    return fmean(one.candidate_log for one in rounds)


ONCE: Mapping[str, Callable[[Member], float | None]] = {
    "rss_peak_mib": lambda member: member.rss_peak_mib,
    "artifact_mib": lambda member: member.loaded.artifact_mib if member.loaded else None,
    "load_s": lambda member: member.loaded.load_s if member.loaded else None,
}
"""Goals that are read once, of the first process."""


def batches_ms(rounds: Sequence[Round]) -> list[float]:
    """Return the milliseconds of every batch of the candidate, in contaminated rounds too."""
    return [one for each in rounds for turn in each.candidate for one in batch_times_ms(turn.parts)]


def beaten(logs: Sequence[Logs]) -> tuple[int, dict[int, Estimate]]:
    """Return which candidate leads, and by how much others are behind it beyond doubt.

    The ratio of a candidate to the leader is paired within the replicates that both have. Its interval is Student's t
    with the spread of all candidates' differences, pooled, or with its own if that is larger.

    Args:
        logs: of each candidate; those of a block share their replicates.

    Returns:
        The place of the leader, and by the places of the beaten ones their ratios to it, below 1 with their whole
        intervals.
    """
    means = [fmean(one.values()) if one else -math.inf for one in _common(logs)]
    leader = max(range(len(logs)), key=means.__getitem__)
    differences = {
        place: [own[number] - logs[leader][number] for number in own if number in logs[leader]]
        for place, own in enumerate(logs)
        if place != leader
    }
    differences = {place: found for place, found in differences.items() if len(found) > 1}
    freedom = sum(len(found) - 1 for found in differences.values())
    if not freedom:
        return leader, {}
    squares = {place: float(np.var(found)) * len(found) for place, found in differences.items()}
    pooled = math.sqrt(sum(squares.values()) / freedom)
    behind = {}
    for place, found in differences.items():
        own = math.sqrt(squares[place] / (len(found) - 1))
        spread, degrees = (pooled, freedom) if own <= pooled else (own, len(found) - 1)
        centre, margin = fmean(found), student_t(degrees) * spread / math.sqrt(len(found))
        if centre + margin < 0:
            behind[place] = Estimate(*(math.exp(centre + sign * margin) for sign in (0, -1, 1)))
    return leader, behind


def _common(logs: Sequence[Logs]) -> list[Logs]:
    """Return the logs of the replicates that all candidates share; all of them if they share none."""
    shared = set.intersection(*(set(one) for one in logs)) if logs else set()
    return [{number: one[number] for number in shared} if shared else one for one in logs]
