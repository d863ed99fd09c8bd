"""Is a shipped folder as fast as the measured process? A small network in every runtime (a quarter of an hour).

Promise: outputs bit for bit, and no ratio outside ±5 % as a whole. Whether the interval lies within ±5 % depends on the
machine, and is shown.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Finding, print_findings, run

NETWORK = ("model=resnet18", "model.image_size=96", "data.evaluation_samples=64", "data.calibration_samples=32")
ROWS = (("backend=ort", "precision=fp32"), ("backend=openvino", "precision=int8"), ("backend=torch", "precision=bf16"))
ALLOWED = ("untrained", "noisy", "failed-gate", "uncertain-gate", "unknown-evidence")
PAIRS, SECONDS = 8, 3


def verify(words: tuple[str, str], work: Path) -> Finding:
    """Measure a row, ship it, and return what `runner ship --verify` says of its outputs and its speed."""
    outputs, folder = work / "outputs", work / words[0].partition("=")[2]
    run("-m", *words, *NETWORK, "measure=quick", "tracking=none", f"output_dir={outputs}", codes=(0, 1))
    flags = [f"--allow-{one}" for one in ALLOWED]
    run("ship", "last/1", "--to", str(folder), "--output-dir", str(outputs), *flags)
    _, printed = run(
        *("ship", "--verify", str(folder), "--pairs", str(PAIRS), "--seconds", str(SECONDS)),
        *("--output-dir", str(outputs)),
        codes=(0, 1),
    )
    said = _table(printed)
    speed, same = re.sub(r";.*", "", said["speed"][1]), said["outputs"][0] == "pass"
    return Finding(
        f"{' '.join(words)}: as measured", f"outputs {said['outputs'][0]}; speed {said['speed'][0]}: {speed}",
        kept=same and said["speed"][0] != "differs",
    )  # fmt: skip


def _table(printed: str) -> dict[str, list[str]]:
    """Return the rows of a table of three columns by their first cell; folded cells are joined."""
    rows: dict[str, list[str]] = {}
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip("│ ").split("│")] if line.startswith("│") else []
        if len(cells) == 3 and line.strip("│").split("│")[0].strip():
            rows[cells[0]] = cells[1:]
        elif rows and cells:
            last = list(rows)[-1]
            rows[last][1] += f" {cells[-1]}"
    return rows


def main() -> bool:
    """Measure every runtime, print the table, and return whether the promise is kept."""
    with tempfile.TemporaryDirectory(prefix="runner-shipping-") as work:
        return print_findings("Shipped folders", [verify(words, Path(work)) for words in ROWS])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
