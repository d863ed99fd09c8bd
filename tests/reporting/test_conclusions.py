"""Conclusions from all rows, and remarks about the machine."""

from __future__ import annotations

import math
from dataclasses import replace

from runner.analysis.statistics import Estimate, geometric_mean
from runner.machine.facts import this_machine
from runner.planning.plans import make_plans
from runner.reporting.conclusions import (
    fastest_lines,
    forbidden_layout,
    guarded,
    progress_lines,
    self_comparison_line,
)
from runner.results.result import Replicate, Result
from runner.results.status import Status
from tests.reporting.test_progress import MEASURED
from tests.results.test_files import RESULT


def test_a_forbidden_layout_is_reported(hydra_context):
    """The intervals of quick and standard rely on a fixed layout; publish uses random layouts."""
    machine = replace(this_machine(), fixed_layout=[])
    [standard], [publish] = make_plans([["measure=standard"]]), make_plans([["measure=publish"]])
    [line] = forbidden_layout([standard, standard], machine)
    assert "forbids a fixed address layout" in line
    assert forbidden_layout([publish], machine) == []
    assert forbidden_layout([standard], replace(machine, fixed_layout=["setarch", "--addr-no-randomize"])) == []


def test_a_failed_conclusion_is_a_line():
    """So that the table is printed in any case."""

    def fail() -> list[str]:
        raise KeyError("x")

    assert guarded("diagnosis", fail) == ["no diagnosis: KeyError: 'x'"]


def test_remaining_runs_name_the_command(hydra_context):
    """After a spent budget and after an interruption, with another output folder."""
    plans = make_plans([["budget=2h", "output_dir=elsewhere"]]) * 3
    assert progress_lines(plans, {}, 0, "2026", interrupted=False) == [
        "3 more were not started within the budget of 2h; to continue: runner resume 2026 output_dir=elsewhere"
    ]
    assert progress_lines(plans, dict.fromkeys(range(3), RESULT), 2, "2026", interrupted=True) == [
        "2 of 3 runs were already measured and are reused (fresh=true measures all again)",
        "to continue: runner resume 2026 output_dir=elsewhere",
    ]


def side_by_side(label: str, speedups: list[float], block: str = "01") -> Result:
    """Return a result with one replicate per speedup."""
    replicates = [Replicate(number, 2, speedup, 8 * speedup) for number, speedup in enumerate(speedups)]
    speedup = geometric_mean([math.log(one) for one in speedups])
    numbers = replace(MEASURED, speedup=speedup, replicates=replicates, block=block, noise_floor=0.01)
    return Result(label, Status.ok, "", "", {}, measurement=numbers)


def test_the_fastest_is_compared_with_the_next_within_replicates():
    """Their speedups scatter by 20 %, their ratio not at all: it is 1.1."""
    fast, next_one = side_by_side("fast", [2.2, 2.64, 2.42]), side_by_side("next", [2.0, 2.4, 2.2])
    slow = side_by_side("slow", [1.0, 1.1, 1.2])
    assert fastest_lines([slow, fast, next_one]) == [
        "the fastest, fast, is 1.10× (1.10 … 1.10) as fast as next, side by side in 3 replicates: faster"
    ]


def test_runs_of_different_blocks_are_not_compared():
    """They were measured at different times."""
    assert fastest_lines([side_by_side("a", [2.0, 2.1]), side_by_side("b", [1.0, 1.1], block="02")]) == []
    assert fastest_lines([side_by_side("a", [2.0, 2.1])]) == []


def test_the_self_comparison_says_whether_its_interval_holds_one():
    """If it does not, differences of that size mean nothing."""
    assert self_comparison_line(None) == []
    [holds] = self_comparison_line(Estimate(1.004, 0.99, 1.02))
    assert holds == "A/A: the baseline over itself is 1.004× (0.990 … 1.020): its interval holds 1"
    [fails] = self_comparison_line(Estimate(1.03, 1.01, 1.05))
    assert fails.endswith("its interval does not hold 1: trust no difference as small as this")
