"""Put the parts of a sweep together that several machines measured, as one sweep.

A row is known by its fingerprint, which has the kind of machine in it: the same row on two kinds is two rows, and the
same row twice on one kind is measured once too often. Merging again adds what is new, and changes nothing else.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from runner.errors import NothingLaunched
from runner.planning.resume import stored_command
from runner.results.files import RESULT_FILE, load, write_json
from runner.results.result import SCHEMA, Result
from runner.results.status import HARMLESS
from runner.results.store import MACHINE_FILE, PLAN_FILE, SweepStore, sweep_id_of

MERGED = "merged"
"""Key of the plan that names the sweeps which a merged one was made of."""


@dataclass
class Merged:
    """What merging found."""

    rows: int = 0
    """Rows with a result."""
    missing: int = 0
    """Planned rows that no part has measured."""
    conflicts: list[str] = field(default_factory=list)
    """Rows that two parts measured, each with the part whose result is kept."""


@dataclass(frozen=True)
class _Row:
    """A planned row of a part."""

    run: dict[str, Any]
    """As the part's plan has it."""
    folder: Path
    result: Result | None

    @property
    def place(self) -> tuple[int, str]:
        """Its place in the whole sweep."""
        number, _, rest = str(self.run["folder"]).partition("_")
        return int(number) if number.isdecimal() else 0, rest

    @property
    def digest(self) -> str:
        """SHA-256 of the file with the result."""
        return hashlib.sha256((self.folder / RESULT_FILE).read_bytes()).hexdigest()


def merge(parts: Sequence[Path], target: Path) -> Merged:
    """Write one sweep with the rows of several; one that was merged before is extended.

    Args:
        parts: folders of sweeps of one command, for example of its shards.
        target: folder of the merged sweep.

    Returns:
        How many rows it has, and what is missing or was measured twice.

    Raises:
        NothingLaunched: the parts are of different commands, or the folder is that of another sweep.
        OSError, ValueError: a part cannot be read, or the disk is full.
    """
    earlier = _earlier(target)
    sources = [*([target] if earlier else []), *(part for part in parts if part.resolve() != target.resolve())]
    _check_one_command(sources)
    merged = Merged()
    rows = _union(sources, merged)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        made = Path(work) / target.name
        made.mkdir()
        runs = _copy(rows, made)
        _copy_machines(sources, made)
        names = {sweep_id_of(part): part.name for part in sources if part != target}
        plan = {
            "schema": SCHEMA,
            "sweep": sweep_id_of(target) if earlier else uuid4().hex,
            "command": SweepStore.read_plan(sources[0])["command"],
            "runs": runs,
            MERGED: {**(earlier or {}), **names},
        }
        plan["command"]["overrides"] = [word for word in plan["command"]["overrides"] if not word.startswith("shard=")]
        write_json(made / PLAN_FILE, plan)
        _replace(target, made, Path(work) / "old")
    merged.rows = sum(row.result is not None for row in rows)
    merged.missing = len(rows) - merged.rows
    return merged


def _replace(target: Path, made: Path, old: Path) -> None:
    """Put a folder at the place of another one, which stays there if that fails."""
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise


def _earlier(target: Path) -> dict[str, str] | None:
    """Return what a merged sweep was made of; None if there is nothing at its place.

    Raises:
        NothingLaunched: there is something else.
    """
    if not target.exists():
        return None
    found = SweepStore.read_plan(target).get(MERGED) if SweepStore.holds_plan(target) else None
    if not isinstance(found, Mapping):
        raise NothingLaunched(f"{target} exists and is no merged sweep: choose another name")
    return dict(found)


def _check_one_command(sources: Sequence[Path]) -> None:
    """Check that all parts measure the same.

    Raises:
        NothingLaunched: two do not; the message shows both commands.
    """
    first, *others = [(part, stored_command(part)[0].with_value("shard", None)) for part in sources]
    for part, command in others:
        if not command.measures_as(first[1]):
            words = "; ".join(f"{one.name} is runner {' '.join(own.measured)}" for one, own in (first, (part, command)))
            raise NothingLaunched(f"only parts of one command can be merged: {words}")


def _union(sources: Sequence[Path], merged: Merged) -> list[_Row]:
    """Return every row once, in the order of the whole sweep; the first result of a row counts, if it is no failure."""
    found: dict[tuple[str, int], tuple[_Row, Path]] = {}
    for part in sources:
        seen: Counter[str] = Counter()
        for row in _rows_of(part):
            fingerprint = str(row.run["fingerprint"])
            key = (fingerprint, seen[fingerprint])  # a command may ask for a row twice
            seen[fingerprint] += 1
            known = found.setdefault(key, (row, part))
            if known[0] is row or row.result is None:
                continue
            if known[0].result is None or known[0].result.status not in HARMLESS:
                found[key] = (row, part)
            elif row.result.status in HARMLESS and row.digest != known[0].digest:
                merged.conflicts.append(
                    f"{row.run['label']}: {part.name} measured it too; that of {known[1].name} is kept"
                )
    return sorted((row for row, _ in found.values()), key=lambda row: row.place)


def _rows_of(part: Path) -> list[_Row]:
    found = []
    for run in SweepStore.read_plan(part)["runs"]:
        folder = part / str(run["folder"])
        result = load(folder / RESULT_FILE) if (folder / RESULT_FILE).is_file() else None
        own = result if result is not None and result.fingerprint == run["fingerprint"] else None
        found.append(_Row(run, folder, own))
    return found


def _copy(rows: Sequence[_Row], target: Path) -> list[dict[str, Any]]:
    """Copy the folders of rows, and return the rows as a plan has them: names that two rows have get a number."""
    runs: list[dict[str, Any]] = []
    for row in rows:
        name, count = str(row.run["folder"]), 1
        while (target / name).exists() or any(run["folder"] == name for run in runs):
            count += 1
            name = f"{row.run['folder']}-{count}"
        if row.result is not None:
            shutil.copytree(row.folder, target / name)
        runs.append({**row.run, "folder": name})
    return runs


def _copy_machines(sources: Sequence[Path], target: Path) -> None:
    """Copy the description of each part's machine; that of the first is the sweep's own."""
    folder = target / "machines"
    folder.mkdir()
    for part in sources:
        own = part / "machines"
        for file in own.glob("*.json") if own.is_dir() else [part / MACHINE_FILE]:
            if file.is_file():
                name = file.name if own.is_dir() else f"{sweep_id_of(part)}.json"
                shutil.copyfile(file, folder / name)
    for file in sorted(folder.iterdir())[:1]:
        shutil.copyfile(file, target / MACHINE_FILE)
