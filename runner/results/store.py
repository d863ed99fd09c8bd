"""A sweep on disk: its plan, written before its first run, and the results so far.

Only the fingerprint assigns a result to a planned run. Every file is written atomically; an unreadable file, as after a
power loss, is reported and ignored.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.results.files import RESULT_FILE, load, write_json
from runner.results.plan import Plan
from runner.results.result import SCHEMA, Result
from runner.results.status import HARMLESS, Status

PLAN_FILE = "plan.json"
MERGED = "merged"
"""Key of the plan that names the sweeps which a merged one was made of."""
EARLIER = "earlier"
"""Subfolder of a sweep for replaced results: interrupted, without a number, or of another fingerprint."""
MAX_NAME = 80
ID_DIGITS = 8
"""Digits of a sweep's id in the name of its folder: two sweeps of one second differ in them."""


class SweepStore:
    """A sweep's folder."""

    def __init__(self, folder: Path, plans: Sequence[Plan], reused: Mapping[int, tuple[Path, Result]]) -> None:
        """Store the plans and the reusable results.

        Args:
            folder: of the sweep.
            plans: one per run, in order.
            reused: folder and result of each run that is not measured again, by plan number; see
                :func:`runner.planning.resume.reusable_runs`.
        """
        self.folder = folder
        self._plans = plans
        self._reused = dict(reused)
        self._made: set[int] = set()

    @staticmethod
    def holds_plan(folder: Path) -> bool:
        """Return whether a folder contains a readable plan of a sweep."""
        try:
            return bool(SweepStore.read_plan(folder)["runs"])
        except (OSError, ValueError, KeyError, TypeError):  # missing or truncated: the sweep cannot be resumed
            return False

    @staticmethod
    def read_plan(folder: Path) -> dict[str, Any]:
        """Return a sweep's plan: ``command`` and ``runs``.

        Each run has ``folder``, ``label``, ``fingerprint`` and ``overrides``.

        Raises:
            OSError, ValueError: the plan cannot be read.
        """
        plan: dict[str, Any] = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        return plan

    @staticmethod
    def is_merged(folder: Path) -> bool:
        """Return whether a sweep was put together from others; its plan must be readable."""
        return MERGED in SweepStore.read_plan(folder)

    @classmethod
    def statuses(cls, folder: Path) -> list[Status | None]:
        """Return the status of each planned run of a sweep; None for a run without a result of its fingerprint."""
        results = {path.parent.name: result for path, result in read_results(folder) if isinstance(result, Result)}
        found: list[Status | None] = []
        for run in cls.read_plan(folder)["runs"]:
            result = results.get(run["folder"])
            found.append(result.status if result and result.fingerprint == run["fingerprint"] else None)
        return found

    @classmethod
    def is_unfinished(cls, folder: Path) -> bool:
        """Return whether a planned run has no result, or a status that is not in `HARMLESS`."""
        return any(status not in HARMLESS for status in cls.statuses(folder))

    def write_plan(self, command: Mapping[str, Any], sweep_id: str) -> None:
        """Write the plan.

        Args:
            command: the command that started the sweep, as plan.json stores it.
            sweep_id: identifies the sweep on all machines.

        Raises:
            OSError: the disk is full, or the folder is not writable.
        """
        runs = [self._run(number) for number in range(len(self._plans))]
        write_json(
            self.folder / PLAN_FILE, {"schema": SCHEMA, "sweep": sweep_id, "command": dict(command), "runs": runs}
        )

    def list_runs(self, numbers: Sequence[int]) -> None:
        """Write the plan again with other runs: those of a search are not known before it.

        Args:
            numbers: of the planned runs that belong to the sweep.

        Raises:
            OSError, ValueError: the plan cannot be read or written.
        """
        plan = self.read_plan(self.folder)
        write_json(self.folder / PLAN_FILE, plan | {"runs": [self._run(number) for number in numbers]})

    def _run(self, number: int) -> dict[str, Any]:
        plan = self._plans[number]
        return {
            "folder": self.run_folder(number).name,
            "label": plan.label,
            "fingerprint": plan.fingerprint,
            "overrides": list(plan.overrides),
        }

    def reused(self, number: int) -> Result | None:
        """Return the result of a planned run that is reused; None if the run is to be measured."""
        return self._reused[number][1] if number in self._reused else None

    def run_folder(self, number: int) -> Path:
        """Return the folder of a planned run."""
        if number in self._reused:
            return self._reused[number][0]
        label = self._plans[number].label
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in label)
        own = self.folder / f"{self._plans[number].place or number + 1:03d}_{name[:MAX_NAME]}"
        taken = [folder for folder, _ in self._reused.values()]  # by a row that had this number in an earlier command
        return next(place for place in itertools.chain([own], _numbered(own)) if place not in taken)

    def make_run_folder(self, number: int, *, keep: bool = False) -> Path:
        """Create the folder of a run that is to be measured, and return it; move an existing one to `EARLIER`.

        Args:
            number: of the planned run.
            keep: continue in an existing folder instead.

        Raises:
            OSError: the folder cannot be created.
        """
        folder = self.run_folder(number)
        if number in self._made:
            return folder
        if folder.exists() and not keep:
            earlier = self.folder / EARLIER
            earlier.mkdir(exist_ok=True)
            folder.rename(next(place for place in _numbered(earlier / folder.name) if not place.exists()))
        folder.mkdir(parents=True, exist_ok=keep)
        self._made.add(number)
        return folder


def make_sweep_folder(wanted: Path, sweep_id: str) -> Path:
    """Create the folder of a new sweep and return it: the time, and the first digits of the sweep's id.

    Args:
        wanted: a path that ends in the time.
        sweep_id: 32 hexadecimal digits of a UUID.

    Raises:
        OSError: the folder cannot be created.
    """
    folder = wanted.with_name(f"{wanted.name}_{sweep_id[:ID_DIGITS]}")
    folder.mkdir(parents=True)
    return folder


def sweep_id_of(folder: Path) -> str:
    """Return the id of a sweep: that of its plan; the folder's name for a plan of schema 1.

    Raises:
        OSError, ValueError: the plan cannot be read.
    """
    return str(SweepStore.read_plan(folder).get("sweep") or folder.name)


def read_results(folder: Path) -> Iterator[tuple[Path, Result | str]]:
    """Yield the path of every result in a sweep's folder with the result, or with the reason why it is unreadable."""
    for path in sorted(folder.glob(f"*/{RESULT_FILE}")):
        try:
            yield path, load(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield path, f"{type(error).__name__}: {error}"


def _numbered(path: Path) -> Iterator[Path]:
    """Yield a path with 1, 2, 3, … appended to its name."""
    return (path.with_name(f"{path.name}-{number}") for number in itertools.count(1))


NOTES_FILE = "notes.txt"
"""The conclusions from all rows of a sweep; an artifact of its parent run."""


MACHINE_FILE = "machine.json"

PAGE_FILE = "report.html"
"""The page of a sweep; an artifact of its parent run."""
