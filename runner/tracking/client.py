"""The tracking store: its address, its client, and the tags that identify a sweep in it."""

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
"""Tag of a child run: the name of its folder in the sweep's folder, which starts with the row's number."""
SUPERSEDED_TAG = "superseded_by"
"""Tag of a row that was measured again: the id of the later run. Nothing is ever deleted."""
DIGEST_TAG = "result"
"""Tag of a child run: digest of its result.json, set last. It marks the run as completely recorded."""
MAX_WAIT_S = 4.5
"""Total time to wait for a server that is down or slow: including overhead a sweep loses at most 5 s."""
USUAL_RECORDING_S = 1.0
"""Time that each recording may take without using up the time budget."""

T = TypeVar("T")


class CancellableClient:
    """A client whose calls fail once the time budget is spent, so that no abandoned call runs on in a timed phase."""

    def __init__(self, client: MlflowClient, budget: TimeBudget) -> None:
        """Wrap a client.

        Args:
            client: of the store.
            budget: for all calls together.
        """
        self._client = client
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        """Return the client's own method.

        Raises:
            TimeoutError: the time budget is spent.
        """
        if self._budget.over:
            raise TimeoutError("the time budget for the server is spent")
        return getattr(self._client, name)


class TrackingError(Exception):
    """The store cannot be used; the message gives the reason in one line."""


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Return the store's URI: the configuration's, else MLFLOW_TRACKING_URI, else sqlite in the output folder."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output_dir.absolute() / 'mlflow.db'}"


def open_client(uri: str) -> MlflowClient:
    """Return a client of the store."""
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def import_mlflow() -> None:
    """Import MLflow, which takes two seconds, with its log messages and telemetry off."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server that is down must not delay a sweep: by default MLflow retries 7 times, for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    import mlflow  # noqa: F401 -- imported for its side effects

    for name in ("mlflow", "mlflow.store.db.utils", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def open_experiment(client: MlflowClient, name: str, output_dir: Path, uri: str) -> str:
    """Return the id of an experiment; create it if it does not exist.

    Args:
        client: of the store.
        name: of the experiment.
        output_dir: holds the artifacts of a store that is a local database.
        uri: of the store.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # With a local database MLflow would put artifacts into the current folder; a server has its own location.
    local = uri.startswith("sqlite:")
    location = (output_dir.absolute() / "mlartifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=location))


class TimeBudget:
    """Limits the total time spent on an unresponsive store, regardless of its client's retries and timeouts."""

    def __init__(self, uri: str, seconds: float = MAX_WAIT_S) -> None:
        """Start with the full budget.

        Args:
            uri: of the store. A local database has no limit.
            seconds: to wait in total.
        """
        self._seconds = seconds
        self._left = None if uri.startswith("sqlite:") else seconds
        self.over = False
        """Whether a call was abandoned. :class:`CancellableClient` then refuses its further calls."""

    def spend(self, operation: Callable[[], T]) -> T:
        """Call an operation and return its value.

        Raises:
            TimeoutError: the operation exceeds the rest of the budget. It is abandoned, and ends at its next use of a
                :class:`CancellableClient`.
            Exception: any that the operation raises.
        """
        if self._left is None:
            return operation()
        answers: list[T] = []
        errors: list[Exception] = []

        def call() -> None:
            try:
                answers.append(operation())
            except Exception as error:  # re-raised below, in the caller's thread
                errors.append(error)

        started = time.monotonic()
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(self._left)
        if thread.is_alive():
            self.over = True
            raise TimeoutError(f"the server did not answer within {self._seconds:g} s of this sweep")
        self._left -= max(0.0, time.monotonic() - started - USUAL_RECORDING_S)
        if errors:
            raise errors[0]
        return answers[0]
