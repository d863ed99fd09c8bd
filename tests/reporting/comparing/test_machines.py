"""What a million samples cost on each kind of machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.analysis.statistics import Estimate
from runner.commands import compare as command
from runner.errors import ConfigurationError
from runner.reporting.comparing.machines import cells, cost_per_million, read_prices, remarks
from runner.reporting.comparing.pairs import Side
from runner.results.files import load, save
from runner.results.result import Result
from runner.results.status import Status
from tests.reporting.page.sweeps import written


def test_the_cost_of_a_million():
    """0.36 an hour at 100 samples/s is 1 for a million; a faster machine costs less, so the ends change places."""
    assert cost_per_million(Estimate(100, 80, 125), 0.36) == Estimate(1.0, pytest.approx(0.8), pytest.approx(1.25))


def test_rows_without_a_number_and_machines_without_a_price(tmp_path):
    """They have dashes, and a line says which prices are missing or not used."""
    measured = written(tmp_path / "s", ["a"]).results[0]
    failed = Result("a", Status.failed, "it broke", "", {})
    sides = [Side("fast", [measured]), Side("slow", [failed])]
    first, second = cells(sides, {"fast": 0.36, "sloww": 1.0})
    assert (first[:2], second) == (["a", "fast"], ["a", "slow", "failed", "–", "–", "–"])
    value = measured.shown.throughput
    assert first[-1].startswith(f"{100 / value.value:.3g} ({100 / value.high:.3g}")
    assert remarks(sides, {"fast": 0.36, "sloww": 1.0}) == [
        "no price for slow",
        "the price of sloww is not used; the nearest here: slow",
    ]
    assert remarks(sides, {}) == []


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("", "prices", "lines of KIND OF MACHINE: PRICE PER HOUR"),
        ("- 3", "prices", "lines of KIND OF MACHINE: PRICE PER HOUR"),
        ("a: [", "prices", "a YAML file that can be read"),
        ("a: cheap", "prices: a", "a price per hour, more than 0"),
        ("a: 0", "prices: a", "a price per hour, more than 0"),
        ("a: true", "prices: a", "a price per hour, more than 0"),
    ],
)
def test_prices_that_are_none(tmp_path, text, field, message):
    """The field and what is allowed."""
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        read_prices(tmp_path / "prices.yaml")
    assert [(one.field, one.allowed) for one in raised.value.mistakes] == [(field, message)]


def test_from_the_command_line(tmp_path, capsys):
    """A line for each configuration on each kind of machine, above the ratios."""
    sweep = written(tmp_path / "sweeps" / "2026-01-01_x", ["a", "b"]).folder
    other = written(tmp_path / "sweeps" / "2026-01-02_y", ["a", "b"]).folder
    for folder, name in ((sweep, "old"), (other, "new")):
        for file in sorted(folder.glob("*/result.json")):
            save(replace(load(file), machine_class=name), file.parent)
    (tmp_path / "prices.yaml").write_text("old: 0.10\nnew: 0.20\n")
    words = ["2026-01-01", "2026-01-02", f"prices={tmp_path / 'prices.yaml'}", "--output-dir", str(tmp_path)]
    assert command.main([*words, "--by", "machine", "--format", "markdown"]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert lines[0] == ["| configuration", "machine", "samples/s", "p99 ms", "share of peak", "per million samples |"]
    assert [line[:2] for line in lines[1:5]] == [["| a", "old"], ["| a", "new"], ["| b", "old"], ["| b", "new"]]
    with pytest.raises(SystemExit):
        command.main(words)
    assert "prices=FILE needs a sweep and --by machine" in capsys.readouterr().err
