"""Recording in MLflow; the only module that imports it. Never spoken to in a timed phase.

One parent run per sweep, one child per configuration. The run folder's result.json is the truth: where the store
cannot be reached the sweep goes on, and says so once.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from runner import record
from runner.config import TrackingConfig
from runner.protocol import Finding
from runner.result import Result, Status

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

ARTIFACTS = (
    "config.yaml",
    "launch-candidate.json",
    "launch-baseline.json",
    "evidence.json",
    "rounds.csv",
    "result.json",
    "candidate.log",
)
"""Files of a run's folder that go to the store; raw batch times and logits stay in the folder."""

NOTES_FILE = "notes.txt"
"""What was concluded from all rows of a sweep, on its parent run."""
SWEEP_TAG = "sweep"
PARENT_TAG = "mlflow.parentRunId"
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
MAX_TAG = 5000
"""MLflow refuses longer tag values (8,000 in its documentation; less in some stores)."""


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Return where to record: the configuration's URI, else the environment's, else sqlite in the output folder."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output_dir.absolute() / 'mlflow.db'}"


def open_client(uri: str) -> MlflowClient:
    """Return a client of the store, MLflow's own chatter and telemetry off."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server that is down must not hold a sweep up: MLflow retries 7 times, for minutes, by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    from mlflow import MlflowClient

    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)

    return MlflowClient(tracking_uri=uri)


def open_experiment(client: MlflowClient, name: str, output_dir: Path, uri: str) -> str:
    """Return the id of the experiment, made where it is not there."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # Beside a local database artifacts would land in the current folder; a server has its own place for them.
    local = uri.startswith("sqlite:")
    place = (output_dir.absolute() / "mlartifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=place))


class Tracker:
    """Records one sweep. After the first failure of the store it stays silent: nothing else is tried."""

    def __init__(self, config: TrackingConfig, output_dir: Path, folder: Path, console: Console) -> None:
        """Keep where to record.

        Args:
            config: the sweep's tracking settings.
            output_dir: holds the default store.
            folder: of the sweep; its name is the sweep's name.
            console: is told where the store cannot be reached.
        """
        self._config = config
        self._output_dir = output_dir
        self._folder = folder
        self._console = console
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._parent = ""

    def begin(self, machine: Path, machine_name: str) -> None:
        """Create the parent run, with the description of the machine on it."""
        if not self._config.enabled:
            return
        uri = tracking_uri(self._config, self._output_dir)
        try:
            self._client = open_client(uri)
            self._experiment = open_experiment(self._client, self._config.experiment, self._output_dir, uri)
            parent = self._client.create_run(
                self._experiment,
                tags={SWEEP_TAG: self._folder.name, "machine": machine_name},
                run_name=self._folder.name,
            )
            self._parent = str(parent.info.run_id)
            self._client.log_artifact(self._parent, str(machine))
        except Exception as error:
            self._give_up(error)

    def record(self, result: Result, folder: Path) -> None:
        """Create the child run of a result."""
        if self._client is None:
            return
        try:
            self._record(self._client, result, folder)
        except Exception as error:
            self._give_up(error)

    def finish(self, files: Sequence[Path], *, interrupted: bool) -> None:
        """Put the sweep's files on the parent run and end it."""
        if self._client is None:
            return
        try:
            for file in files:
                self._client.log_artifact(self._parent, str(file))
            self._client.set_terminated(self._parent, KILLED if interrupted else FINISHED)
        except Exception as error:
            self._give_up(error)

    def _record(self, client: MlflowClient, result: Result, folder: Path) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        child = client.create_run(
            self._experiment,
            start_time=now - int(result.wall_s * 1000),
            tags={PARENT_TAG: self._parent, SWEEP_TAG: self._folder.name},
            run_name=result.label,
        )
        run_id = child.info.run_id
        measured = [Metric(name, value, now, 0) for name, value in record.metrics(result).items()]
        if result.shown is not None:
            rounds = enumerate(result.shown.round_throughput)
            measured += [Metric("round_throughput", value, now, step) for step, value in rounds]
        client.log_batch(
            run_id,
            metrics=measured,
            params=[Param(name, value) for name, value in record.params(result).items()],
            tags=[RunTag(name, value[:MAX_TAG]) for name, value in record.tags(result).items()],
        )
        for name in ARTIFACTS:
            if (folder / name).is_file():
                client.log_artifact(run_id, str(folder / name))
        ended = {
            Status.ok: FINISHED,
            Status.unsupported: FINISHED,
            Status.unavailable: FINISHED,
            Status.interrupted: KILLED,
        }
        client.set_terminated(run_id, ended.get(result.status, FAILED), end_time=now)

    def _give_up(self, error: Exception) -> None:
        """Say once that the store cannot be used; the run folders hold everything."""
        self._client = None
        lines = str(error).strip().splitlines()
        reason = lines[0][:200] if lines else type(error).__name__
        line = f"tracking: {reason}; the results are in {self._folder}"
        self._console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


class StoreError(Exception):
    """The store cannot be read: in one line, why."""


def read_sweep(uri: str, experiment: str, sweep: str | None) -> tuple[str, pd.DataFrame]:
    """Return the name and the rows of a recorded sweep, in the order in which they ran.

    Args:
        uri: of the store.
        experiment: its name.
        sweep: the sweep's name, None for the latest.

    Raises:
        LookupError: there is no such store, experiment or sweep.
        StoreError: the store does not answer, or refuses.
    """
    path = uri.removeprefix("sqlite:///")
    if path != uri and not Path(path).is_file():  # MLflow would make an empty one
        raise LookupError(f"{uri} is not there: nothing has been recorded")
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        return _read_sweep(uri, experiment, sweep)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        raise StoreError(f"{uri}: {str(error).splitlines()[0][:200]}") from error


def read_evidence(uri: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Finding]]:
    """Return the evidence of recorded rows, by their labels.

    Args:
        uri: of the store.
        rows: of :func:`read_sweep`.

    Raises:
        StoreError: the store does not answer, or a row has no evidence.
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
                raise StoreError(f"the evidence of {row['tags.label']}: {str(error).splitlines()[0][:200]}") from error
    return found


def read_notes(uri: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was concluded from all rows of a sweep, a line each; none where none was recorded.

    Args:
        uri: of the store.
        rows: of :func:`read_sweep`.

    Raises:
        StoreError: the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    client, parent = open_client(uri), str(rows[0][f"tags.{PARENT_TAG}"])
    try:
        if NOTES_FILE not in {file.path for file in client.list_artifacts(parent)}:
            return []  # interrupted before its end
        with tempfile.TemporaryDirectory(prefix="runner-notes-") as folder:
            return Path(client.download_artifacts(parent, NOTES_FILE, folder)).read_text(encoding="utf-8").splitlines()
    except (MlflowException, OSError) as error:
        raise StoreError(f"{NOTES_FILE}: {str(error).splitlines()[0][:200]}") from error


def _read_sweep(uri: str, experiment: str, sweep: str | None) -> tuple[str, pd.DataFrame]:
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
    if "'" in sweep:  # the store's filter language cannot quote it, and no sweep is named so
        raise LookupError(f"experiment {experiment!r} holds no sweep {sweep!r}")
    rows: Any = mlflow.search_runs(
        [found.experiment_id], f"tags.{SWEEP_TAG} = '{sweep}'", order_by=["attributes.start_time ASC"]
    )
    if not rows.empty:
        parent = f"tags.{PARENT_TAG}"
        rows = rows[rows[parent].notna()] if parent in rows else rows.iloc[0:0]
    if rows.empty:
        raise LookupError(f"experiment {experiment!r} holds no sweep {sweep!r}")
    return sweep, rows.reset_index(drop=True)
