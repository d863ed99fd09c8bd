"""Record the results in the run folders that a store does not contain yet; no result is recorded twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import EARLIER, MACHINE_FILE, NOTES_FILE, PAGE_FILE, SweepStore, read_results
from runner.tracking.client import open_client, open_experiment
from runner.tracking.recorder import Recorder


@dataclass
class Synced:
    """The outcome of recording one sweep."""

    sweep: str
    recorded: int = 0
    present: int = 0
    """Number of runs that the store already contained."""
    unreadable: list[str] = field(default_factory=list)
    """Messages about unreadable results."""

    def __str__(self) -> str:
        """Return the outcome in one line."""
        parts = [f"{self.sweep}: {self.recorded} recorded, {self.present} already present", *self.unreadable]
        return "; ".join(parts)


def sync(uri: str, experiment: str, output_dir: Path, folder: Path) -> Synced:
    """Record the runs of a sweep that a store does not contain.

    Args:
        uri: of the store.
        experiment: its name; created if it does not exist.
        output_dir: contains the artifacts of a store that is a local database.
        folder: of the sweep.

    Raises:
        Exception: any that MLflow raises for a store that does not respond or rejects the request.
    """
    synced = Synced(folder.name)
    client = open_client(uri)
    recorder = Recorder(client, open_experiment(client, experiment, output_dir, uri), folder)
    results = list(_results(folder, synced))
    machine, attempt = next(((result.machine, result.attempt) for _, result, _ in results), ("", {}))
    recorder.start(folder / MACHINE_FILE, machine, attempt)
    for path, result, place in results:
        if recorder.record(result, path.parent, place):
            synced.recorded += 1
        else:
            synced.present += 1
    files = [
        file for pattern in ("table.*", "figure.*", PAGE_FILE, NOTES_FILE) for file in sorted(folder.glob(pattern))
    ]
    statuses = SweepStore.statuses(folder)
    recorder.finish(files, interrupted=None in statuses or Status.interrupted in statuses)
    return synced


def _results(folder: Path, synced: Synced) -> Iterator[tuple[Path, Result, str]]:
    """Yield every row of a sweep: path, result, and the name of the run's folder when it was measured.

    A run that was measured again replaces the earlier one with the same fingerprint; another fingerprint is another
    row.
    """
    current = set()
    for path, result in read_results(folder):
        if isinstance(result, Result):
            current.add(result.fingerprint)
            yield path, result, path.parent.name
        else:
            synced.unreadable.append(f"{path.parent.name} cannot be read ({result})")
    earlier = {}
    for path, result in sorted(read_results(folder / EARLIER), key=lambda found: _attempt(found[0])):
        if isinstance(result, Result) and result.fingerprint not in current:
            place = path.parent.name.rpartition("-")[0]
            earlier[place, result.fingerprint] = path, result, place  # the last attempt wins
    yield from earlier.values()


def _attempt(path: Path) -> int:
    """Return the number at the end of the folder name of a replaced run; 0 without one."""
    number = path.parent.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
