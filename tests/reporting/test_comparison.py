"""Two sweeps held against each other: by settings, with intervals, changes in words, and limits."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from runner import exit_codes
from runner.commands import compare as command
from runner.reporting.comparison import SPEEDUP, THROUGHPUT, Limits, compare, summary, undecided
from runner.results.files import save
from runner.results.result import Result
from runner.results.status import Status
from tests.reporting.test_answer import ACCURACY, side_by_side

SETTINGS = {"backend.name": "ort", "precision.name": "int8"}


def row(label: str, speedups: list[float], **changed: object) -> Result:
    """Return a measured row with a baseline of a known fingerprint."""
    made = side_by_side(label, speedups, settings={**SETTINGS, "row": label})
    return replace(made, **({"baseline_fingerprint": "b", "packages": {"torch": "2.9"}} | changed))


def test_the_same_baseline_compares_speedups():
    """The drift of the machine cancels; with another baseline only samples/s can be compared, as the column says."""
    [pair] = compare([row("a", [2.0, 2.1, 2.0])], [row("a", [3.0, 3.1, 3.0])], Limits())
    assert (pair.quantity, pair.verdict) == (SPEEDUP, "faster")
    assert pair.ratio.value == pytest.approx(1.49, abs=0.01)
    [pair] = compare([row("a", [2.0, 2.1])], [row("a", [2.0, 2.1], baseline_fingerprint="c")], Limits())
    assert pair.quantity == THROUGHPUT


def test_rows_are_matched_by_settings_and_then_by_label():
    """What is missing on one side is listed."""
    before = [row("a", [2.0, 2.1]), row("gone", [2.0, 2.1])]
    after = [replace(row("a", [2.0, 2.1]), label="renamed"), row("new", [2.0, 2.1])]
    pairs = compare(before, after, Limits())
    assert [(pair.label, pair.verdict) for pair in pairs] == [
        ("renamed", "cannot tell"),
        ("gone", "missing in the second"),
        ("new", "missing in the first"),
    ]
    assert len(undecided(pairs, Limits())) == 3


def test_changes_are_named():
    """Settings, packages, code and machine."""
    before = row("a", [2.0, 2.1], attempt={"commit": "1"}, machine_class="x")
    after = row("a", [2.0, 2.1], attempt={"commit": "2"}, machine_class="y", packages={"torch": "2.10", "timm": "1"})
    after = replace(after, settings={**after.settings, "row": "b"})
    [pair] = compare([before], [after], Limits())
    assert pair.changes == [
        "row: a → b",
        "timm not installed → 1",
        "torch 2.9 → 2.10",
        "code: 1 → 2",
        "machine: x → y",
    ]


def test_limits_fail_only_beyond_doubt():
    """A loss of 10 % that is sure, one of 10 % that is not, and accuracy."""
    sure = compare([row("a", [2.0, 2.01, 2.0])], [row("a", [1.8, 1.81, 1.8])], Limits(slower=0.03))
    assert sure[0].failures == ["9.9% slower, more than 3.0%"] or "slower, more than 3.0%" in sure[0].failures[0]
    unsure = compare([row("a", [2.0, 1.5, 2.5])], [row("a", [1.8, 1.3, 2.2])], Limits(slower=0.03))
    assert unsure[0].failures == []
    assert len(undecided(unsure, Limits(slower=0.03))) == 1
    worse = replace(ACCURACY, delta_pp=-5.0, delta_low_pp=-5.5, delta_high_pp=-4.5)
    less = compare([row("a", [2.0, 2.1])], [row("a", [2.0, 2.1], accuracy=worse)], Limits(less_accurate_pp=0.5))
    assert less[0].failures == ["4.75 pp less accurate, more than 0.5 pp"]
    assert summary(less, Limits(less_accurate_pp=0.5)) == "a is 4.75 pp less accurate, more than 0.5 pp"


def test_rows_without_a_number():
    """Their statuses are shown."""
    [pair] = compare([row("a", [2.0, 2.1])], [Result("a", Status.failed, "", "", {})], Limits())
    assert pair.verdict == "no number: ok then failed"


@pytest.fixture
def sweeps(tmp_path):
    """Two sweeps of two rows, of which one became slower."""
    for name, speedups in (("2026-01-01_before", [2.0, 2.01, 2.0]), ("2026-01-02_after", [1.5, 1.51, 1.5])):
        folder = tmp_path / "sweeps" / name
        for number, label in enumerate(("same", "other [/x] <b>")):
            (folder / f"{number:03d}").mkdir(parents=True)
            save(row(label, speedups if number else [2.0, 2.0, 2.0]), folder / f"{number:03d}")
        (folder / "plan.json").write_text('{"schema": 2, "sweep": "x", "command": {}, "runs": [{"folder": "000"}]}')
    return tmp_path


def test_the_command(sweeps, capsys):
    """Exit code 1 on a loss, a report for CI, and a summary for a pull request; hostile names are shown as they are."""
    words = ["2026-01-01", "2026-01-02", "--output-dir", str(sweeps), "--fail-if-slower", "3%"]
    files = ["--junit", str(sweeps / "j.xml"), "--summary", str(sweeps / "s.md")]
    assert command.main([*words, *files]) == exit_codes.FAILED
    assert "other [/x] <b> is 25." in capsys.readouterr().out
    suite = ElementTree.parse(sweeps / "j.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    assert (sweeps / "s.md").read_text().startswith("**other [/x] <b> is 25.")
    assert command.main([*words[:4], "--format", "csv"]) == exit_codes.OK
    assert capsys.readouterr().out.count("\n") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "last"], "sweep: received 'nowhere'"),
        (["2026", "last"], "It matches 2026-01-01_before, 2026-01-02_after"),
    ],
)
def test_mistakes(sweeps, capsys, words, message):
    """One line, exit code 2."""
    assert command.main([*words, "--output-dir", str(sweeps)]) == exit_codes.MISTAKE
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        command.main([*words, "--fail-if-slower", "3"])
    assert caught.value.code == exit_codes.MISTAKE
    assert "allowed: a share such as 3%" in capsys.readouterr().err
