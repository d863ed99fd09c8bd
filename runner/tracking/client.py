"""The tracking store: its address, its client, and the tags by which a sweep is found in it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runner.config.schema import TrackingConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP_TAG = "sweep"
PARENT_TAG = "mlflow.parentRunId"
PLACE_TAG = "run"
"""Tag of a child: its run's folder in the sweep's, which starts with the row's number."""
DIGEST_TAG = "result"
"""Tag of a child: a digest of its result.json, by which it is known as recorded."""
MAX_WAIT_S = 4.5
"""What a server that is down, or slow, is waited for in all: with what surrounds it a sweep loses 5 s at most."""
USUAL_RECORDING_S = 1.0
"""What recording a run may take each time without counting as slow."""

T = TypeVar("T")


class CancellableClient:
    """A client whose next call fails once the time budget for its server is spent: it never runs in a timed phase."""

    def __init__(self, client: MlflowClient, patience: TimeBudget) -> None:
        """Keep both."""
        self._client = client
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        """Return the client's own method."""
        if self._patience.over:
            raise TimeoutError("the server is given up")
        return getattr(self._client, name)


class TrackingError(Exception):
    """The store cannot be used: in one line, why."""


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Return where to record: the configuration's URI, else the environment's, else sqlite in the output folder."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output_dir.absolute() / 'mlflow.db'}"


def open_client(uri: str) -> MlflowClient:
    """Return a client of the store."""
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def import_mlflow() -> None:
    """Import MLflow, which takes two seconds, its own chatter and telemetry off."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server that is down must not hold a sweep up: MLflow retries 7 times, for minutes, by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    import mlflow  # noqa: F401 -- for its effect

    for name in ("mlflow", "mlflow.store.db.utils", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def open_experiment(client: MlflowClient, name: str, output_dir: Path, uri: str) -> str:
    """Return the id of the experiment, which is created if it does not exist."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # Beside a local database artifacts would land in the current folder; a server has its own place for them.
    local = uri.startswith("sqlite:")
    place = (output_dir.absolute() / "mlartifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=place))


class TimeBudget:
    """Bounds the time that a store which does not answer may cost, in spite of its client's retries and timeouts."""

    def __init__(self, uri: str, seconds: float = MAX_WAIT_S) -> None:
        """Set the seconds to wait in all; for a database on this machine there is no limit."""
        self._seconds = seconds
        self._left = None if uri.startswith("sqlite:") else seconds
        self.over = False
        """Whether a call was abandoned: it must not continue."""

    def spend(self, what: Callable[[], T]) -> T:
        """Return what a call returns.

        Raises:
            TimeoutError: it takes longer than may still be waited. The call is abandoned, and ends when it next
                looks at `over`.
        """
        if self._left is None:
            return what()
        answers: list[T] = []
        errors: list[Exception] = []

        def call() -> None:
            try:
                answers.append(what())
            except Exception as error:  # raised again below, in the caller's thread
                errors.append(error)

        begin = time.monotonic()
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(self._left)
        if thread.is_alive():
            self.over = True
            raise TimeoutError(f"the server did not answer within {self._seconds:g} s of this sweep")
        self._left -= max(0.0, time.monotonic() - begin - USUAL_RECORDING_S)
        if errors:
            raise errors[0]
        return answers[0]
