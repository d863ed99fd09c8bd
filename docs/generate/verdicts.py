"""The words that a result ends in: statuses, verdicts and exit codes."""

from __future__ import annotations

import re

from docs.generate.markdown import MADE, code, described, table
from runner import exit_codes
from runner.paths import PROJECT

FILE = "verdicts.md"

WORDS = (
    ("Statuses", "How a run ended.", "runner/results/status.py", "Status"),
    ("Verdicts on a speedup", "δ is `measure.noise_floor`, or what A/A runs raised it to.",
     "runner/analysis/statistics.py", "Verdict"),
    ("Verdicts on a published row", "Whether its published speedup holds here.",
     "runner/analysis/published.py", "RowVerdict"),
    ("The accuracy gate", "With `(uncertain)` if the interval of the accuracy holds the threshold.",
     "runner/analysis/accuracy.py", "Gate"),
    ("Verdicts on a change", "Of `runner compare`.", "runner/analysis/comparison.py", "Change"),
)  # fmt: skip
"""Heading, introduction, file and enumeration."""
EXIT_CODE = re.compile(r"^(\d+)\s+(\S.*)$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    lines = ["# Statuses, verdicts and exit codes", "", MADE]
    for heading, introduction, file, name in WORDS:
        members = [(code(one.value.strip("'")), one.meaning) for one in described(PROJECT / file, name)]
        lines += ["", f"## {heading}", "", introduction, "", *table(["word", "meaning"], members)]
    lines += ["", "## Exit codes", "", "Of every command.", ""]
    lines += table(["code", "meaning"], EXIT_CODE.findall(exit_codes.__doc__ or ""))
    return "\n".join([*lines, ""])
