"""Several machines record on one MLflow server: nothing is merged, and nothing is deleted."""

from __future__ import annotations

import pytest

from runner.commands import sync as command
from runner.machine.lock import LOCK_VARIABLE
from runner.tracking.client import SWEEP_ID_TAG, open_client, open_experiment
from tests.conftest import FAKE, share_cache, start_program

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def test_two_machines_start_the_same_command_at_once(server, environment, artifacts, tmp_path, monkeypatch):
    """Both sweeps are whole in the store, also after each has been synchronised; a new server has one experiment."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "own-lock"))
    started = []
    for name in ("one", "other"):
        share_cache(tmp_path / name, artifacts)
        words = [word for word in FAKE if word != "tracking=none"]
        own = {**environment, LOCK_VARIABLE: str(tmp_path / f"lock-{name}")}
        outputs = f"output_dir={tmp_path / name}"
        started.append(
            start_program(own, *words, "tracking=mlflow", f"tracking.uri={server}", outputs, "batch_size=4,8")
        )
    assert [process.wait(200) for process in started] == [0, 0]
    for name in ("one", "other", "one"):
        assert command.main(["--uri", server, "--output-dir", str(tmp_path / name)]) == 0
    client = open_client(server)
    runs = client.search_runs([client.get_experiment_by_name("runner").experiment_id])
    parents = {run.info.run_id: run.data.tags[SWEEP_ID_TAG] for run in runs if "run" not in run.data.tags}
    assert len(set(parents.values())) == 2
    children = [run for run in runs if "run" in run.data.tags]
    assert sorted(run.data.tags[SWEEP_ID_TAG] for run in children) == sorted([*parents.values()] * 2)
    assert not [run for run in children if "superseded_by" in run.data.tags]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == set(parents)


def test_a_deleted_experiment_is_restored(server, tmp_path):
    """MLflow keeps its name reserved, so it cannot be created again."""
    client = open_client(server)
    made = open_experiment(client, "runner", tmp_path, server)
    client.delete_experiment(made)
    assert open_experiment(client, "runner", tmp_path, server) == made
    assert client.get_experiment(made).lifecycle_stage == "active"
