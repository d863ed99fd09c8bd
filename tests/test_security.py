"""Configurations cannot execute code, and secrets are never stored or printed."""

from __future__ import annotations

import json
import sqlite3

import pytest

from runner.config.redaction import HIDDEN, hide, learn
from tests.conftest import FAKE, RunProgram

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HF_TOKEN", SECRET, HIDDEN),
        ("AWS_SECRET_ACCESS_KEY", SECRET, HIDDEN),
        ("apiKey", SECRET, HIDDEN),
        ("DB_PASSWORD", SECRET, HIDDEN),
        ("backend.env.MY_TOKEN", SECRET, HIDDEN),
        ("https_proxy", f"http://me:{SECRET}@proxy:8080", f"http://{HIDDEN}@proxy:8080"),
        ("tracking.uri", f"postgresql://me:{SECRET}@db/x", f"postgresql://{HIDDEN}@db/x"),
        ("model.new_tokens", 32, 32),
        ("num_key_value_heads", 4, 4),
        ("TOKENIZERS_PARALLELISM", "false", "false"),
        ("data.text", "the key: under the mat", "the key: under the mat"),
        ("observed", f"MY_API_KEY={SECRET} A=b", f"MY_API_KEY={HIDDEN} A=b"),
        ("HF_TOKEN", "", ""),
        ("https_proxy", f"me:{SECRET}@proxy:8080", f"{HIDDEN}@proxy:8080"),
        ("observed", f"https_proxy=me:{SECRET}@proxy:8080", f"https_proxy={HIDDEN}@proxy:8080"),
        ("observed", f"STORE=Endpoint=https;AccountKey={SECRET};x", f"STORE=Endpoint=https;AccountKey={HIDDEN};x"),
        ("STORE_CONNECTION_STRING", f"Endpoint=https;AccountKey={SECRET}", HIDDEN),
        ("observed", "10:30@noon, 3:2@x", "10:30@noon, 3:2@x"),
    ],
)
def test_secrets_are_hidden_by_name_and_in_urls(name, value, expected):
    """At any depth; numbers, empty values and plain words are unchanged."""
    assert hide({name: value}) == {name: expected}
    assert hide([{"env": {name: value}}]) == [{"env": {name: expected}}]


def test_secrets_in_a_command_line_are_hidden():
    """In overrides, and in dictionaries within overrides."""
    words = ["run", f"+backend.env.API_KEY={SECRET}", f"backend.env={{A_TOKEN: {SECRET},B:1}}", "model.new_tokens=3"]
    assert hide(words) == ["run", f"+backend.env.API_KEY={HIDDEN}", f"backend.env={{A_TOKEN: {HIDDEN},B:1}}", words[3]]


def test_values_of_secret_variables_are_hidden_in_any_text(monkeypatch):
    """A setting can contain the value of a secret variable under another name."""
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    assert hide({"model.id": f"private/{SECRET}"}) == {"model.id": f"private/{HIDDEN}"}


def test_a_variable_with_the_name_of_a_model_hides_nothing(monkeypatch):
    """A continuous integration may have CACHE_KEY=resnet50."""
    monkeypatch.setenv("CACHE_KEY", "resnet50")
    learn({"model.name": "resnet50", "backend.name": "ort"})
    assert hide({"model.name": "resnet50", "label": "resnet50 int8"}) == {
        "model.name": "resnet50",
        "label": "resnet50 int8",
    }


def test_secrets_are_not_stored(run_program: RunProgram):
    """They reach the worker's environment, but no file of the sweep and no MLflow store."""
    done = run_program(
        *(word for word in FAKE if word != "tracking=none"),
        *(f"+backend.env.MY_API_KEY={SECRET}", "+backend.env.WHERE=${oc.env:PLACE_TOKEN}"),
        PLACE_TOKEN=f"place-{SECRET}",
        https_proxy=f"http://me:{SECRET}@127.0.0.1:9",
    )
    assert done.code == 0, done.err
    files = [path for path in done.output_dir.rglob("*") if path.is_file()]
    assert done.output_dir / "mlflow.db" in files
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in done.out + done.err
    [launch] = json.loads((done.run_folder() / "launch-candidate.json").read_text())
    assert launch["env"]["MY_API_KEY"] == HIDDEN
    with sqlite3.connect(done.output_dir / "mlflow.db") as store:
        values = dict(store.execute("select key, value from params where key like 'backend.env.%'"))
    assert values == {"backend.env.MY_API_KEY": HIDDEN, "backend.env.WHERE": HIDDEN}


@pytest.mark.parametrize(
    "arguments",
    [
        ["+hydra.callbacks.x._target_=os.system"],
        ["hydra.sweeper._target_=os.system"],
        ["hydra/launcher=joblib"],
        ["+_target_=os.system"],
        ["+model._target_=os.system"],
        ["hydra/job_logging=default"],
        ["--config-name=other"],
    ],
)
def test_settings_cannot_import_code(run_program: RunProgram, arguments):
    """A setting with an import path is reported without a traceback; exit code 2."""
    done = run_program(*FAKE, *arguments)
    assert done.code == 2, done.out
    assert "Traceback" not in done.err
    assert not (done.output_dir / "sweeps").exists()


def test_files_of_config_dir_cannot_import_code(run_program: RunProgram, tmp_path):
    """Hydra's settings in a file of --config-dir are rejected."""
    table = tmp_path / "conf" / "experiments" / "evil"
    table.mkdir(parents=True)
    marker = tmp_path / "was_here"
    callback = f"  callbacks:\n    x:\n      _target_: pathlib.Path.touch\n      self: {marker}\n"
    (table / "row.yaml").write_text(f"# @package _global_\nhydra:\n{callback}")
    done = run_program("+experiments/evil=row", config_dir=tmp_path / "conf")
    assert (done.code, marker.exists()) == (2, False)
    assert "hydra.callbacks: received" in done.err


@pytest.mark.parametrize("table", ["..", "../up", "a/b", ".hidden"])
def test_a_table_name_is_not_a_path(run_program: RunProgram, table):
    """row.table accepts only the name of a folder."""
    done = run_program(*FAKE, f"row.table={table}", '"row.name=a\\tb"')
    assert done.code == 2
    assert "row.table: received" in done.err
