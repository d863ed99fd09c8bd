"""Read a recorded sweep back from the store."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.config.schema import TrackingConfig
from runner.protocol import Finding
from runner.results.store import NOTES_FILE
from runner.tracking.client import (
    DIGEST_TAG,
    PARENT_TAG,
    PLACE_TAG,
    SUPERSEDED_TAG,
    SWEEP_TAG,
    TrackingError,
    import_mlflow,
    open_client,
    tracking_uri,
)

if TYPE_CHECKING:
    import pandas as pd


def read_recorded(uri: str, experiment: str, sweep: str | None) -> tuple[str, pd.DataFrame]:
    """Return the name and the rows of a recorded sweep, in the order of its plan.

    If a run was measured again, for example after a change of the code, its newest row is returned.

    Args:
        uri: of the store.
        experiment: its name.
        sweep: the sweep's name, None for the latest.

    Raises:
        LookupError: the store, the experiment or the sweep does not exist.
        TrackingError: the store does not respond, or rejects the request.
    """
    path = uri.removeprefix("sqlite:///")
    if path != uri and not Path(path).is_file():  # MLflow would create an empty database
        raise LookupError(f"{uri} does not exist: nothing has been recorded")
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        return _read_recorded(uri, experiment, sweep)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        raise TrackingError(f"{uri}: {str(error).splitlines()[0][:200]}") from error


def sweep_of_run(run_id: str, output_dir: Path, uri: str | None = None) -> str | None:
    """Return the name of the sweep that an MLflow run belongs to: the run of a sweep or of one of its rows.

    Args:
        run_id: the MLflow run id.
        output_dir: contains the default store.
        uri: of the store; None for the default.

    Returns:
        The sweep's name; None if the store or the run does not exist.
    """
    store = tracking_uri(TrackingConfig(uri=uri), output_dir)
    path = store.removeprefix("sqlite:///")
    if path != store and not Path(path).is_file():  # MLflow would create an empty database
        return None
    import_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        return str(open_client(store).get_run(run_id).data.tags[SWEEP_TAG])
    except (MlflowException, KeyError):
        return None


def read_evidence(uri: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Finding]]:
    """Return the evidence of recorded rows, by label.

    Args:
        uri: of the store.
        rows: of :func:`read_recorded`.

    Raises:
        TrackingError: the store does not respond, or a row has no evidence.
    """
    from mlflow.exceptions import MlflowException

    client = open_client(uri)
    found = {}
    with tempfile.TemporaryDirectory(prefix="runner-evidence-") as folder:
        for row in rows:
            try:
                file = client.download_artifacts(row["run_id"], "evidence.json", folder)
                entries = json.loads(Path(file).read_text(encoding="utf-8"))
                found[str(row["tags.label"])] = [Finding(**entry) for entry in entries]
            except (MlflowException, OSError, ValueError, TypeError) as error:
                raise TrackingError(
                    f"the evidence of {row['tags.label']}: {str(error).splitlines()[0][:200]}"
                ) from error
    return found


def read_notes(uri: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the recorded conclusions of a sweep as lines; empty if none were recorded.

    Args:
        uri: of the store.
        rows: of :func:`read_recorded`.

    Raises:
        TrackingError: the store does not respond.
    """
    from mlflow.exceptions import MlflowException

    client, parent = open_client(uri), str(rows[0][f"tags.{PARENT_TAG}"])
    try:
        if NOTES_FILE not in {file.path for file in client.list_artifacts(parent)}:
            return []  # the sweep was interrupted
        with tempfile.TemporaryDirectory(prefix="runner-notes-") as folder:
            return Path(client.download_artifacts(parent, NOTES_FILE, folder)).read_text(encoding="utf-8").splitlines()
    except (MlflowException, OSError) as error:
        raise TrackingError(f"{NOTES_FILE}: {str(error).splitlines()[0][:200]}") from error


def _read_recorded(uri: str, experiment: str, sweep: str | None) -> tuple[str, pd.DataFrame]:
    import mlflow

    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise LookupError(f"{uri} has no experiment {experiment!r}")
    mlflow.set_tracking_uri(uri)
    if sweep is None:
        newest = client.search_runs(
            [found.experiment_id], f"tags.{SWEEP_TAG} != ''", order_by=["attributes.start_time DESC"], max_results=1
        )
        if not newest:
            raise LookupError(f"experiment {experiment!r} holds no sweep")
        sweep = newest[0].data.tags[SWEEP_TAG]
    if "'" in sweep:  # the store's filter language cannot escape it, and no sweep has it in its name
        raise LookupError(f"experiment {experiment!r} holds no sweep {sweep!r}")
    rows: Any = mlflow.search_runs(
        [found.experiment_id], f"tags.{SWEEP_TAG} = '{sweep}'", order_by=["attributes.start_time ASC"]
    )
    place, needed = f"tags.{PLACE_TAG}", [f"tags.{PARENT_TAG}", f"tags.{DIGEST_TAG}"]
    if not {place, *needed} <= set(rows):  # no child runs
        rows = rows.iloc[0:0]
    rows = rows.dropna(subset=[name for name in needed if name in rows])  # without a digest: incompletely recorded
    if f"tags.{SUPERSEDED_TAG}" in rows:
        rows = rows[rows[f"tags.{SUPERSEDED_TAG}"].isna()]
    if rows.empty:
        raise LookupError(f"experiment {experiment!r} holds no sweep {sweep!r}")
    # Sort by the plan's numbers: the clock may have been set back.
    rows = rows.drop_duplicates(place, keep="last").sort_values(place)
    return sweep, rows.reset_index(drop=True)
