"""What a run leaves: every field of its files, from the dataclasses that write them."""

from __future__ import annotations

from docs.generate.markdown import MADE, code, described, table
from runner.measuring.round_log import COLUMNS
from runner.paths import PROJECT

FILE = "record.md"

CLASSES = (
    ("runner/results/result.py", "Result"),
    ("runner/results/result.py", "Measurement"),
    ("runner/results/result.py", "Replicate"),
    ("runner/analysis/statistics.py", "Estimate"),
    ("runner/analysis/accuracy.py", "Accuracy"),
    ("runner/protocol.py", "Finding"),
)
"""Files and classes, from the outermost object of result.json on."""


def page() -> str:
    """Return the page."""
    lines = [
        "# The record",
        "",
        MADE,
        "",
        "plan.json, result.json and rounds.csv have schema 2. From 2 on fields are only added: new ones are optional,",
        "unknown ones are ignored. A sweep of schema 1 (version 0.1.0) is still read; a newer schema is refused in one",
        "line.",
        "",
        "A sweep's folder, `outputs/sweeps/<time>_<8 digits of its id>/`, holds plan.json (`schema`, `sweep`: a UUID,",
        "`command`, `runs` with `folder`, `label`, `fingerprint` and `overrides`), machine.json, the tables,",
        "report.html, and a folder per run.",
        "",
        "## rounds.csv",
        "",
        "A line per round, contaminated ones included: " + ", ".join(f"`{name}`" for name in COLUMNS) + ".",
    ]
    for file, name in CLASSES:
        fields = [(code(one.name), code(one.kind), one.meaning) for one in described(PROJECT / file, name) if one.kind]
        lines += ["", f"## {'result.json' if name == 'Result' else code(name)}", ""]
        lines += table(["field", "type", "meaning"], fields)
    return "\n".join([*lines, ""])
