"""Resolve the name of a sweep to its folder; used by all subcommands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from runner.errors import ConfigurationError, Mistake
from runner.results.store import SweepStore

LAST = "last"
"""Alias of the newest sweep of the output folder."""
RUN_ID = re.compile(r"[0-9a-f]{32}")
"""Format of an MLflow run id."""
SHOWN = 5
"""Maximum number of sweep names in a message."""


def sweep_folders(output_dir: Path) -> list[Path]:
    """Return the folders of all sweeps of an output folder, oldest first.

    Merged ones, which may have any name, come before: `last` is a merged sweep only if there is no other.
    """
    found = [folder for folder in sorted((output_dir / "sweeps").glob("*")) if SweepStore.holds_plan(folder)]
    return sorted(found, key=lambda folder: not SweepStore.is_merged(folder))


def find_sweep(
    wanted: str, output_dir: Path, *, field: str = "sweep", name_of_run: Callable[[str], str | None] | None = None
) -> Path:
    """Return the folder of a sweep.

    Args:
        wanted: ``last``, the sweep's folder, its name, a unique prefix of its name, or the id of its MLflow run or of
            one of its rows.
        output_dir: the folder that contains ``sweeps``.
        field: name of the setting or option, for the error message.
        name_of_run: returns the sweep's name for an MLflow run id, None if the store has no such run. Without it run
            ids are not accepted.

    Raises:
        ConfigurationError: no sweep matches, or several do.
    """
    folders = sweep_folders(output_dir)
    names = [folder.name for folder in folders]
    where = output_dir / "sweeps"
    if wanted == LAST and folders:
        return folders[-1]
    if SweepStore.holds_plan(Path(wanted)):
        return Path(wanted)
    if wanted in names:
        return where / wanted
    if name_of_run is not None and RUN_ID.fullmatch(wanted):
        name = name_of_run(wanted)
        if name in names:
            return where / str(name)
    matching = [name for name in names if wanted and name.startswith(wanted)]
    if len(matching) == 1:
        return where / matching[0]
    if matching:
        allowed = "the name of one sweep, or a unique prefix of it"
        raise ConfigurationError([Mistake(field, wanted, allowed, f"It matches {_list(matching)}")])
    allowed = f"{LAST}, or the folder, the name, a prefix of the name or the MLflow run id of a sweep in {where}"
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    if near:
        remedy = f"The nearest: {_list(near)}"
    else:
        remedy = f"It contains {_list(names[-SHOWN:])}" if names else "It contains no sweep"
    raise ConfigurationError([Mistake(field, wanted, allowed, remedy)])


def _list(names: list[str]) -> str:
    return ", ".join(names)
