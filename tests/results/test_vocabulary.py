"""Every name that a result is recorded under is described, and no other."""

from __future__ import annotations

import ast

import pytest

from runner.paths import PROJECT
from runner.reporting import columns
from runner.results.vocabulary import METRICS, TAGS

SCORES = {
    *(
        "f1",
        "reference_f1",
        "exact_match",
        "f1_with_fp32",
        "perplexity",
        "reference_perplexity",
        "cosine",
        "cosine_min",
    ),
}
"""Metrics that the tasks add by themselves, see `Accuracy.scores`."""


def keys(function: str) -> set[str]:
    """Return the constant keys of the dictionaries in a function of runner/results/metrics.py."""
    tree = ast.parse((PROJECT / "runner/results/metrics.py").read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    return {
        str(key.value)
        for node in ast.walk(found)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }


def test_every_metric_is_described():
    assert keys("metrics") | SCORES == set(METRICS)


def test_every_tag_is_described():
    assert keys("tags") | {"host", "user", "job", "commit"} == set(TAGS)


@pytest.mark.parametrize("score", sorted(SCORES))
def test_every_score_exists(score):
    """In a module that compares the outputs of a task."""
    sources = [file.read_text(encoding="utf-8") for file in (PROJECT / "runner/analysis").glob("*.py")]
    assert any(f'"{score}":' in source for source in sources)


def test_every_column_is_described():
    shown = (*columns.SHORT_TABLE, *columns.COLUMNS, *columns.PUBLISHED_COLUMNS, *columns.TABLE_COLUMNS)
    assert all(column.meaning.endswith(".") for column in shown)
