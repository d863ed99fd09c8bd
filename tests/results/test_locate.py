"""Resolving a sweep by folder, name, prefix, last or MLflow run id, and the messages for other values."""

from __future__ import annotations

import json

import pytest

from runner.errors import ConfigurationError
from runner.results.locate import find_sweep
from runner.results.store import PLAN_FILE

NAMES = ("2026-01-01_10-00-00", "2026-01-02_10-00-00", "2026-01-02_11-00-00")
RUN_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def outputs(tmp_path):
    """An output folder with three sweeps and another folder."""
    for name in NAMES:
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        plan = {"command": {}, "runs": [{"folder": "001_x", "label": "x", "fingerprint": "f"}]}
        (tmp_path / "sweeps" / name / PLAN_FILE).write_text(json.dumps(plan))
    (tmp_path / "sweeps" / "2026-01-03_notes").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("last", NAMES[2]),
        (NAMES[0], NAMES[0]),
        ("2026-01-01", NAMES[0]),
        ("2026-01-02_11", NAMES[2]),
    ],
)
def test_alias_name_and_prefix(outputs, wanted, found):
    """Last, the name, and a unique prefix."""
    assert find_sweep(wanted, outputs) == outputs / "sweeps" / found


def test_a_folder_outside_the_output_folder_is_found(outputs, tmp_path_factory):
    """A copied or moved sweep."""
    elsewhere = tmp_path_factory.mktemp("copies") / "mine"
    (outputs / "sweeps" / NAMES[1]).rename(elsewhere)
    assert find_sweep(str(elsewhere), outputs) == elsewhere


def test_an_mlflow_run_id_finds_its_sweep(outputs):
    """The store maps a run to its sweep; a sweep that is not in the output folder is not found."""
    assert find_sweep(RUN_ID, outputs, name_of_run={RUN_ID: NAMES[0]}.get) == outputs / "sweeps" / NAMES[0]
    with pytest.raises(ConfigurationError):
        find_sweep(RUN_ID, outputs, name_of_run={RUN_ID: "2025-01-01_10-00-00"}.get)


@pytest.mark.parametrize(
    ("wanted", "reported"),
    [
        ("2026-01-02", f"It matches {NAMES[1]}, {NAMES[2]}"),
        ("2026-01-01_10-00-01", f"The nearest: {NAMES[0]}"),
        ("zzz", f"It contains {', '.join(NAMES)}"),
        ("2026-01-03_notes", "allowed: last, or the folder, the name"),
        ("", f"It contains {', '.join(NAMES)}"),
    ],
)
def test_other_values_are_reported_in_one_line(outputs, wanted, reported):
    """With all matches of an ambiguous prefix, the nearest names of a misspelled one, else the newest sweeps."""
    with pytest.raises(ConfigurationError) as error:
        find_sweep(wanted, outputs)
    [mistake] = error.value.mistakes
    assert str(mistake).startswith(f"sweep: received {wanted!r}; allowed: ")
    assert reported in str(mistake)


def test_an_output_folder_without_sweeps(tmp_path):
    """The alias last matches nothing."""
    with pytest.raises(ConfigurationError, match="It contains no sweep"):
        find_sweep("last", tmp_path)
