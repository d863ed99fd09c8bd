"""Find a sweep by what people call it: the one resolver of every verb."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from runner.errors import ConfigurationError, Mistake
from runner.results.store import SweepStore

LAST = "last"
"""Stands for the newest sweep of the output folder."""
RUN_ID = re.compile(r"[0-9a-f]{32}")
"""An MLflow run id."""
SHOWN = 5
"""Names of sweeps in a message, at most."""


def sweep_folders(output_dir: Path) -> list[Path]:
    """Return the folders of all sweeps of an output folder, oldest first."""
    return [folder for folder in sorted((output_dir / "sweeps").glob("*")) if SweepStore.holds_plan(folder)]


def find_sweep(
    wanted: str, output_dir: Path, *, field: str = "sweep", name_of_run: Callable[[str], str | None] | None = None
) -> Path:
    """Return the folder of a sweep.

    Args:
        wanted: ``last``, the sweep's folder, its name, a prefix of its name that fits no other, or the id of its MLflow
            run or of one of its rows.
        output_dir: holds ``sweeps``.
        field: the name of the setting or option, for a message.
        name_of_run: returns the name of the sweep of an MLflow run, None if the store has no such run. Without it
            run ids are not understood.

    Raises:
        ConfigurationError: there is no such sweep, or several.
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
    fitting = [name for name in names if wanted and name.startswith(wanted)]
    if len(fitting) == 1:
        return where / fitting[0]
    if fitting:
        allowed = "the name of one sweep, or a prefix that fits no other"
        raise ConfigurationError([Mistake(field, wanted, allowed, f"It fits {_list(fitting)}")])
    allowed = f"{LAST}, or the folder, the name, a prefix of the name or the MLflow run id of a sweep in {where}"
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    if near:
        remedy = f"The nearest: {_list(near)}"
    else:
        remedy = f"It holds {_list(names[-SHOWN:])}" if names else "It holds no sweep"
    raise ConfigurationError([Mistake(field, wanted, allowed, remedy)])


def _list(names: list[str]) -> str:
    return ", ".join(names)
