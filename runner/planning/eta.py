"""How long the runs that are left will take, from what the finished ones took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from runner.results.plan import Plan


class Forecast:
    """What runs took, by what they have in common."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._took: dict[tuple[str, ...], list[float]] = {}

    def note(self, plan: Plan, seconds: float) -> None:
        """Keep what a finished run took."""
        for kind in _kinds(plan):
            self._took.setdefault(kind, []).append(seconds)

    def expect(self, plan: Plan) -> float | None:
        """Return the seconds that a run will take: the mean of those most like it, None before any has finished."""
        return next((fmean(self._took[kind]) for kind in _kinds(plan) if kind in self._took), None)

    def expect_all(self, plans: Sequence[Plan]) -> float | None:
        """Return the seconds that several runs will take together, None before any has finished."""
        each = [self.expect(plan) for plan in plans]
        return None if None in each else sum(one for one in each if one is not None)


def _kinds(plan: Plan) -> list[tuple[str, ...]]:
    """Return what a run is like, the narrowest first."""
    config = plan.config
    return [
        (config.model.name, config.backend.name, str(config.precision.name)),
        (config.model.name, config.backend.name),
        (config.model.name,),
        (),
    ]
