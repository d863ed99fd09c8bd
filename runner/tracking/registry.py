"""A shipped model in MLflow's model registry, as a version that belongs to the run of its row."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from runner.tracking.client import (
    PARENT_TAG,
    PLACE_TAG,
    SUPERSEDED_TAG,
    SWEEP_ID_TAG,
    TrackingError,
    import_mlflow,
    open_client,
)

ARTIFACT = "shipped_model"
"""Folder of the models among the artifacts of the row's run; each version has one of its own in it."""


def register(model: Path, name: str, uri: str, sweep_id: str, row: str) -> str:
    """Upload a model to the run of its row, and make it the newest version of a registered model.

    Args:
        model: a folder in MLflow's model format.
        name: of the registered model; it is created if it does not exist.
        uri: of the store.
        sweep_id: of the sweep that measured the row.
        row: name of the row's folder.

    Returns:
        The version, as ``models:/NAME/1``.

    Raises:
        TrackingError: the store cannot be used, or does not hold the row.
    """
    import_mlflow()
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    client = open_client(uri)
    try:
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(
            experiments, f"tags.{SWEEP_ID_TAG} = '{sweep_id}' and tags.{PLACE_TAG} = '{row}'", max_results=10
        )
        rows = [run for run in found if PARENT_TAG in run.data.tags and SUPERSEDED_TAG not in run.data.tags]
        if not rows:
            raise TrackingError(f"{uri} does not hold the row: run runner sync first")
        [run] = rows[:1]
        place = f"{ARTIFACT}/{uuid4().hex[:8]}"
        client.log_artifacts(run.info.run_id, str(model), place)
        if not any(one.name == name for one in client.search_registered_models(f"name = '{name}'")):
            client.create_registered_model(name)
        version = client.create_model_version(name, f"{run.info.artifact_uri}/{place}", run.info.run_id)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        raise TrackingError(f"{uri}: {str(error).splitlines()[0][:200]}") from error
    return f"models:/{name}/{version.version}"
