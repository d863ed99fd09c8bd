"""Reading back result.json of this version and of the first version."""

from __future__ import annotations

import csv
import io
import json

import pytest

from runner.commands import report
from runner.paths import PROJECT
from runner.results.files import load, save
from runner.results.result import Replicate, Result
from runner.results.status import Status
from tests.reporting.test_progress import MEASURED

SCHEMA_1 = PROJECT / "tests" / "results" / "schema_1"
RESULT = Result(
    label="ort int8", status=Status.ok, reason="", fingerprint="0123", settings={"batch_size": 8}, measurement=MEASURED
)


def test_round_trip(tmp_path):
    """All fields, including enums and estimates, are equal."""
    assert load(save(RESULT, tmp_path)) == RESULT


def test_a_result_of_the_first_version(tmp_path):
    """It names contaminated rounds rounds_disturbed."""
    path = save(RESULT, tmp_path)
    content = json.loads(path.read_text())
    del content["measurement"]["rounds_contaminated"]
    path.write_text(json.dumps(content | {"measurement": content["measurement"] | {"rounds_disturbed": 3}}))
    found = load(path).measurement
    assert found is not None
    assert found.rounds_contaminated == 3


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"status": "ok"}', '{"status": "nothing"}'])
def test_an_invalid_result_raises(tmp_path, content):
    """If it is truncated, of another type, or lacks fields."""
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises((ValueError, KeyError, TypeError)):
        load(path)


def test_a_sweep_of_schema_1_is_read(capsys):
    """As version 0.1.0 wrote it: its rows are shown, with a line that says what their intervals are."""
    assert report.main(["--output-dir", str(SCHEMA_1), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out.strip())))
    assert [row["tags.label"] for row in rows] == ["ort fp32", "ort int8"]
    assert report.main(["--output-dir", str(SCHEMA_1)]) == 0
    assert capsys.readouterr().out.count("measured by an earlier version: its interval is one of rounds") == 2
    [file] = SCHEMA_1.glob("sweeps/*/003_ort_int8/result.json")
    found = load(file)
    assert (found.schema, found.machine_class, found.attempt) == (1, "", {})
    assert found.measurement.replicates == []


def test_a_newer_schema_is_refused_in_one_line(tmp_path):
    """Its meaning is not known here."""
    path = save(RESULT, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 3}))
    with pytest.raises(ValueError, match="schema 3 is newer than 2, which this version reads: update runner"):
        load(path)


def test_unknown_fields_are_ignored(tmp_path):
    """A later version of the same schema may have added them."""
    path = save(RESULT, tmp_path)
    content = json.loads(path.read_text())
    content["measurement"]["replicates"] = [{"number": 0, "rounds": 2, "speedup": 2.0, "throughput": 8.0, "later": 1}]
    path.write_text(json.dumps(content | {"later": 1}))
    assert load(path).measurement.replicates == [Replicate(0, 2, 2.0, 8.0)]
