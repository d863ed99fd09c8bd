"""Two sweeps held against each other: by settings, with intervals, changes in words, and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from runner import exit_codes
from runner.analysis.statistics import Verdict
from runner.commands import compare as command
from runner.reporting.comparing.formats import Comparison, csv_text
from runner.reporting.comparing.pairs import (
    SIDE_BY_SIDE,
    SPEEDUP,
    THROUGHPUT,
    Limits,
    Line,
    Pair,
    Side,
    compare,
    pair_side_by_side,
    pairs_of,
    summary,
    undecided,
)
from runner.reporting.comparing.side_by_side import command_of, common_rows, comparison
from runner.results.files import load, save
from runner.results.result import Result
from runner.results.status import Status
from runner.results.stored_sweep import StoredRun, StoredSweep
from tests.reporting.test_answer import ACCURACY, side_by_side

SETTINGS = {"model.name": "resnet18", "backend.name": "ort", "precision.name": "int8"}


NO_LIMITS = Limits()


def row(label: str, speedups: list[float], **changed: object) -> Result:
    """Return a measured row with a baseline of a known fingerprint."""
    made = side_by_side(label, speedups, settings={**SETTINGS, "row": label})
    return replace(made, **({"baseline_fingerprint": "b", "packages": {"torch": "2.9"}} | changed))


def pairs(before: list[Result], after: list[Result], limits: Limits = NO_LIMITS) -> list[Pair]:
    """Return the pairs of two sides."""
    return pairs_of(compare([Side("old", before), Side("new", after)], limits))


def test_the_same_baseline_compares_speedups():
    """The drift of the machine cancels; with another baseline only samples/s can be compared, as the column says."""
    [pair] = pairs([row("a", [2.0, 2.1, 2.0])], [row("a", [3.0, 3.1, 3.0])])
    assert (pair.quantity, pair.verdict) == (SPEEDUP, "faster")
    assert pair.ratio.value == pytest.approx(1.49, abs=0.01)
    [pair] = pairs([row("a", [2.0, 2.1])], [row("a", [2.0, 2.1], baseline_fingerprint="c")])
    assert pair.quantity == THROUGHPUT
    found = Comparison(["old", "new"], [Line("a", pair.before, [pair])], NO_LIMITS)
    assert found.remarks() == [
        "1 of samples/s: what the machine itself drifted between the two times is not in the interval"
    ]


def test_rows_are_matched_by_settings_and_then_by_label():
    """What is missing on one side is listed."""
    before = [row("a", [2.0, 2.1]), row("gone", [2.0, 2.1])]
    after = [replace(row("a", [2.0, 2.1]), label="renamed"), row("new", [2.0, 2.1])]
    found = pairs(before, after)
    assert [(pair.label, pair.verdict) for pair in found] == [
        ("renamed", "cannot tell"),
        ("gone", "missing in new"),
        ("new", "missing in old"),
    ]
    assert len(undecided(found, Limits())) == 3


def test_a_setting_that_changed_for_all_rows_does_not_part_them():
    """Rows are told apart by what varies within a sweep, also if the other one has fewer, and other labels."""
    model = {"model.name": "m"}
    kinds = [{**model, "backend.name": backend, "precision.name": name} for backend in "ab" for name in "xy"]
    before = [
        replace(row(f"{number}", [2.0, 2.1]), settings={**kind, "threads": 2}) for number, kind in enumerate(kinds)
    ]
    after = [replace(row("y", [2.0, 2.1]), settings={**kinds[3], "threads": 1})]
    found = pairs(before, after)
    assert [(pair.label, pair.before) for pair in found if pair.after] == [("y", before[3])]
    assert [pair.changes for pair in found if pair.after] == [["threads: 2 → 1"]]
    assert sum(pair.after is None for pair in found) == 3
    [alone] = pairs([before[0]], [replace(before[0], label="other", settings={**kinds[0], "threads": 3})])
    assert alone.label == "other"


def test_changes_are_named():
    """Settings, packages, code and machine."""
    before = row("a", [2.0, 2.1], attempt={"commit": "1"}, machine_class="x")
    after = row("a", [2.0, 2.1], attempt={"commit": "2"}, machine_class="y", packages={"torch": "2.10", "timm": "1"})
    after = replace(after, settings={**after.settings, "row": "b"})
    [pair] = pairs([before], [after])
    assert pair.changes == [
        "row: a → b",
        "timm not installed → 1",
        "torch 2.9 → 2.10",
        "code: 1 → 2",
        "machine: x → y",
    ]


def test_limits_fail_only_beyond_doubt():
    """A loss of 10 % that is sure, one of 10 % that is not, and accuracy."""
    sure = pairs([row("a", [2.0, 2.01, 2.0])], [row("a", [1.8, 1.81, 1.8])], Limits(slower=0.03))
    assert sure[0].failures == ["10.0% slower, more than 3.0%"]
    unsure = pairs([row("a", [2.0, 1.5, 2.5])], [row("a", [1.8, 1.3, 2.2])], Limits(slower=0.03))
    assert unsure[0].failures == []
    assert len(undecided(unsure, Limits(slower=0.03))) == 1
    worse = replace(ACCURACY, delta_pp=-5.0, delta_low_pp=-5.5, delta_high_pp=-4.5)
    less = pairs([row("a", [2.0, 2.1])], [row("a", [2.0, 2.1], accuracy=worse)], Limits(less_accurate_pp=0.5))
    assert less[0].failures == ["4.75 pp less accurate, more than 0.5 pp"]
    assert summary(less, Limits(less_accurate_pp=0.5)) == "a is 4.75 pp less accurate, more than 0.5 pp"


def test_nothing_is_concluded_from_a_noisy_row():
    """A loss of half is none, if one side was too noisy; --strict does not accept it."""
    noisy = side_by_side("a", [1.0, 1.01, 1.0], verdict=Verdict.too_noisy, settings={**SETTINGS, "row": "a"})
    limits = Limits(slower=0.03)
    [pair] = pairs([row("a", [2.0, 2.01, 2.0])], [replace(noisy, baseline_fingerprint="b")], limits)
    assert (pair.verdict, pair.failures) == ("cannot tell", [])
    assert undecided([pair], limits) == [pair]
    found = Comparison(["old", "new"], [Line("a", pair.before, [pair])], limits)
    assert found.remarks() == ["nothing is concluded about a: the machine was too noisy on one side"]


def test_rows_without_a_number():
    """Their statuses are shown."""
    [pair] = pairs([row("a", [2.0, 2.1])], [Result("a", Status.failed, "", "", {**SETTINGS, "row": "a"})])
    assert pair.verdict == "no number: ok then failed"
    checked = replace(row("a", [2.0, 2.1]), measurement=None)
    [pair] = pairs([row("a", [2.0, 2.1])], [checked])
    assert pair.verdict == "no number: ok then only checked"


@pytest.fixture
def sweeps(tmp_path):
    """Two sweeps of two rows, of which one became slower."""
    for name, speedups in (("2026-01-01_before", [2.0, 2.01, 2.0]), ("2026-01-02_after", [1.5, 1.51, 1.5])):
        folder = tmp_path / "sweeps" / name
        for number, label in enumerate(("same", "other [/x] <b>")):
            (folder / f"{number:03d}").mkdir(parents=True)
            save(row(label, speedups if number else [2.0, 2.0, 2.0]), folder / f"{number:03d}")
        (folder / "plan.json").write_text(
            '{"schema": 2, "sweep": "x", "command": {}, "runs": [{"folder": "000"}, {"folder": "001"}]}'
        )
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


def test_three_sides_are_one_pivot():
    """Each is compared with the first, and the limits hold over all pairs together; what changed on every row is said
    once."""
    first = [row("a", [2.0, 2.01, 2.0]), row("b", [3.0, 3.01, 3.0])]
    second = [row("a", [2.0, 2.01, 2.0], packages={"torch": "2.10"}), row("new", [1.0, 1.1])]
    third = [row("a", [1.0, 1.01, 1.0]), row("new", [1.0, 1.1])]
    limits = Limits(slower=0.03)
    sides = [Side("one", first), Side("two", second), Side("three", third)]
    found = Comparison(["one", "two", "three"], compare(sides, limits), limits)
    assert found.titles == ["configuration", "one", "two ÷ one", "three ÷ one"]
    assert [found.cells(line)[0] for line in found.lines] == ["a", "b", "new"]
    assert found.cells(found.lines[0])[2:] == [
        "1.000× (0.993 … 1.007) of speedup: unchanged",
        "0.501× (0.495 … 0.507) of speedup: 49.9% slower, more than 3.0%",
    ]
    assert found.cells(found.lines[1])[2:] == ["missing in two", "missing in three"]
    assert found.cells(found.lines[2])[1:] == ["–", "missing in one", "missing in one"]
    assert found.remarks() == ["two: torch 2.9 → 2.10"]
    assert found.summary == "a in three is 49.9% slower, more than 3.0%"
    assert csv_text(found).count("\n") == 7


def test_rows_of_one_block_are_paired():
    """Their speedups scatter by 20 %, their ratio not at all; rows of two blocks are compared as independent."""
    before, after = row("a", [2.0, 2.4, 2.2]), row("a", [2.2, 2.64, 2.42])
    pair = pair_side_by_side("a", ("old", "new"), before, after)
    assert (pair.quantity, pair.verdict) == (SIDE_BY_SIDE, "faster")
    assert pair.ratio.value == pytest.approx(1.1)
    assert pair.ratio.high - pair.ratio.low == pytest.approx(0.0, abs=1e-9)
    assert after.measurement is not None
    elsewhere = replace(after, measurement=replace(after.measurement, block="02"))
    assert pair_side_by_side("a", ("old", "new"), before, elsewhere).quantity == SPEEDUP


def stored(folder: Path, *results: Result, overrides: Sequence[str] = ("backend=ort",)) -> StoredSweep:
    """Return a sweep of results."""
    runs = [StoredRun(folder / one.label, one, [*overrides]) for one in results]
    return StoredSweep(folder, runs, len(runs), None, [], [])


def changed(label: str, speedups: list[float], **fields: object) -> Result:
    """Return a row with another setting."""
    made = row(label, speedups, **fields)
    return replace(made, settings={**made.settings, "instances": 2})


def test_rows_to_measure_again():
    """Those of a pair are next to each other; session fields are given once, the output folder is this command's."""
    words = ["backend=ort", "tracking=none", "output_dir=old"]
    before = stored(Path("x"), row("a", [2.0, 2.1]), row("b", [2.0, 2.1]), overrides=words)
    after = stored(Path("y"), changed("a", [2.0, 2.1]), changed("b", [2.0, 2.1]), overrides=[*words, "instances=2"])
    rows = common_rows(before, after)
    assert [one.label for one in rows] == ["a", "b"]
    command = command_of(rows, Path("new"), None)
    assert command.overrides == ["tracking=none", "output_dir=new"]
    assert command.jobs == [["backend=ort"], ["backend=ort", "instances=2"]] * 2
    made = stored(Path("z"), row("a1", [2.0, 2.4]), row("a2", [4.0, 4.8]), row("b1", [2.0, 2.4]), row("b2", [2.0, 2.4]))
    found = comparison(rows, made, Limits(slower=0.03))
    assert [(pair.label, pair.sides, round(pair.ratio.value, 3)) for pair in found.pairs] == [
        ("a", ("x", "y"), 2.0),
        ("b", ("x", "y"), 1.0),
    ]
    with pytest.raises(LookupError, match="holds 2 of 4 rows"):
        comparison(rows, stored(Path("z"), row("a1", [2.0, 2.4]), row("a2", [4.0, 4.8])), Limits())


def repeated(label: str) -> Result:
    """Return a row of an A/A calibration."""
    made = row(label, [2.0, 2.1])
    return replace(made, settings={**made.settings, "aa": 10})


@pytest.mark.parametrize(
    ("before", "after", "overrides", "message"),
    [
        (row("a", [2.0, 2.1]), changed("a", [2.0, 2.1], packages={"torch": "3"}), ["x=1"], "settings: torch 2.9 → 3"),
        (row("a", [2.0, 2.1]), changed("a", [2.0, 2.1], attempt={"commit": "9"}), ["x=1"], "settings: code: "),
        (row("a", [2.0, 2.1]), row("a", [2.0, 2.1]), ["x=1"], "no row was measured in both with different settings"),
        (row("a", [2.0, 2.1]), changed("a", [2.0, 2.1]), [], "did not store its words"),
        (repeated("a"), changed("a", [2.0, 2.1]), ["x=1"], "rows of aa=… and ablate=true are compared within"),
        (row("a", [2.0, 2.1]), changed("a", [2.0, 2.1]), ["model.key=(hidden)"], "held a secret"),
    ],
)
def test_what_cannot_be_measured_side_by_side(before, after, overrides, message):
    """The words say which."""
    before = replace(before, attempt={"commit": "1"})
    after = after if after.attempt == {"commit": "9"} else replace(after, attempt={"commit": "1"})
    sides = (stored(Path(name), one, overrides=overrides) for name, one in (("x", before), ("y", after)))
    with pytest.raises(LookupError) as caught:
        command_of(common_rows(*sides), Path("outputs"), None)
    assert message in str(caught.value)


def test_by_machine(sweeps, capsys):
    """The kinds of machines are the sides; one kind alone cannot be compared."""
    words = ["2026-01-01", "2026-01-02", "--by", "machine", "--output-dir", str(sweeps)]
    assert command.main(words) == exit_codes.MISTAKE
    assert "all rows were measured on one kind of machine" in capsys.readouterr().err
    folder = sweeps / "sweeps" / "2026-01-02_after"
    for file in sorted(folder.glob("*/result.json")):
        save(replace(load(file), machine_class="another", baseline_fingerprint="other"), file.parent)
    assert command.main([*words, "--format", "csv"]) == exit_codes.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert ",another,samples/s," in lines[1]


def test_sweeps_that_cannot_be_compared(sweeps, capsys):
    """One line each: of schema 1, without a row that ended, of other models, a single sweep."""
    folder = sweeps / "sweeps" / "2026-01-02_after"
    for file in sorted(folder.glob("*/result.json")):
        save(replace(load(file), label="other", settings={"model.name": "resnet50"}), file.parent)
    words = ["2026-01-01", "2026-01-02", "--output-dir", str(sweeps)]
    assert command.main(words) == exit_codes.MISTAKE
    assert "no configuration in common: 2026-01-01_before holds resnet18; 2026-01-02_after holds resnet50" in (
        capsys.readouterr().err
    )
    for file in sorted(folder.glob("*/result.json")):
        save(replace(load(file), schema=1), file.parent)
    assert command.main(words) == exit_codes.MISTAKE
    assert "is of schema 1, whose rows have no replicates" in capsys.readouterr().err
    for file in sorted(folder.glob("*/result.json")):
        file.unlink()
    assert command.main(words) == exit_codes.MISTAKE
    assert "no run of this sweep has ended" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        command.main(words[1:])
    assert caught.value.code == exit_codes.MISTAKE


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


def test_help_shows_the_units(capsys):
    """As one types them."""
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "--fail-if-slower 3% " in capsys.readouterr().out
