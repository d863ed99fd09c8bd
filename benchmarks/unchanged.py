"""Does `runner compare` find a change where there is none? Ten unchanged small sweeps, compared with each other.

It takes a quarter of an hour.

Promises: at most 5 % of the comparisons fail with `--fail-if-slower 0%`, and none with 3%. In a failed one at least one
of the two rows lost speed beyond doubt; Holm's correction keeps the probability of that at 5 % over the rows.

    make unchanged
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter

from benchmarks.harness import Finding, newest_results, print_findings, run
from runner.reporting.comparing.pairs import Limits, Side, compare, pairs_of
from runner.results.result import Result

SWEEPS = 10
SWEEP = (
    *("-m", "backend=ort", "precision=fp32,int8", "model=resnet18", "model.image_size=64"),
    *("measure=quick", "tracking=none"),
)
LIMITS = {"0 %": (0.0, 0.05), "3 %": (0.03, 0.0)}
"""The largest loss that is accepted, and the largest share of comparisons that may fail with it."""


def measure() -> list[Result]:
    """Measure the sweep once more and return its rows."""
    run(*SWEEP)
    return newest_results()


def main() -> bool:
    """Measure, compare, print the table, and return whether all promises are kept."""
    sides = [Side(str(number), measure()) for number in range(SWEEPS)]
    comparisons = list(itertools.combinations(sides, 2))
    findings = []
    for name, (slower, allowed) in LIMITS.items():
        failed = sum(
            any(pair.failures for pair in pairs_of(compare(two, Limits(slower=slower)))) for two in comparisons
        )
        findings.append(
            Finding(
                f"--fail-if-slower {name}: at most {allowed:.0%} of {len(comparisons)} comparisons fail",
                f"{failed} fail ({failed / len(comparisons):.1%})",
                failed <= allowed * len(comparisons),
            )
        )
    verdicts = Counter(pair.verdict for two in comparisons for pair in pairs_of(compare(two, Limits())))
    words = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    findings.append(Finding("every pair of rows has a verdict", words, verdicts.total() == 2 * len(comparisons)))
    return print_findings("Ten unchanged sweeps, compared with each other", findings)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
