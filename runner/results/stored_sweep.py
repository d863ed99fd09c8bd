"""A past sweep, read back from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.results.result import Result
from runner.results.store import NOTES_FILE, SweepStore, read_results


@dataclass(frozen=True)
class StoredRun:
    """A run that ended."""

    folder: Path
    result: Result
    overrides: list[str]
    """The words of the command line that ask for this run alone; empty in sweeps of earlier versions."""


@dataclass(frozen=True)
class StoredSweep:
    """A sweep as its folder holds it."""

    folder: Path
    runs: list[StoredRun]
    """In the order of the plan."""
    planned: int
    """Number of planned runs."""
    config_dir: str | None
    """The folder of configuration groups that the command added."""
    lines: list[str]
    """What was concluded from all rows when the sweep ended."""
    problems: list[str]
    """Files that could not be read, with the reasons."""

    @property
    def results(self) -> list[Result]:
        """The results, in the order of the plan."""
        return [run.result for run in self.runs]


def read_sweep(folder: Path) -> StoredSweep:
    """Read a sweep. A damaged result is a problem, and left out.

    Args:
        folder: of a sweep with a readable plan.

    Raises:
        OSError, ValueError: the plan cannot be read.
    """
    found: dict[str, tuple[Path, Result]] = {}
    problems = []
    for path, result in read_results(folder):
        if isinstance(result, Result):
            found[path.parent.name] = path.parent, result
        else:
            problems.append(f"{path} cannot be read: {result}")
    plan = SweepStore.read_plan(folder)
    runs = [
        StoredRun(*found[run["folder"]], overrides=_texts(run.get("overrides", ())))
        for run in plan["runs"]
        if run["folder"] in found
    ]
    notes = folder / NOTES_FILE
    lines = notes.read_text(encoding="utf-8", errors="replace").splitlines() if notes.is_file() else []
    command = plan.get("command", {})
    return StoredSweep(folder, runs, len(plan["runs"]), command.get("config_dir"), lines, problems)


def _texts(values: Sequence[object]) -> list[str]:
    return [str(value) for value in values]
