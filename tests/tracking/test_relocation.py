"""A store that was moved or copied with its output folder."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from runner.config.schema import TrackingConfig
from runner.tracking.client import open_experiment, tracking_uri
from runner.tracking.relocation import relocate

# MLflow's own use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def test_artifacts_of_a_copied_store_are_those_of_the_copy(tmp_path):
    """Also after the original is gone; a second time there is nothing to correct."""
    from mlflow import MlflowClient

    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    uri = tracking_uri(TrackingConfig(), before)
    client = MlflowClient(tracking_uri=uri)
    experiment = open_experiment(client, "runner", before, uri)
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "hello", "a.txt")
    shutil.copytree(before, after)
    shutil.rmtree(before)
    assert relocate(after / "mlflow.db") == 2  # of the experiment and of the run
    assert relocate(after / "mlflow.db") == 0
    moved = MlflowClient(tracking_uri=tracking_uri(TrackingConfig(), after))
    assert [one.path for one in moved.list_artifacts(run)] == ["a.txt"]
    assert str(after) in moved.get_experiment(experiment).artifact_location


def test_artifacts_elsewhere_stay_where_they_are(tmp_path):
    """Only addresses in a folder of this program's name are corrected."""
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT)")
        store.execute("INSERT INTO runs VALUES ('a', 's3://bucket/mlartifacts/a'), ('b', 'file:///elsewhere/x')")
    assert relocate(tmp_path / "mlflow.db") == 0
    assert relocate(tmp_path / "nothing.db") == 0
