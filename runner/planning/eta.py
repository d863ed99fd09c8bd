"""Estimate the time of the remaining runs from the time of finished ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from runner.results.plan import Plan


class Forecast:
    """Predicts run times from the mean of similar finished runs."""

    def __init__(self) -> None:
        """Start without any finished run."""
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        """Seconds of finished runs, by each of their kinds."""

    def note(self, plan: Plan, seconds: float) -> None:
        """Record the time of a finished run in seconds."""
        for kind in _kinds(plan):
            self._seconds.setdefault(kind, []).append(seconds)

    def expect(self, plan: Plan) -> float | None:
        """Return the expected seconds of a run: the mean of the most similar runs, None before any has finished."""
        return next((fmean(self._seconds[kind]) for kind in _kinds(plan) if kind in self._seconds), None)

    def expect_all(self, plans: Sequence[Plan]) -> float | None:
        """Return the expected total seconds of several runs, None before any has finished."""
        each = [self.expect(plan) for plan in plans]
        return None if None in each else sum(one for one in each if one is not None)


def _kinds(plan: Plan) -> list[tuple[str, ...]]:
    """Return the kinds that a run belongs to, the most specific first."""
    config = plan.config
    return [
        (config.model.name, config.backend.name, str(config.precision.name)),
        (config.model.name, config.backend.name),
        (config.model.name,),
        (),
    ]
