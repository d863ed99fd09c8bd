"""The tracking store: its address, its client, and the tags that identify a sweep in it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runner.config.schema import TrackingConfig
from runner.tracking.relocation import artifact_location, relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
"""The local store, in the output folder."""
SWEEP_TAG = "sweep"
"""Tag of all runs of a sweep: the name of its folder, for people."""
SWEEP_ID_TAG = "sweep_id"
"""Tag of all runs of a sweep: its id, by which it is found."""
MACHINE_CLASS_TAG = "machine_class"
"""Tag of a child run: what kind of machine measured it. Rows of one place on two kinds of machine are two rows."""
PARENT_TAG = "mlflow.parentRunId"
PLACE_TAG = "run"
"""Tag of a child run: the name of its folder in the sweep's folder, which starts with the row's number."""
SUPERSEDED_TAG = "superseded_by"
"""Tag of a row that was measured again: the id of the later run. Nothing is ever deleted."""
DIGEST_TAG = "result"
"""Tag of a child run: digest of its result.json, set last. It marks the run as completely recorded."""
MAX_SILENCE_S = 4.5
"""Longest time to wait for one answer of a server: including overhead a sweep loses at most 5 s to a silent one. A
server that answers each call, however slowly, is waited for: nothing is measured meanwhile."""

T = TypeVar("T")


class CancellableClient:
    """A client whose calls fail once a call was abandoned, so that none runs on in a timed phase."""

    def __init__(self, client: MlflowClient, budget: TimeBudget) -> None:
        """Wrap a client.

        Args:
            client: of the store.
            budget: that each answer renews.
        """
        self._client = client
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        """Return the client's own method.

        Raises:
            TimeoutError: an earlier call was abandoned.
        """
        self._budget.renew()
        return getattr(self._client, name)


class TrackingError(Exception):
    """The store cannot be used; the message gives the reason in one line."""


def tracking_uri(config: TrackingConfig, output_dir: Path) -> str:
    """Return the store's URI: the configuration's, else MLFLOW_TRACKING_URI, else sqlite in the output folder."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{output_dir.absolute() / DATABASE}"


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
    """Return the id of an experiment; create it if it does not exist, restore it if it was deleted.

    Args:
        client: of the store.
        name: of the experiment.
        output_dir: holds the artifacts of a store that is a local database.
        uri: of the store.
    """
    from mlflow.exceptions import MlflowException

    local = uri.startswith("sqlite:")
    if local and uri == tracking_uri(TrackingConfig(), output_dir):
        relocate(output_dir.absolute() / DATABASE)
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    # With a local database MLflow would put artifacts into the current folder; a server has its own location.
    location = artifact_location(output_dir) if local else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another machine was faster
        if found is None:
            raise
        return str(found.experiment_id)


class TimeBudget:
    """Limits how long a store may be silent, regardless of its client's retries and timeouts."""

    def __init__(self, uri: str, seconds: float = MAX_SILENCE_S) -> None:
        """Wait for nothing yet.

        Args:
            uri: of the store. A local database has no limit.
            seconds: longest silence.
        """
        self._seconds = None if uri.startswith("sqlite:") else seconds
        self._renewed = 0.0
        self.over = False
        """Whether a call was abandoned. :class:`CancellableClient` then refuses its further calls."""

    def renew(self) -> None:
        """Note that the store has answered, or has not been asked yet.

        Raises:
            TimeoutError: it was given up.
        """
        if self.over:
            raise TimeoutError("the server was silent, and was given up")
        self._renewed = time.monotonic()

    def spend(self, operation: Callable[[], T]) -> T:
        """Call an operation that uses a :class:`CancellableClient`, and return its value.

        Raises:
            TimeoutError: one call took too long. The operation is abandoned, and ends at its next call.
            Exception: any that the operation raises.
        """
        if self._seconds is None:
            return operation()
        answers: list[T] = []
        errors: list[Exception] = []

        def call() -> None:
            try:
                answers.append(operation())
            except Exception as error:  # re-raised below, in the caller's thread
                errors.append(error)

        self.renew()
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        while thread.is_alive():
            left = self._renewed + self._seconds - time.monotonic()
            if left <= 0:
                self.over = True
                raise TimeoutError(f"the server did not answer a call within {self._seconds:g} s")
            thread.join(left)
        if errors:
            raise errors[0]
        return answers[0]
