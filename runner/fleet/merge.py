"""Put the parts of a sweep together that several machines measured, as one sweep.

A row is known by its fingerprint, which has the kind of machine in it: the same row on two kinds is two rows, and the
same row twice on one kind is measured once too often. Merging again adds what is new, and changes nothing else.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from runner.errors import NothingLaunched
from runner.planning.resume import SETTLED, stored_command
from runner.results.files import RESULT_FILE, write_json
from runner.results.result import SCHEMA, Result
from runner.results.store import MACHINE_FILE, MERGED, PLAN_FILE, SweepStore, read_results, sweep_id_of


@dataclass
class Merged:
    """What merging found."""

    rows: int = 0
    """Rows with a result."""
    missing: int = 0
    """Planned rows that no part has measured."""
    conflicts: list[str] = field(default_factory=list)
    """Rows that two parts measured, each with the part whose result is kept."""
    absent: list[str] = field(default_factory=list)
    """Shards of which no part was given."""
    unreadable: list[str] = field(default_factory=list)
    """Results that cannot be read: their rows are missing."""


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
    extends = _is_extended(target)
    sources = [*([target] if extends else []), *(part for part in parts if part.resolve() != target.resolve())]
    _check_one_command(sources)
    origins = {sweep: origin for part in sources for sweep, origin in _origins(part).items()}
    merged = Merged(absent=_absent({shard for _, shard in origins.values()}))
    rows = _union(sources, merged)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        made = Path(work) / target.name
        made.mkdir()
        runs = _copy(rows, made)
        _copy_machines(sources, made)
        plan = {
            "schema": SCHEMA,
            "sweep": sweep_id_of(target) if extends else uuid4().hex,
            "command": SweepStore.read_plan(sources[0])["command"],
            "runs": runs,
            MERGED: origins,
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


def _origins(part: Path) -> dict[str, list[str]]:
    """Return the measured sweeps in a part: by their ids, their names and which shards they are; "" for none."""
    if found := SweepStore.read_plan(part).get(MERGED):
        return dict(found)
    return {sweep_id_of(part): [part.name, str(stored_command(part)[0].value("shard") or "")]}


def _absent(shards: set[str]) -> list[str]:
    """Return the shards that were not given.

    Raises:
        NothingLaunched: sweeps that were cut into different numbers of parts, whose rows overlap.
    """
    given = [shard.split("/") for shard in shards if shard]
    counts = sorted({int(count) for _, count in given})
    if len(counts) > 1 or (counts and "" in shards):
        received = ", ".join(shard or "a sweep that is no shard" for shard in sorted(shards))
        raise NothingLaunched(f"only parts of one division can be merged; received {received}")
    own = {int(index) for index, _ in given}
    return [f"{index}/{count}" for count in counts for index in range(count) if index not in own]


def _is_extended(target: Path) -> bool:
    """Return whether a merged sweep is at its place already; False if there is nothing.

    Raises:
        NothingLaunched: there is something else.
    """
    if target.exists() and not (SweepStore.holds_plan(target) and SweepStore.is_merged(target)):
        raise NothingLaunched(f"{target} exists and is no merged sweep: choose another name")
    return target.exists()


def _check_one_command(sources: Sequence[Path]) -> None:
    """Check that all parts measure the same; each machine may have the folder of --config-dir elsewhere.

    Raises:
        NothingLaunched: two do not; the message shows both commands.
    """
    commands = [replace(stored_command(part)[0].with_value("shard", None), config_dir=None) for part in sources]
    first, *others = zip(sources, commands, strict=True)
    for part, command in others:
        if not command.measures_as(first[1]):
            words = "; ".join(
                f"{one.name} is runner {' '.join(own.arguments())}" for one, own in (first, (part, command))
            )
            raise NothingLaunched(f"only parts of one command can be merged: {words}")


def _union(sources: Sequence[Path], merged: Merged) -> list[_Row]:
    """Return every row once, in the order of the whole sweep; the first result of a row counts, if it is no failure."""
    found: dict[tuple[str, int], tuple[_Row, Path]] = {}
    for part in sources:
        seen: Counter[str] = Counter()
        for row in _rows_of(part, merged):
            fingerprint = str(row.run["fingerprint"])
            key = (fingerprint, seen[fingerprint])  # a command may ask for a row twice
            seen[fingerprint] += 1
            known = found.setdefault(key, (row, part))
            if known[0] is row or row.result is None:
                continue
            if known[0].result is None or known[0].result.status not in SETTLED:
                found[key] = (row, part)
            elif row.result.status in SETTLED and row.digest != known[0].digest:
                merged.conflicts.append(
                    f"{row.run['label']}: {part.name} measured it too; that of {known[1].name} is kept"
                )
    return sorted((row for row, _ in found.values()), key=lambda row: row.place)


def _rows_of(part: Path, merged: Merged) -> list[_Row]:
    """Return the planned rows of a part, those with a result of their fingerprint with it."""
    results: dict[str, Result] = {}
    for path, result in read_results(part):
        if isinstance(result, Result):
            results[path.parent.name] = result
        else:
            merged.unreadable.append(f"{path}: {result}")
    found = []
    for run in SweepStore.read_plan(part)["runs"]:
        own = results.get(str(run["folder"]))
        matches = own is not None and own.fingerprint == run["fingerprint"]
        found.append(_Row(run, part / str(run["folder"]), own if matches else None))
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
    """Copy the description of each part's machine; one of them is the sweep's own."""
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
