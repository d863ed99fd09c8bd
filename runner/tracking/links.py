"""Addresses of views of MLflow's UI."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from runner.tracking.client import SWEEP_TAG

NEWEST = f"""
SELECT runs.experiment_id, tags.value FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
WHERE tags.key = '{SWEEP_TAG}' AND runs.lifecycle_stage = 'active' ORDER BY runs.start_time DESC LIMIT 1
"""  # noqa: S608 -- a constant of this program
"""Experiment and name of the newest sweep; MLflow's client would take seconds to find it."""


def comparison_view(address: str, experiment: str, sweep: str) -> str:
    """Return the address of the view that compares the rows of a sweep in charts.

    Args:
        address: of the UI.
        experiment: its id.
        sweep: name of the sweep.
    """
    chosen = quote(f"tags.{SWEEP_TAG} = '{sweep}'")
    return f"{address}/#/experiments/{experiment}/runs?compareRunsMode=CHART&searchFilter={chosen}"


def newest_comparison(address: str, database: Path) -> str | None:
    """Return the address of the comparison of the newest sweep of a local store; None if it holds no sweep.

    Args:
        address: of the UI.
        database: MLflow's.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        try:
            found = connection.execute(NEWEST).fetchone()
        except sqlite3.OperationalError:  # a store without tables, which MLflow makes at its first use
            return None
    return comparison_view(address, str(found[0]), str(found[1])) if found else None
