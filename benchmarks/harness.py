"""The harness itself: does it find an effect where there is none, does it disturb, what does it cost?

Promises: A/A |speedup − 1| ≤ 2 % and no verdict; host under 0.5 % of a core while a worker is timed; a warm sweep at
most 2.5 × its timed seconds; --help and a mistake within 1.5 s.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from runner.paths import PROJECT
from runner.results.files import load
from runner.results.result import Result

SWEEP = ("-m", "backend=ort,openvino", "precision=fp32,bf16,int8")
ANSWERS = 5
"""Times that a quick answer is asked for; the slowest counts."""


@dataclass(frozen=True)
class Finding:
    """One promise and what was measured."""

    promise: str
    measured: str
    kept: bool


def run(*arguments: str, codes: Sequence[int] = (0,), **variables: str) -> tuple[float, str]:
    """Run the program; return its wall time in seconds and its output.

    Args:
        arguments: of the command line.
        codes: exit codes that are expected.
        variables: of the environment, besides those of this process.

    Raises:
        RuntimeError: it ended with another one.
    """
    begin = time.monotonic()
    command, environment = [sys.executable, "-m", "runner", *arguments], os.environ | variables
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"exit code {done.returncode}, not {codes}: {done.stdout}{done.stderr}")
    return time.monotonic() - begin, done.stdout


def newest_results() -> list[Result]:
    """Return the results of the sweep that ran last."""
    sweep = max((PROJECT / "outputs" / "sweeps").iterdir())
    return [load(path) for path in sorted(sweep.glob("*/result.json"))]


def print_findings(title: str, found: Sequence[Finding]) -> bool:
    """Print promises and what was measured, and return whether all are kept."""
    table = Table(title=title, show_lines=True)
    for name in ("promise", "measured", "kept"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(one.promise, one.measured, "yes" if one.kept else "NO")
    Console(width=110).print(table)
    return all(one.kept for one in found)


def quick_answers() -> list[Finding]:
    """Ask for help, and make a mistake."""
    found = []
    for what, arguments, code in (("--help", ["--help"], 0), ("a mistake", ["backend=nothing", "batch_size=0"], 2)):
        slowest = max(run(*arguments, codes=(code,))[0] for _ in range(ANSWERS))
        found.append(
            Finding(f"{what} answers within 1.5 s", f"{slowest:.2f} s, the slowest of {ANSWERS}", slowest < 1.5)
        )
    return found


def no_effect() -> list[Finding]:
    """Measure the baseline against itself; the default run is that."""
    run()
    [result] = newest_results()
    measured = result.measurement
    assert measured is not None
    assert result.host_cpu_share is not None
    speedup = measured.speedup
    return [
        Finding(
            "A/A, measure=standard: within ±2 %, no verdict",
            f"{speedup.value:.4f} ({speedup.low:.4f} … {speedup.high:.4f}), {measured.verdict}",
            abs(speedup.value - 1) <= 0.02 and measured.verdict not in ("faster", "slower"),
        ),
        Finding(
            "host under 0.5 % of a core in timed phases",
            f"{result.host_cpu_share:.3%}",
            result.host_cpu_share < 0.005,
        ),
    ]


def overhead() -> list[Finding]:
    """Run the main job with a warm cache."""
    run(*SWEEP)  # fills the cache where it is cold
    wall, printed = run(*SWEEP)
    timed = sum(result.phases.get("timed", 0.0) for result in newest_results())
    line = next(line for line in printed.splitlines() if "s timed" in line)
    return [
        Finding("a warm sweep within 2.5 × its timed seconds", f"{wall / timed:.2f} ×: {line}", wall <= 2.5 * timed)
    ]


def main() -> bool:
    """Measure every promise, print the table, and return whether all are kept."""
    return print_findings("The harness", [*quick_answers(), *no_effect(), *overhead()])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
