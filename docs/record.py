"""The reference page of what a run leaves: every field of its files, from the dataclasses that write them.

python -m docs.record > docs/record.md
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from runner.measuring.round_log import COLUMNS
from runner.paths import PROJECT

CLASSES = (
    ("runner/results/result.py", "Result"),
    ("runner/results/result.py", "Measurement"),
    ("runner/results/result.py", "Replicate"),
    ("runner/analysis/statistics.py", "Estimate"),
    ("runner/analysis/accuracy.py", "Accuracy"),
    ("runner/protocol.py", "Finding"),
)
"""Files and classes, from the outermost object of result.json on."""


def fields(file: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and description of the fields of a dataclass; a field without a description has an empty one."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    for node, following in zip(found.body, [*found.body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            described = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            text = str(following.value.value) if described else ""  # type: ignore[attr-defined] # narrowed above
            yield node.target.id, ast.unparse(node.annotation), " ".join(text.split())


def page() -> str:
    """Return docs/record.md."""
    lines = [
        "# The record",
        "",
        "`python -m docs.record > docs/record.md` makes this page from the dataclasses. plan.json, result.json and",
        "rounds.csv have schema 2. From 2 on fields are only added: new ones are optional, unknown ones are ignored.",
        "A sweep of schema 1 (version 0.1.0) is still read; a newer schema is refused in one line.",
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
        what = "result.json" if name == "Result" else f"`{name}`"
        lines += ["", f"## {what}", "", "| field | type | meaning |", "|---|---|---|"]
        for field, kind, text in fields(PROJECT / file, name):
            lines.append(f"| `{field}` | `{kind.replace('|', chr(92) + '|')}` | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
