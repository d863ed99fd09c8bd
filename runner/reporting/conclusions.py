"""Conclusions from all rows of a sweep, one line each, shown below its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runner.analysis.statistics import Estimate, Verdict
from runner.config.labels import describe
from runner.config.schema import RunConfig
from runner.machine.facts import Machine
from runner.reporting import contributions, diagnosis
from runner.results.noise_floor import Calibration
from runner.results.plan import Plan
from runner.results.result import Result


def conclusions(plans: Sequence[Plan], made: Mapping[int, Result], machine: Machine) -> list[str]:
    """Return the conclusions of a sweep; a conclusion that fails is replaced by a line with the error.

    Args:
        plans: all plans of the sweep.
        made: results by plan number.
        machine: the machine that measured.
    """
    finished = [(plans[number], made[number]) for number in sorted(made)]
    ended, results = [plan for plan, _ in finished], [result for _, result in finished]
    return [
        *guarded("diagnosis", lambda: diagnosis.lines(ended, results, machine)),
        *guarded("ablation", lambda: contributions.lines(plans, [made.get(number) for number in range(len(plans))])),
        *guarded("noise floor", lambda: raised_floors(ended, results)),
        *forbidden_layout(ended, machine),
    ]


def guarded(what: str, conclude: Callable[[], list[str]]) -> list[str]:
    """Return the lines of a conclusion, or the error as a line, so that the table is printed in any case."""
    try:
        return conclude()
    except Exception as error:
        return [f"no {what}: {type(error).__name__}: {error}"]


def self_comparison_line(speedup: Estimate | None) -> list[str]:
    """Return what the sweep's A/A check found: the speedup of a second process of the baseline over the first."""
    if speedup is None:
        return []
    holds = speedup.low <= 1 <= speedup.high
    rest = "its interval holds 1" if holds else "its interval does not hold 1: trust no difference as small as this"
    return [f"A/A: the baseline over itself is {speedup.value:.3f}× ({speedup.low:.3f} … {speedup.high:.3f}): {rest}"]


def raised_floors(plans: Sequence[Plan], results: Sequence[Result]) -> list[str]:
    """Return a line for each applied δ that exceeds `measure.noise_floor`."""
    floors = {
        result.shown.noise_floor
        for plan, result in zip(plans, results, strict=True)
        if result.shown and result.shown.noise_floor > plan.config.measure.noise_floor
    }
    return [
        f"δ is {floor:.1%} here, by A/A runs on this machine (runner machine lists them)" for floor in sorted(floors)
    ]


def forbidden_layout(plans: Sequence[Plan], machine: Machine) -> list[str]:
    """Return a line if this machine forbids the fixed address layout that the runs request; else nothing."""
    if machine.fixed_layout or not any(plan.config.measure.fixed_layout for plan in plans):
        return []
    return [
        "this machine forbids a fixed address layout (setarch --addr-no-randomize), and the intervals do not include "
        "the effect of random layouts: take measure=publish, or allow setarch in the seccomp profile"
    ]


def self_comparisons(plans: Sequence[Plan], made: Mapping[int, Result]) -> list[tuple[RunConfig, list[float]]]:
    """Return each configuration that was measured against itself, with the speedups of those runs."""
    found: dict[str, tuple[RunConfig, list[float]]] = {}
    for number in sorted(made):
        config, measured = plans[number].config, made[number].shown
        if config.aa:
            speedups = found.setdefault(repr(config), (config, []))[1]
            if measured and measured.verdict is not Verdict.too_noisy:
                speedups.append(measured.speedup.value)
    return list(found.values())


def calibration_line(config: RunConfig, speedups: Sequence[float], found: Calibration | None, where: str) -> str:
    """Return what A/A runs of a configuration found.

    Args:
        config: the configuration that was measured against itself.
        speedups: of the runs that ended with a number.
        found: the calibration; None if too few runs ended with a number.
        where: the folder of calibrations.
    """
    if found is None:
        return f"{describe(config)}: not calibrated: {len(speedups)} of {config.aa} A/A runs ended with a number"
    return (
        f"{len(speedups)} A/A runs of {describe(config)}: mean |speedup - 1| {found.mean_error:.2%}; the next is "
        f"within ±{found.noise_floor:.1%} with 95 % confidence; from now on δ is at least that for model={found.model} "
        f"measure={found.measure} under these settings (stored in {where}; delete it to revert)"
    )


def progress_lines(
    plans: Sequence[Plan], made: Mapping[int, Result], reused: int, sweep: str, *, interrupted: bool
) -> list[str]:
    """Return how many runs were reused, how many remain, and the command that continues the sweep.

    Args:
        plans: all plans of the sweep.
        made: results by plan number.
        reused: number of results that an earlier command measured.
        sweep: name of the sweep.
        interrupted: whether the user interrupted the sweep.
    """
    lines = []
    if reused:
        lines.append(
            f"{reused} of {len(plans)} runs were already measured and are reused (fresh=true measures all again)"
        )
    left, config = len(plans) - len(made), plans[0].config
    elsewhere = "" if config.output_dir == RunConfig.output_dir else f" output_dir={config.output_dir}"
    remedy = f"to continue: runner resume {sweep}{elsewhere}"
    if left:
        why = "" if interrupted else f" within the budget of {config.budget}"
        lines.append(f"{left} more {'was' if left == 1 else 'were'} not started{why}; {remedy}")
    elif interrupted:
        lines.append(remedy)
    return lines
