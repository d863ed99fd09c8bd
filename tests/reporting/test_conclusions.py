"""Conclusions from all rows, and remarks about the machine."""

from __future__ import annotations

from dataclasses import replace

from runner.analysis.statistics import Estimate
from runner.machine.facts import this_machine
from runner.planning.plans import make_plans
from runner.reporting.conclusions import (
    forbidden_layout,
    guarded,
    progress_lines,
    self_comparison_line,
)
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


def test_the_self_comparison_says_whether_its_interval_holds_one():
    """If it does not, differences of that size mean nothing."""
    assert self_comparison_line(None) == []
    [holds] = self_comparison_line(Estimate(1.004, 0.99, 1.02))
    assert holds == "A/A: the baseline over itself is 1.004× (0.990 … 1.020): its interval holds 1"
    [fails] = self_comparison_line(Estimate(1.03, 1.01, 1.05))
    assert fails.endswith("its interval does not hold 1: trust no difference as small as this")
