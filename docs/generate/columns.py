"""The columns of the tables and of the CSV, and the names in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from docs.generate.markdown import MADE, code, table
from runner.reporting import columns
from runner.results.metrics import CHOICES
from runner.results.vocabulary import FAMILIES, METRICS, TAGS, Metric

FILE = "columns.md"


def page() -> str:
    """Return the page."""
    lines = ["# Columns, metrics and tags", "", MADE, "", "## The table", ""]
    lines += [*_columns(columns.SHORT_TABLE), "", "## The wide table", ""]
    lines += ["`--wide` prints these, and `table.md` in the sweep's folder has them. Intervals are of 95 %.", ""]
    lines += [*_columns(columns.COLUMNS), "", "Only where rows have them:", ""]
    extra = (
        *columns.PUBLISHED_COLUMNS, *columns.TABLE_COLUMNS, *columns.TOKEN_COLUMNS, *columns.TASK_COLUMNS.values(),
        columns.NEIGHBOUR_COLUMN, columns.CHECK_COLUMN,
    )  # fmt: skip
    lines += [*_columns(extra), "", "## The CSV, and MLflow", ""]
    lines += [
        "`table.csv` and `runner report --format csv` have a line per run and a column per name below, with the prefix",
        "`params.`, `metrics.` or `tags.`; every number is unrounded. In MLflow a run has the same names without it.",
        "",
        "### Parameters",
        "",
        "Every [field](fields.md) of the configuration, such as `params.threading.threads`. The choices that most",
        "sweeps compare also have short names: " + ", ".join(code(name) for name in CHOICES) + ".",
        "",
        "### Metrics",
        "",
        "`runner find` bounds those of which more or less is better.",
        "",
        *_metrics(METRICS),
        "",
        "Once for each phase, or each output of a model whose outputs have no known meaning:",
        "",
        *_metrics(FAMILIES),
        "",
        "### Tags",
        "",
        *table(["tag", "meaning"], [(code(name), meaning) for name, meaning in TAGS.items()]),
    ]
    return "\n".join([*lines, ""])


def _columns(shown: Sequence[columns.Column]) -> list[str]:
    return table(["column", "meaning"], [(one.title, one.meaning) for one in shown])


def _metrics(named: Mapping[str, Metric]) -> list[str]:
    rows = [(code(name), one.unit, one.better, one.meaning) for name, one in named.items()]
    return table(["metric", "unit", "better", "meaning"], rows)
