"""Reading back result.json of this version and of the first version."""

from __future__ import annotations

import json

import pytest

from runner.results.files import load, save
from runner.results.result import Result
from runner.results.status import Status
from tests.measuring.test_progress import MEASURED

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
