"""Which rows of two sweeps are the same configuration."""

from __future__ import annotations

from typing import Any

from runner.reporting.comparing.matching import match
from runner.results.result import Result
from runner.results.status import Status


def row(label: str, **settings: Any) -> Result:
    """Return a row with settings, whose names have a double underscore for a dot."""
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return Result(label, Status.ok, "", "", {"model.name": "resnet50", **named})


def labels(first: list[Result], second: list[Result]) -> list[tuple[str | None, ...]]:
    """Return the labels of the matched rows."""
    return [tuple(None if one is None else one.label for one in both) for both in match(first, second)]


def test_rows_of_different_models_never_match():
    """Neither by what varies within a sweep, nor by equal labels, nor as single rows."""
    first = [row(name, precision__name=name) for name in ("fp32", "int8")]
    second = [row(name, precision__name=name, model__name="vit") for name in ("fp32", "int8")]
    assert labels(first, second) == [("fp32", None), ("int8", None), (None, "fp32"), (None, "int8")]
    assert labels(first[:1], second[:1]) == [("fp32", None), (None, "fp32")]


def test_rows_with_equal_settings_match_by_label():
    """As those of an A/A calibration, in any order; what is left has no partner."""
    first = [row(f"A/A {number}", aa=3) for number in (1, 2, 3)]
    assert labels(first, [first[2], first[0]]) == [("A/A 1", "A/A 1"), ("A/A 3", "A/A 3"), ("A/A 2", None)]


def test_a_setting_that_changed_for_all_rows_parts_none():
    """Of the settings only those count that vary within a sweep; those of the command never do."""
    first = [row(name, precision__name=name, threads=2, tracking__uri="a") for name in ("fp32", "int8")]
    second = [row(f"new {name}", precision__name=name, threads=1, output_dir="x") for name in ("int8", "fp32")]
    assert labels(first, second) == [("fp32", "new fp32"), ("int8", "new int8")]
