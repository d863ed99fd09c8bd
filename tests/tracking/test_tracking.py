"""Recording in real MLflow stores: a local database and a server."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from runner.commands import report
from runner.results import metrics
from runner.results.result import MIN_P99_SAMPLES, Result
from runner.results.status import Status
from runner.tracking.client import open_client
from runner.tracking.inputs import Inputs
from runner.tracking.links import newest_comparison
from runner.tracking.reader import read_recorded
from tests.conftest import FAKE, Finished, RunProgram

# SQLAlchemy warns about MLflow's own models when a process first opens a database.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

TRACKED = (*(word for word in FAKE if word != "tracking=none"), "tracking=mlflow")
CASES = ("batch_s: 0.001", "batch_s: 0.003", "fault: raise")
PARAMS = {"model", "backend", "precision", "allocator", "hugepages", "threading", "batch_size", "instances"}
METRICS = {
    *("throughput", "throughput_ci_low", "throughput_ci_high", "baseline_throughput"),
    *("speedup", "speedup_ci_low", "speedup_ci_high", "latency_p50_ms", "latency_p90_ms", "latency_max_ms"),
    *("accuracy_top1", "accuracy_delta_pp", "agreement_top1", "sqnr_db"),
    *("load_s", "prepare_s", "first_inference_s", "rss_peak_mib", "artifact_mib", "round_throughput"),
}
"""Metrics of a complete row."""
NOT_OF_THE_FAKE = {"sqnr_db", "artifact_mib"}
"""Metrics that the fake backend lacks: its logits are bit-identical to fp32's, and it loads no files."""
TAGS = {
    *("status", "reason", "verdict", "accuracy_gate", "row", "table", "machine", "fingerprint", "environment"),
    *("label", "sweep", "run", "result", "row_verdict", "row_reason", "published", "evidence", "disturbances", "notes"),
    *("accuracy_failure", "evidence_failure", "own_costs", "sweep_id", "machine_class", "host", "user"),
}

_recorded: list[Finished] = []


def record_once(run_program: RunProgram, folder: Path) -> Finished:
    """Return a sweep of three runs in a store that also has an older sweep of one run; measured once per session."""
    if not _recorded:
        older = run_program(*TRACKED, output_dir=folder)
        assert older.code == 0, older.err
        options = "backend.options=" + ",".join("{" + case + "}" for case in CASES)
        _recorded.append(run_program(*TRACKED, options, output_dir=folder))
    return _recorded[0]


@pytest.fixture
def recorded(run_program: RunProgram, tmp_path_factory) -> Finished:
    """The sweep of three runs: ok, ok, failed."""
    return record_once(run_program, tmp_path_factory.getbasetemp() / "recorded")


Recorded: TypeAlias = tuple[MlflowClient, list[Run], list[Run]]
"""A client, and the parent and child runs of a sweep."""


def newest(done: Finished) -> Path:
    """Return the folder of the newest sweep."""
    return max((done.output_dir / "sweeps").iterdir())


def runs_of(uri: str, sweep: str) -> Recorded:
    """Return a client, and the parent and child runs of a sweep, in the order of the plan."""
    client = open_client(uri)
    experiment = client.get_experiment_by_name("runner")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.sweep = '{sweep}'")
    found = sorted(runs, key=lambda run: run.data.tags.get("run", ""))
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return client, parents, children


@pytest.fixture
def store(recorded) -> Recorded:
    """A client of the sweep's database, and the parent and child runs."""
    return runs_of(f"sqlite:///{recorded.output_dir / 'mlflow.db'}", newest(recorded).name)


def artifacts(client, run) -> set[str]:
    """Return the names of a run's artifacts."""
    return {entry.path for entry in client.list_artifacts(run.info.run_id)}


def test_one_parent_run_per_sweep(recorded, store):
    """It is named after the sweep, finished, and has the closing table and the machine; the runs are its children."""
    client, parents, children = store
    [parent] = parents
    assert (parent.info.run_name, parent.info.status) == (newest(recorded).name, "FINISHED")
    assert artifacts(client, parent) == {"machine.json", "table.md", "table.csv", "notes.txt", "report.html"}
    local = Path(client.download_artifacts(parent.info.run_id, "table.md"))
    assert local.read_text() == (newest(recorded) / "table.md").read_text()
    assert [run.data.tags["mlflow.parentRunId"] for run in children] == [parent.info.run_id] * 3
    labels = [result.label for result in recorded.results()]
    assert [run.info.run_name for run in children] == [
        f"{number:03d} {label}" for number, label in enumerate(labels, 1)
    ]
    assert parent.data.tags["mlflow.note.content"].endswith("`report.html` among the artifacts is the whole report.")
    assert [run.data.tags["mlflow.source.name"] for run in (parent, *children)] == ["runner"] * 4


def test_samples_and_models_are_inputs(recorded, store):
    """Rows of one model and one data share both; a row that never loaded its data has none."""
    client, _, children = store
    found = [client.get_run(run.info.run_id).inputs for run in children]
    digest = recorded.results()[0].digests["data"]
    assert [[one.dataset.name for one in each.dataset_inputs] for each in found] == [["digits"], ["digits"], []]
    assert digest.startswith(found[0].dataset_inputs[0].dataset.digest)
    [[first], [second], none] = [[one.model_id for one in each.model_inputs] for each in found]
    assert (first, none) == (second, [])
    model = client.get_logged_model(first)
    assert (model.name, model.tags["weights"]) == ("resnet18", recorded.results()[0].digests["weights"])


def test_a_server_without_inputs_gets_everything_else(caplog):
    """The first refusal is logged, and later runs do not ask again."""
    from mlflow.exceptions import MlflowException

    class Old:
        def __init__(self) -> None:
            self.asked = 0

        def log_inputs(self, *_: object, **__: object) -> None:
            self.asked += 1
            raise MlflowException("no such endpoint")

    old = Old()
    inputs = Inputs(old, "1")
    result = Result("a", Status.ok, "", "", {"model.name": "m"}, digests={"data": "d"})
    inputs.record("r", result)
    inputs.record("r", result)
    assert old.asked == 1
    assert "takes no inputs of runs: no such endpoint" in caplog.text


def test_the_address_of_the_comparison(recorded):
    """Of the newest sweep, as MLflow's UI reads it."""
    view = newest_comparison("http://127.0.0.1:5000", recorded.output_dir / "mlflow.db")
    assert view.startswith("http://127.0.0.1:5000/#/experiments/1/runs?compareRunsMode=CHART&searchFilter=")
    assert unquote(view).endswith(f"tags.sweep = '{newest(recorded).name}'")


def test_parameters_are_the_configuration(recorded, store):
    """Options under their short names, and every setting under its own name."""
    _, _, children = store
    for run, result in zip(children, recorded.results(), strict=True):
        params = run.data.params
        assert set(params) >= PARAMS
        assert {name: params[name] for name in sorted(PARAMS)} == {
            **{"allocator": "system", "backend": "fake", "batch_size": "8", "hugepages": "off"},
            **{"instances": "1", "model": "resnet18", "precision": "fp32", "threading": "default"},
        }
        assert {name: params[name] for name in result.settings} == {
            name: str(value) for name, value in result.settings.items()
        }


def test_metrics_are_the_numbers_of_the_result(recorded, store):
    """Every metric is recorded with the number of result.json."""
    _, _, children = store
    for run, result in zip(children[:2], recorded.results(), strict=False):
        metrics = run.data.metrics
        assert METRICS - set(metrics) == NOT_OF_THE_FAKE
        assert metrics["throughput"] == result.measurement.throughput.value
        assert metrics["throughput_ci_low"] == result.measurement.throughput.low
        assert metrics["baseline_throughput"] == result.measurement.baseline_throughput.value
        assert metrics["speedup"] == result.measurement.speedup.value
        assert metrics["speedup_ci_high"] == result.measurement.speedup.high
        assert metrics["latency_max_ms"] == result.measurement.latency_max_ms
        enough = result.measurement.latency_samples >= MIN_P99_SAMPLES
        assert metrics.get("latency_p99_ms") == (result.measurement.latency_p99_ms if enough else None)
        assert metrics["accuracy_top1"] == result.accuracy.top1
        assert (metrics["agreement_top1"], metrics["accuracy_delta_pp"]) == (1, 0)
        assert metrics["rss_peak_mib"] == result.rss_peak_mib


def test_metrics_that_the_fake_lacks_are_recorded(recorded):
    """SQNR and the size of artifacts, if they exist."""
    result = recorded.results()[0]
    whole: Result = dataclasses.replace(
        result, artifact_mib=44.5, accuracy=dataclasses.replace(result.accuracy, sqnr_db=23.25)
    )
    assert not NOT_OF_THE_FAKE & set(metrics.metrics(result))
    assert {name: metrics.metrics(whole)[name] for name in NOT_OF_THE_FAKE} == {"artifact_mib": 44.5, "sqnr_db": 23.25}


def test_every_round_is_a_step(recorded, store):
    """The MLflow UI can show a drift within a run."""
    client, _, children = store
    for run, result in zip(children[:2], recorded.results(), strict=False):
        history = client.get_metric_history(run.info.run_id, "round_throughput")
        assert [point.step for point in history] == list(range(result.measurement.rounds))
        assert [point.value for point in history] == result.measurement.round_throughput


def test_tags_are_the_texts_of_the_result(recorded, store):
    """Status, verdict, gate and fingerprint can be used in filters."""
    _, _, children = store
    for run, result in zip(children, recorded.results(), strict=True):
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
        assert set(tags) - {"commit", "job"} == TAGS  # known in a checkout, and under a scheduler
        assert (tags["label"], tags["status"], tags["reason"]) == (result.label, str(result.status), result.reason)
        assert tags["fingerprint"] == result.fingerprint
        assert tags["sweep"] == newest(recorded).name
    verdicts = [str(result.measurement.verdict) if result.measurement else "" for result in recorded.results()]
    assert [run.data.tags["verdict"] for run in children] == verdicts
    assert len({run.data.tags["fingerprint"] for run in children}) == 3


def test_a_failed_run_is_recorded_as_failed(store):
    """Its reason is a tag, and it has no metrics of throughput or accuracy."""
    _, _, children = store
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED", "FAILED"]
    failed = children[2]
    assert failed.data.tags["status"] == "failed"
    assert failed.data.tags["reason"] == "ValueError: the fake fails as configured"
    assert set(failed.data.metrics) & METRICS == set()
    assert failed.data.params["backend.options.fault"] == "raise"


def test_files_of_a_run_are_its_artifacts(recorded, store):
    """Configuration, launch, evidence, rounds, log and result are stored; result and rounds byte for byte."""
    client, _, children = store
    always = {"config.yaml", "launch-candidate.json", "evidence.json", "result.json", "candidate.log"}
    assert artifacts(client, children[0]) == always | {"launch-baseline.json", "rounds.csv"}
    assert artifacts(client, children[2]) == always
    for name in ("result.json", "rounds.csv"):
        local = Path(client.download_artifacts(children[0].info.run_id, name))
        assert local.read_bytes() == (recorded.run_folder(1) / name).read_bytes()


def test_the_latest_sweep_is_read_back_in_order(recorded):
    """Its rows in the order of the runs; an older sweep by its name."""
    uri = f"sqlite:///{recorded.output_dir / 'mlflow.db'}"
    older, latest = sorted(path.name for path in (recorded.output_dir / "sweeps").iterdir())
    name, rows = read_recorded(uri, "runner", None)
    assert (name, rows["tags.status"].tolist()) == (latest, ["ok", "ok", "failed"])
    name, rows = read_recorded(uri, "runner", older)
    assert (name, rows["tags.status"].tolist()) == (older, ["ok"])


def test_recording_on_an_http_server(run_program: RunProgram, server):
    """The server of MLFLOW_TRACKING_URI has all runs, metrics and files, and no local store is created."""
    done = run_program(*TRACKED, MLFLOW_TRACKING_URI=server)
    assert done.code == 0, done.err
    assert "tracking:" not in done.out
    client, [parent], [child] = runs_of(server, newest(done).name)
    [result] = done.results()
    assert (child.info.status, child.data.tags["mlflow.parentRunId"]) == ("FINISHED", parent.info.run_id)
    assert child.data.metrics["throughput"] == result.measurement.throughput.value
    assert artifacts(client, parent) == {"machine.json", "table.md", "table.csv", "notes.txt", "report.html"}
    local = Path(client.download_artifacts(child.info.run_id, "result.json"))
    assert local.read_bytes() == (done.run_folder() / "result.json").read_bytes()
    assert not (done.output_dir / "mlflow.db").exists()
    assert not (done.output_dir / "mlartifacts").exists()


def test_two_sweeps_in_one_table_with_a_figure(recorded, tmp_path, capsys):
    """A row of a later sweep replaces the row with the same name; the others follow."""
    sweeps = sorted(path.name for path in (recorded.output_dir / "sweeps").iterdir())
    options = ["--output-dir", str(recorded.output_dir), "--format", "csv", "--figure", str(tmp_path)]
    assert report.main([*options, "--sweep", sweeps[0], "--sweep", sweeps[1], "--sweep", sweeps[1]]) == 0
    labels = [line for line in capsys.readouterr().out.splitlines() if line][1:]
    assert len(labels) == 1 + len(CASES)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
