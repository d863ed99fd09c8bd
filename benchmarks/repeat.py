"""Do the intervals hold when a row is measured again? Two rows, ten separate commands each (half an hour).

Promises: of the 20 intervals at least 17 hold the grand mean of their row, at most 3 of the 90 pairs of intervals do
not overlap, and the median half-width is at most 2.5 % for ONNX Runtime int8 and 3 % for eager PyTorch with tcmalloc.

    make repeat
"""

from __future__ import annotations

import itertools
import math
import sys
from statistics import fmean, median, stdev

from benchmarks.harness import Finding, newest_results, print_findings, run
from runner.analysis.statistics import Estimate

COMMANDS = 10
ROWS = {
    "ResNet-18, ONNX Runtime int8": (("model=resnet18", "backend=ort", "precision=int8"), 0.025),
    "ResNet-18, eager PyTorch with tcmalloc": (("model=resnet18", "backend=torch", "allocator=tcmalloc"), 0.03),
}
"""Overrides of each row, and the largest median half-width."""


def measure(overrides: tuple[str, ...]) -> Estimate:
    """Measure a row by a command of its own."""
    run(*overrides)
    [result] = newest_results()
    assert result.measurement is not None, result.reason
    return result.measurement.speedup


def describe(found: list[Estimate]) -> str:
    """Return what a row gave: its values, their spread, and the median half-width."""
    spread = stdev(math.log(one.value) for one in found)
    values = ", ".join(f"{one.value:.2f}" for one in found)
    return f"{values}: s.d. {spread:.1%}, median half-width ±{median(one.half_width for one in found):.1%}"


def main() -> bool:
    """Measure, print the table, and return whether all promises are kept."""
    holding = disjoint = 0
    findings = []
    for name, (overrides, widest) in ROWS.items():
        found = [measure(overrides) for _ in range(COMMANDS)]
        mean = math.exp(fmean(math.log(one.value) for one in found))
        holding += sum(one.low <= mean <= one.high for one in found)
        disjoint += sum(one.high < other.low or other.high < one.low for one, other in itertools.combinations(found, 2))
        width = median(one.half_width for one in found)
        findings.append(Finding(f"{name}: half-width within ±{widest:.1%}", describe(found), width <= widest))
    total = COMMANDS * len(ROWS)
    pairs = len(ROWS) * math.comb(COMMANDS, 2)
    findings += [
        Finding(f"17 of {total} intervals hold the grand mean", f"{holding} do", holding >= 17),
        Finding(f"at most 3 of {pairs} pairs of intervals are disjoint", f"{disjoint} are", disjoint <= 3),
    ]
    return print_findings("The same row measured again", findings)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
