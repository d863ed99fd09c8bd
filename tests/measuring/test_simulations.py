"""Statistics tested as statistics: thousands of simulated runs under each mode, with effects that are known.

Every process draws a speed of its own, and the machine's speed is a series in time of which every slice takes the next
value. The order within a round, what is estimated and what is concluded is the program's own code, with the numbers of
conf/measure. ``python -m benchmarks.coverage`` prints every cell.
"""

from __future__ import annotations

import pytest

from benchmarks.coverage import KINDS, MODES, PROCESS_SD, SLICE_SD, Cell, power, simulate

pytestmark = pytest.mark.slow

RUNS = 400
MARGIN = 0.025
"""Two standard errors of a share of 93 % in so many runs."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_cover_the_truth_and_false_verdicts_are_rare(mode, kind):
    """In every cell at least 93 % of the intervals hold the truth, and at most 5 % of the verdicts are false."""
    for process_sd in PROCESS_SD:
        for slice_sd in SLICE_SD:
            found = simulate(Cell(mode, kind, process_sd, slice_sd), RUNS)
            assert found.coverage >= 0.93 - MARGIN, found
            assert found.throughput_coverage >= 0.93 - MARGIN, found
            assert found.false_verdicts <= 0.05 + MARGIN / 2, found


@pytest.mark.parametrize(("process_sd", "least"), [(0.01, 0.90), (0.021, 0.70)])
def test_an_effect_of_five_per_cent_is_found(process_sd, least):
    """Under `standard`, with slices that differ by 2 %, and never as its opposite."""
    found = power(Cell("standard", "white", process_sd, 0.02), 0.05, RUNS)
    assert found.faster >= least
    assert found.slower == 0
