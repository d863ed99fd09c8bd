"""Who is measured next: a policy sees the rounds of a block's members, and chooses. The engine knows none by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.measuring.member import Member


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
