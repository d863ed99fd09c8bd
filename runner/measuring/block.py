"""A block: a baseline and candidates that are loaded at once and timed in turns.

A replicate is one fresh process of every member and a few rounds. A round goes through the members forward and then
backward, in an order drawn for each round: each has two turns, around the same moment on average, so that a linear
drift of the machine cancels in every ratio. One member runs while the others are frozen.

Who is measured next is up to a policy: it sees the rounds of a block's members, and chooses.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from runner.machine.facts import this_machine
from runner.machine.interference import Watch
from runner.machine.memory import available_mib
from runner.measuring.member import Member
from runner.measuring.slices import Round, Turn
from runner.processes.signals import defer_interrupt
from runner.results.status import RunFailed, attribute_failure_to

log = logging.getLogger(__name__)

MAX_ROUND_S = 20.0
"""Longest duration of a round: within it the machine's speed should not change by more than linear drift."""
MAX_MEMORY_SHARE = 0.8
"""Largest share of the available memory that the members of a block may use at their peaks."""

OnRound = Callable[[int, int], None]
"""Called after each round with the number of the replicate and of its rounds so far."""


class Policy(Protocol):
    """Chooses members of a block."""

    def for_replicate(self, members: Sequence[Member]) -> list[Member]:
        """Return the members that get another replicate; the block is finished if there are none."""

    def for_round(self, members: Sequence[Member], replicate: int) -> list[Member]:
        """Return the members that get another round in a replicate; the replicate is finished if there are none."""


@dataclass(frozen=True)
class FixedPlan:
    """The same number of replicates and of rounds for each member, fixed before the first is measured.

    The number never depends on what was measured: stopping as soon as an interval happens to be narrow covers the truth
    less often than the interval promises (see tests/measuring/test_simulations.py).
    """

    replicates: int
    rounds: int
    """Clean rounds per replicate. A contaminated round is repeated, until they outnumber both this and the clean
    ones."""

    def for_replicate(self, members: Sequence[Member]) -> list[Member]:
        """Return those with fewer replicates than planned."""
        return [member for member in members if member.replicates < self.replicates]

    def for_round(self, members: Sequence[Member], replicate: int) -> list[Member]:
        """Return those with fewer clean rounds in this replicate than planned."""
        return [member for member in members if self._wants_round(member, replicate)]

    def _wants_round(self, member: Member, replicate: int) -> bool:
        same = [one for one in member.rounds if one.replicate == replicate]
        clean = sum(one.clean for one in same)
        return clean < self.rounds and len(same) - clean <= max(self.rounds, clean)


class Block:
    """Members that are measured together."""

    def __init__(
        self,
        baseline: Member,
        members: Sequence[Member],
        generator: random.Random,
        *,
        on_round: OnRound = lambda *_: None,
        watch: Callable[[Sequence[int]], Watch] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            baseline: what every candidate is compared with.
            members: the candidates, in order.
            generator: of the orders and the heap layouts.
            on_round: called after each round.
            watch: returns what reads the interference with processes, by their ids; None: that of this machine.
        """
        self.baseline = baseline
        self.members = list(members)
        self.failures: dict[Member, RunFailed] = {}
        """How members ended that left early."""
        self.deferred: list[Member] = []
        """Members without room in this block, to be measured in another."""
        self._generator = generator
        self._on_round = on_round
        self._watch_of = watch or _watch
        self._watch: Watch
        self._replicate = max((one.replicate for member in members for one in member.rounds), default=-1)
        self._available_mib = available_mib()

    def add(self, member: Member) -> None:
        """Let another candidate take part from the next replicate on."""
        self.members.append(member)

    def fits(self, member: Member) -> bool:
        """Return whether there is room for another candidate, whose memory and speed are known, beside all others."""
        return self._fits([self.baseline, *self.members, member])

    def drop(self, member: Member, failure: RunFailed | None = None) -> None:
        """End a candidate's part; its processes are stopped, its rounds are kept.

        Args:
            member: the candidate.
            failure: why; None if it is no failure.
        """
        if member in self.members:
            self.members.remove(member)
        if failure is not None:
            self.failures[member] = failure
        try:
            member.stop()
        except RunFailed as survives:
            self.failures.setdefault(member, survives)

    def run_replicate(
        self,
        policy: Policy,
        conclude: Callable[[list[Member]], None],
        admit: Callable[[list[Member]], None] = lambda _: None,
    ) -> bool:
        """Measure one replicate: a fresh process of the baseline and of each candidate that gets another.

        Args:
            policy: chooses the candidates, and how many rounds they get.
            conclude: called after the rounds, while the processes still exist; it may drop members.
            admit: called before the rounds with the candidates that are warm; it may drop some.

        Returns:
            Whether there was a candidate to measure.

        Raises:
            RunFailed: the baseline failed; its reason says so.
            KeyboardInterrupt: the user stopped it.
        """
        wanted = policy.for_replicate(self.members)
        if not wanted:
            return False
        self._replicate += 1
        try:
            present = self._start(wanted)
            if present:
                admit(present)
                present = [member for member in present if member in self.members]
            if present:
                self._watch = self._watch_of([pid for one in (self.baseline, *present) for pid in one.running.pids()])
                self._run_rounds(policy, present)
                conclude([member for member in present if member in self.members])
        finally:
            for member in (*wanted, self.baseline):  # all of them, before a baseline that survives ends the block
                with self._failures_of(member):
                    member.stop()
        return True

    def _start(self, wanted: Sequence[Member]) -> list[Member]:
        """Start and warm the baseline and the candidates; return the candidates that succeeded."""
        if any(member.loaded is None for member in (self.baseline, *wanted)):
            present = self._start_one_by_one(wanted)
        else:
            present = self._start_overlapping(wanted)
        return [member for member in present if member is not self.baseline]

    def _start_one_by_one(self, wanted: Sequence[Member]) -> list[Member]:
        """Start first processes: how long they load is measured, and how much memory they take shows who has room.

        The baseline starts after the first candidate that succeeds: without one it is not needed.
        """
        present: list[Member] = []
        waiting = deque(wanted)
        while waiting:
            if len(present) > 1 and not self._has_room(present):
                self._defer(list(waiting))
                break
            if self._start_and_warm(waiting.popleft(), present) and len(present) == 1:
                self._start_and_warm(self.baseline, present)
        return present

    def _start_and_warm(self, member: Member, present: list[Member]) -> bool:
        """Start a member and wait until it is warm; return whether it is present: it did not fail, and has room."""
        with self._failures_of(member):
            member.start()
            member.finish_start()
            if len(present) < 2 or self._fits([*present, member]):
                present.append(member)
                return True
            self._defer([member])
        return False

    def _start_overlapping(self, wanted: Sequence[Member]) -> list[Member]:
        """Start later processes, as many at once as there are cores: nothing is timed meanwhile."""
        loading: deque[Member] = deque()
        present: list[Member] = []

        def finish() -> None:
            member = loading.popleft()
            with self._failures_of(member):
                member.finish_start()
                present.append(member)

        for member in (self.baseline, *wanted):
            if len(loading) >= this_machine().usable_cores:
                finish()
            with self._failures_of(member):
                member.start()
                loading.append(member)
        while loading:
            finish()
        return present

    def _has_room(self, present: Sequence[Member]) -> bool:
        """Return whether another candidate fits, as far as is known before it is loaded: one like the largest."""
        largest = max(present, key=lambda member: member.rss_peak_mib or 0.0)
        fastest = min(present, key=Member.expected_slice_s)
        return self._fits([*present, largest], [*present, fastest])

    def _fits(self, members: Sequence[Member], in_turns: Sequence[Member] | None = None) -> bool:
        """Return whether members have room in memory at their peaks, and a round is short enough."""
        peaks = sum(member.rss_peak_mib or 0.0 for member in members)
        seconds = 2 * sum(member.expected_slice_s() for member in in_turns or members)
        in_memory = self._available_mib is None or peaks <= MAX_MEMORY_SHARE * self._available_mib
        return in_memory and seconds <= MAX_ROUND_S

    def _defer(self, members: Sequence[Member]) -> None:
        """Leave candidates to another block."""
        for member in members:
            log.info("%s: measured in another block: no room in this one", member.label)
            self.deferred.append(member)
            self.drop(member)

    @contextmanager
    def _failures_of(self, member: Member) -> Iterator[None]:
        """Let a candidate that fails leave alone; without its baseline the block ends.

        Raises:
            RunFailed: the baseline failed.
        """
        try:
            yield
        except RunFailed as failure:
            if member is not self.baseline:
                self.drop(member, failure)
                return
            with attribute_failure_to("its baseline"):
                raise

    def _run_rounds(self, policy: Policy, present: list[Member]) -> None:
        count = 0
        while wanted := policy.for_round([one for one in present if one in self.members], self._replicate):
            self._run_round(wanted)
            count += 1
            self._on_round(self._replicate, count)

    def _run_round(self, wanted: Sequence[Member]) -> None:
        """Time two turns of the baseline and of each candidate."""
        forward = [self.baseline, *wanted]
        self._generator.shuffle(forward)
        turns: dict[Member, list[Turn]] = {member: [] for member in forward}
        for member in (*forward, *reversed(forward)):
            if member is self.baseline or member in self.members:  # else it failed in its first turn
                with self._failures_of(member):
                    turns[member].append(self._run_turn(member))
        for member in [one for one in wanted if one in self.members]:
            one = Round(
                replicate=self._replicate,
                position=forward.index(member),
                baseline_position=forward.index(self.baseline),
                candidate=turns[member],
                baseline=turns[self.baseline],
                batch_size=member.config.batch_size,
                baseline_batch_size=self.baseline.config.batch_size,
                guarded=member.config.measure.guards,
            )
            member.rounds.append(one)
            with self._failures_of(member):
                one.check()

    def _run_turn(self, member: Member) -> Turn:
        """Time one slice of a member, and read what disturbed the machine meanwhile."""
        begin = time.monotonic()
        with defer_interrupt():
            before = self._watch.read()
            parts = member.time_slice(self._generator.getrandbits(32))
            turn = Turn(parts, self._watch.between(before, self._watch.read(), parts))
            timed_s = turn.timed_s
            member.timer.add("timed", timed_s)
            member.timer.add("settle", time.monotonic() - begin - timed_s)
        return turn


def _watch(pids: Sequence[int]) -> Watch:
    machine = this_machine()
    return Watch(machine.cores, pids, usable_cores=machine.quota_cores)
