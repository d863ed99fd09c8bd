"""One resolver for a sweep: folder, name, prefix, last, MLflow run id; and what is reported for anything else."""

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
    """An output folder with three sweeps, and a folder that is none."""
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
def test_every_form_finds_its_sweep(outputs, wanted, found):
    """Last, the name, and a prefix that fits no other."""
    assert find_sweep(wanted, outputs) == outputs / "sweeps" / found


def test_a_folder_is_found_wherever_it_is(outputs, tmp_path_factory):
    """A copied or moved sweep too."""
    elsewhere = tmp_path_factory.mktemp("copies") / "mine"
    (outputs / "sweeps" / NAMES[1]).rename(elsewhere)
    assert find_sweep(str(elsewhere), outputs) == elsewhere


def test_an_mlflow_run_id_finds_its_sweep(outputs):
    """The store says which sweep a run belongs to; a run of another store's sweep is not found."""
    assert find_sweep(RUN_ID, outputs, name_of_run={RUN_ID: NAMES[0]}.get) == outputs / "sweeps" / NAMES[0]
    with pytest.raises(ConfigurationError):
        find_sweep(RUN_ID, outputs, name_of_run={RUN_ID: "2025-01-01_10-00-00"}.get)


@pytest.mark.parametrize(
    ("wanted", "reported"),
    [
        ("2026-01-02", f"It fits {NAMES[1]}, {NAMES[2]}"),
        ("2026-01-01_10-00-01", f"The nearest: {NAMES[0]}"),
        ("zzz", f"It holds {', '.join(NAMES)}"),
        ("2026-01-03_notes", "allowed: last, or the folder, the name"),
        ("", f"It holds {', '.join(NAMES)}"),
    ],
)
def test_anything_else_is_reported_in_one_line(outputs, wanted, reported):
    """An ambiguous prefix with all that fit, a misspelled name with the nearest, anything else with the newest."""
    with pytest.raises(ConfigurationError) as error:
        find_sweep(wanted, outputs)
    [mistake] = error.value.mistakes
    assert str(mistake).startswith(f"sweep: received {wanted!r}; allowed: ")
    assert reported in str(mistake)


def test_an_output_folder_without_sweeps(tmp_path):
    """There is no last one."""
    with pytest.raises(ConfigurationError, match="It holds no sweep"):
        find_sweep("last", tmp_path)
