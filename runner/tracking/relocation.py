"""A local store that was moved or copied together with its output folder: its artifacts are found where they are now.

MLflow stores the absolute address of artifacts, in each experiment and in each run.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

ARTIFACTS = "mlartifacts"
"""Folder, in the output folder, with the artifacts of a local store."""
COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
"""Tables and columns with addresses of artifacts."""


def artifact_location(output_dir: Path) -> str:
    """Return the address of the artifacts of an output folder's own store."""
    return (output_dir.absolute() / ARTIFACTS).as_uri()


def relocate(database: Path) -> int:
    """Correct the addresses in a store that lay elsewhere when they were written.

    Args:
        database: ``mlflow.db`` of an output folder; if it does not exist there is nothing to do.

    Returns:
        The number of corrected addresses.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    if not database.is_file():
        return 0
    here, corrected = artifact_location(database.parent), 0
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, column in COLUMNS:
            if table not in tables:
                continue
            key = "experiment_id" if table == "experiments" else "run_uuid"
            stored = store.execute(f"SELECT {key}, {column} FROM {table}").fetchall()  # noqa: S608 -- constants above
            for identity, address in stored:
                before, mark, rest = str(address or "").partition(f"/{ARTIFACTS}")
                if not mark or not before.startswith("file:") or f"{before}{mark}" == here:
                    continue
                change = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"  # noqa: S608 -- constants above
                store.execute(change, (here + rest, identity))
                corrected += 1
        store.commit()
    return corrected
