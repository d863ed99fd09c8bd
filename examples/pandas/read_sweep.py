"""Read a sweep with pandas: every parameter, metric and tag of a run is a column.

python examples/pandas/read_sweep.py outputs/sweeps/2026-11-27_20-15-00_1a2b3c4d
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

SHOWN = ["params.backend", "params.precision", "metrics.speedup", "metrics.accuracy_delta_pp", "tags.verdict"]


def read_sweep(folder: Path) -> pd.DataFrame:
    """Return the runs of a sweep that have a number, the fastest first."""
    runs = pd.read_csv(folder / "table.csv")
    return runs[runs["tags.status"] == "ok"].sort_values("metrics.speedup", ascending=False)


if __name__ == "__main__":
    print(read_sweep(Path(sys.argv[1]))[SHOWN].to_string(index=False))
