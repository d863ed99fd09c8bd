"""Which rows of two sides are the same configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runner.config.schema import SESSION_FIELDS
from runner.results.result import Result

IDENTITY = "model.name"
"""The setting without which two rows are never the same configuration, whatever else changed."""

Match = tuple[Result | None, Result | None]


def match(first: Sequence[Result], second: Sequence[Result]) -> list[Match]:
    """Return the rows of two sides in pairs, with None for a row that only one of them has.

    Rows match by all settings and the label, then by all settings, then by those in which the rows of a side differ
    from one another, then by label. Rows of different models never match.
    """
    varied = sorted(_varied(first) | _varied(second) | {IDENTITY})
    keys: tuple[Callable[[Result], object], ...] = (
        lambda one: (compared_settings(one), one.label),
        compared_settings,
        lambda one: [one.settings.get(name) for name in varied],
        lambda one: (one.settings.get(IDENTITY), one.label),
    )
    partners: dict[int, Result] = {}
    left = list(second)
    for key in keys:
        known: dict[str, list[Result]] = {}
        for one in left:
            known.setdefault(repr(key(one)), []).append(one)
        for number, result in enumerate(first):
            if number not in partners and (same := known.get(repr(key(result)))):
                partners[number] = same.pop(0)
        taken = {id(one) for one in partners.values()}
        left = [one for one in left if id(one) not in taken]
    matched: list[Match] = [(result, partners[number]) for number, result in enumerate(first) if number in partners]
    alone: list[Match] = [(result, None) for number, result in enumerate(first) if number not in partners]
    return [*matched, *alone, *((None, one) for one in left)]


def compared_settings(result: Result) -> dict[str, Any]:
    """Return the settings of a row without those of the command, which change no number."""
    return {name: value for name, value in sorted(result.settings.items()) if name.split(".")[0] not in SESSION_FIELDS}


def _varied(results: Sequence[Result]) -> set[str]:
    """Return the settings in which the rows of one side differ: they say which row is which."""
    settings = [compared_settings(one) for one in results]
    names = {name for one in settings for name in one}
    return {name for name in names if len({repr(one.get(name)) for one in settings}) > 1}
