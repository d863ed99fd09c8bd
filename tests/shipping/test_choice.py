"""Which row is shipped, and what must be allowed first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.analysis.accuracy import Gate
from runner.analysis.statistics import Verdict
from runner.errors import ConfigurationError
from runner.protocol import UNKNOWN, VERIFIED, Finding
from runner.results.files import save, write_json
from runner.results.result import Result
from runner.results.status import Status
from runner.shipping.choice import FLAGS, check, find_row
from tests.reporting.test_answer import ACCURACY, side_by_side

PROVEN = Finding("precision", "fp32", "fp32", VERIFIED, "a profile")


def sweep(folder: Path, results: list[Result]) -> Path:
    """Write a sweep with a row for each result."""
    runs = []
    for number, result in enumerate(results, 1):
        name = f"{number:03d}_{result.label.replace(' ', '_')}"
        (folder / name).mkdir(parents=True)
        save(result, folder / name)
        runs.append({"folder": name, "label": result.label, "fingerprint": result.fingerprint, "overrides": ["a=b"]})
    write_json(folder / "plan.json", {"schema": 2, "sweep": "0" * 32, "command": {}, "runs": runs})
    return folder


@pytest.fixture
def outputs(tmp_path) -> Path:
    """An output folder with a sweep of three rows, of which the second is the fastest."""
    rows = [side_by_side("ort fp32", [2.0, 2.1]), side_by_side("ort int8", [3.0, 3.1]), side_by_side("ov", [2.5, 2.6])]
    sweep(tmp_path / "sweeps" / "2026-11-27_10-00-00_00000000", rows)
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "label"),
    [
        ("last", "ort int8"),
        ("2026", "ort int8"),
        ("last/1", "ort fp32"),
        ("2026-11-27/ov", "ov"),
        ("last/003_ov", "ov"),
        ("last/ort int8", "ort int8"),
        ("last/001", "ort fp32"),
    ],
)
def test_a_row_has_several_names(outputs, wanted, label):
    """Without one it is the row of the answer."""
    assert find_row(wanted, outputs).run.result.label == label


def test_the_folder_of_a_row_names_it(outputs):
    """As a shell completes it."""
    [folder] = outputs.glob("sweeps/*/001_*")
    assert find_row(f"{folder}/", outputs).run.result.label == "ort fp32"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            "last/9",
            "received '9'; allowed: the number, the folder or the label of one row. The rows are: 001_ort_fp32,",
        ),
        ("last/00", "The rows that match: 001_ort_fp32, 002_ort_int8, 003_ov"),
        ("2025/1", "received '2025'"),
        ("nothing", "received 'nothing'"),
    ],
)
def test_a_row_that_is_not_there(outputs, wanted, words):
    """One line, with the rows that are."""
    with pytest.raises(ConfigurationError) as caught:
        find_row(wanted, outputs)
    assert words in str(caught.value.mistakes[0])


def test_a_sweep_in_which_nothing_passes(tmp_path):
    """It has no answer to ship; its rows can be named."""
    failed = replace(ACCURACY, gate=Gate.failed)
    sweep(tmp_path / "sweeps" / "one", [side_by_side("ort int8", [3.0, 3.1], accuracy=failed)])
    with pytest.raises(LookupError, match=r"no row can be the answer: .* Name one of its rows: 001_ort_int8"):
        find_row("last", tmp_path)
    assert find_row("last/1", tmp_path).run.result.label == "ort int8"


def row(**changes: object) -> Result:
    return replace(side_by_side("a", [2.0, 2.1]), **{"evidence": [PROVEN], **changes})


MEASURED: Any = row().measurement
HERE = row().machine_class
FLAWED = {
    "untrained": row(settings={"weights.name": "probe"}),
    "invalid": row(status=Status.invalid, reason="threads: 4 instead of 2"),
    "noisy": row(measurement=replace(MEASURED, verdict=Verdict.too_noisy)),
    "failed-gate": row(accuracy=replace(ACCURACY, gate=Gate.failed)),
    "uncertain-gate": row(accuracy=replace(ACCURACY, gate_certain=False)),
    "other-machine": row(machine_class="another"),
    "unknown-evidence": row(evidence=[PROVEN, replace(PROVEN, knob="threads", state=UNKNOWN)]),
}


def test_a_row_without_a_flaw():
    """It needs no flag."""
    assert check(row(), (), HERE) == []


def test_every_flag_has_a_flaw():
    """The table above holds all but the one that is known when the folder is written."""
    assert FLAWED.keys() == FLAGS.keys() - {"uncompared"}


@pytest.mark.parametrize("flag", FLAWED)
def test_each_flaw_needs_its_own_flag(flag):
    """No other one allows it; the line names it."""
    others = [other for other in FLAGS if other != flag]
    with pytest.raises(LookupError) as caught:
        check(FLAWED[flag], others, HERE)
    assert str(caught.value).endswith(f"To ship it in spite of that, add --allow-{flag}")
    assert len(check(FLAWED[flag], [flag], HERE)) == 1


def test_all_flags_are_named_at_once():
    """And what speaks against the row."""
    flawed = row(settings={"weights.name": "random"}, accuracy=replace(ACCURACY, gate_certain=False))
    with pytest.raises(LookupError) as caught:
        check(flawed, (), HERE)
    assert str(caught.value) == (
        "a is not shipped: its weights are weights=random, never trained; 400 samples are too few to be sure of the "
        "accuracy gate. To ship it in spite of that, add --allow-untrained --allow-uncertain-gate"
    )


def test_an_accuracy_that_is_not_known():
    """The reference may have failed: that is no row without labels."""
    with pytest.raises(LookupError, match=r"its accuracy is not known: out of memory\. .*--allow-uncertain-gate"):
        check(row(accuracy=None, accuracy_failure="out of memory"), (), HERE)


@pytest.mark.parametrize("status", [Status.failed, Status.unsupported, Status.dropped])
def test_a_row_without_a_number_is_never_shipped(status):
    """No flag allows it."""
    with pytest.raises(LookupError, match=f"a is {status}, there is nothing to ship: no operator"):
        check(row(status=status, reason="no operator", measurement=None), FLAGS, HERE)
