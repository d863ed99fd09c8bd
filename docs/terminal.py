"""The README's picture of a terminal, from a sweep that was measured: the command, its table, its answer.

python -m docs.terminal [SWEEP] > docs/terminal.svg
"""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console

from runner.paths import PROJECT
from runner.reporting.columns import few_columns
from runner.reporting.table import rich_table
from runner.results.locate import LAST, find_sweep
from runner.results.metrics import row
from runner.results.store import SweepStore
from runner.results.stored_sweep import read_sweep

FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Rich's request for a font from a server."""
WIDTH = 104
"""Characters of a line."""


def main() -> None:
    """Print the picture."""
    folder = find_sweep(sys.argv[1] if len(sys.argv) > 1 else LAST, PROJECT / "outputs")
    sweep = read_sweep(folder)
    words = " ".join(["runner", *SweepStore.read_plan(folder)["command"]["overrides"]])
    console = Console(file=io.StringIO(), record=True, width=WIDTH, force_terminal=True)
    console.print(f"$ {words}", highlight=False, markup=False)
    answer = [line for line in sweep.lines if line.startswith("answer: ")]
    rows = [row(result) for result in sweep.results]
    console.print(rich_table(rows, sweep.results[0].machine, few_columns(rows)))
    for line in answer:
        console.print(line, style="bold", highlight=False, markup=False)
    picture = console.export_svg(title="runner", font_aspect_ratio=0.61)
    print(FONT.sub("", picture))  # a picture loads nothing: the reader's own monospaced font will do


if __name__ == "__main__":
    main()
