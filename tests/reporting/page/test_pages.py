"""Pages as files: what they hold, what they escape, what they leave out. test_browser.py opens them."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from runner.commands import compare, report
from runner.reporting.comparing.formats import Comparison
from runner.reporting.comparing.pairs import Limits, Side
from runner.reporting.comparing.pairs import compare as compare_sides
from runner.reporting.page import comparison_page, details, sweep_page
from runner.reporting.page.charts import accuracy_of
from runner.reporting.page.document import as_json
from tests.reporting.page.sweeps import HOSTILE, written

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
DATA = re.compile(r'<script type="application/json" id="(\w+)">(.*?)</script>', re.DOTALL)
POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="(.*?)"')


def data_of(page: str) -> dict[str, Any]:
    """Return the JSON of a page by the ids of its elements."""
    return {name: json.loads(text) for name, text in DATA.findall(page)}


def visible(page: str) -> str:
    """Return a page without its scripts and data."""
    return SCRIPT.sub("", DATA.sub("", page))


def test_json_holds_no_tag_and_no_nan():
    """A text cannot end its script element."""
    assert (
        as_json(["</script>", float("nan"), {"a": (1.5, float("inf"))}])
        == '["\\u003c/script>", null, {"a": [1.5, null]}]'
    )


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(tmp_path):
    """By their digests; nothing can be loaded or sent."""
    page = sweep_page.page(written(tmp_path / "sweep", ["a", "b"]))
    policy = html.unescape(POLICY.search(page).group(1))
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in SCRIPT.findall(page)]
    assert len(digests) == 2
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"<(link|img|iframe|script src)", visible(page))


def test_hostile_names_are_shown_as_they_are(tmp_path):
    """Escaped as text, and as JSON."""
    page = sweep_page.page(written(tmp_path / "sweep", list(HOSTILE)))
    shown = visible(page)
    assert "alert(1)" in shown
    assert "<script>alert" not in page
    for name in HOSTILE:
        assert str(html.escape(name, quote=False)).replace('"', "&#34;").replace("'", "&#39;") in shown
    assert [one["label"] for one in data_of(page)["details"]] == list(HOSTILE)


def test_a_page_says_what_the_table_says(tmp_path):
    """The answer, its two numbers, the rows with their cells, the conclusions."""
    sweep = written(tmp_path / "2026-01-01_sweep", ["slow", "fast"])
    shown = visible(sweep_page.page(sweep))
    assert '<p class="answer" dir="auto">take fast: 2.0' in shown
    assert '<span class="large">2.0' in shown
    assert "of accuracy against fp32" in shown
    assert "a machine · " in shown
    assert '<li dir="auto">a conclusion</li>' in shown
    assert shown.count("How to read this.") == 2
    titles = re.findall(r'data-sort="\d+">(.*?)</button>', shown)
    assert titles[:5] == ["configuration", "samples/s", "speedup (95 % interval)", "accuracy", "verdict"]
    assert re.search(r'data-value="2\.0\d"><bdi>2\.0\d× \(', shown)  # sorted by number, not by text


def test_a_row_unfolds_to_everything_that_its_folder_holds(tmp_path):
    """Replicates, rounds, batch times, evidence, phases, the command, the process, the end of the log."""
    sweep = written(tmp_path / "sweep", ["a"])
    [own], left_out = details.details(sweep.runs, "/groups", logs=True)
    assert left_out == []
    assert len(own["replicates"]) == 5
    assert len(own["rounds"]) == 20
    assert own["rounds"][3]["contaminated"] == "steal"
    bars = own["times"]["bars"]
    assert len(bars) == details.BINS
    assert sum(bar["batches"] for bar in bars) + own["times"]["beyond"] == own["times"]["all"] == 1200
    assert own["evidence"][0]["source"] == "/proc/self/task"
    assert own["phases"] == {"load": 3.21, "timed": 12.0}
    assert own["command"] == "python -m runner --config-dir /groups backend=ort 'row.name='\"'\"'a b'\"'\"''"
    assert own["process"] == "python -m runner.worker"
    assert own["environment"] == {"OMP_NUM_THREADS": "2", "PATH": "/usr/bin"}
    assert own["log"].splitlines()[-1] == "line 199 <b>"
    assert len(own["log"].splitlines()) == details.LOG_LINES
    assert own["unreadable"] == []


def test_a_page_that_is_written_later_shows_no_log(tmp_path):
    """Only the process that measured knows all secrets; who measured is on no page."""
    sweep = written(tmp_path / "sweep", ["a"])
    (sweep.runs[0].folder / "candidate.log").write_text("the key is abc123")
    launch = [{"argv": [], "env": {"USER": "me", "HOME": "/home/me", "LOGNAME": "me", "LANG": "C"}}]
    (sweep.runs[0].folder / "launch-candidate.json").write_text(json.dumps(launch))
    page = sweep_page.page(sweep)
    assert "abc123" not in page
    assert data_of(page)["details"][0]["environment"] == {"LANG": "C"}
    assert "abc123" in sweep_page.page(sweep, logs=True)


def test_damaged_and_missing_files_are_no_end(tmp_path):
    """A damaged one is named, a missing one leaves its part out."""
    sweep = written(tmp_path / "sweep", ["a"])
    (sweep.runs[0].folder / "stamps_ns.npz").write_bytes(b"no archive")
    (sweep.runs[0].folder / "rounds.csv").unlink()
    [own], _ = details.details(sweep.runs, None)
    assert "times" not in own
    assert "rounds" not in own
    [line] = own["unreadable"]
    assert line.startswith("stamps_ns.npz: ")


@pytest.mark.parametrize(("rows", "limit"), [(60, 3_000_000), (400, 10_000_000)])
def test_a_page_stays_small(tmp_path, monkeypatch, rows, limit):
    """Beyond the limit parts of the details are left out, in order, and the page says so."""
    sweep = written(tmp_path / "sweep", [f"row {number}" for number in range(rows)])
    page = sweep_page.page(sweep)
    assert len(page.encode()) < limit
    assert "leaves out" not in page
    monkeypatch.setattr(details, "USUAL_BYTES", 100_000)
    monkeypatch.setattr(details, "MAX_BYTES", 500_000 + 400 * details.ROW_BYTES)
    found, left_out = details.details(sweep.runs, None)
    assert left_out[0] == "This page leaves out the environments of its rows to stay small; their folders hold them."
    assert "environment" not in found[0]
    assert found[0]["replicates"]


@pytest.mark.slow
def test_a_page_of_any_size_is_below_ten_megabytes(tmp_path):
    """Details are left out kind by kind, then rows; the page says so."""
    sweep = written(tmp_path / "sweep", [f"row {number}" for number in range(20)])
    many = replace(sweep, runs=sweep.runs * 155, planned=3100)
    page = sweep_page.page(many)
    assert len(page.encode()) < 10_000_000
    assert "This page leaves out the environments of its rows to stay small" in page
    assert "100 rows are not on this page: runner report --wide prints all." in page


def test_rows_that_all_failed(tmp_path):
    """There is no chart and no number; the reasons are remarks."""
    page = sweep_page.page(written(tmp_path / "sweep", ["a", "b"], failed=True))
    assert "None of 2 rows was measured: the remarks say why." in page
    assert 'data-chart="speedups"' not in page
    assert 'class="large"' not in page
    assert "a: failed: ValueError: &lt;img src=x onerror=alert(1)&gt;" in visible(page)


def test_the_gate_is_drawn_only_where_all_rows_share_it(tmp_path):
    """One threshold for one reference; outputs without labels have none."""
    results = written(tmp_path / "sweep", ["a", "b"]).results
    quantity = accuracy_of(results)
    assert quantity.gate == pytest.approx(-0.96)
    assert quantity.title == "accuracy against fp32, percentage points"
    assert results[0].accuracy is not None
    assert results[1].accuracy is not None
    other = replace(results[1], accuracy=replace(results[1].accuracy, reference_top1=0.5))
    assert accuracy_of([results[0], other]).gate is None
    assert accuracy_of([results[0], other]).is_gated
    bare = replace(results[0], accuracy=replace(results[0].accuracy, delta_pp=None))
    assert (accuracy_of([bare]).title, accuracy_of([bare]).values) == ("samples with the answer of fp32, %", [99.0])


def test_the_commands(tmp_path, capsys):
    """``report --html`` writes into the sweep's folder and names the file; ``compare --format html`` makes a page."""
    for name, labels in (("2026-01-01_one", ["a", HOSTILE[0]]), ("2026-01-02_two", ["a", HOSTILE[0]])):
        written(tmp_path / "sweeps" / name, labels)
    assert report.main(["last", "--html", "--output-dir", str(tmp_path)]) == 0
    path = tmp_path / "sweeps" / "2026-01-02_two" / "report.html"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    target = tmp_path / "compare.html"
    words = ["2026-01-01", "last", "--format", "html", "--output", str(target), "--output-dir", str(tmp_path)]
    assert compare.main(words) == 0
    page = target.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "2026-01-02_two against 2026-01-01_one" in page
    with pytest.raises(SystemExit):
        report.main(["last", "--html", "--uri", "sqlite:///x.db"])


def test_a_comparison_of_three_sweeps(tmp_path):
    """Its points have a colour for each later side."""
    sides = [Side(name, written(tmp_path / name, ["a", "b"]).results) for name in ("one", "two", "three")]
    found = Comparison([side.name for side in sides], compare_sides(sides, Limits()), Limits())
    charts = data_of(comparison_page.page(found, tmp_path))["charts"]
    points = charts["ratios"]["layer"][2]["data"]["values"]
    assert [(one["configuration"], one["side"]) for one in points] == [
        *(("a", "two"), ("a", "three"), ("b", "two"), ("b", "three")),
    ]


def test_vega_lite_compiles_the_charts(tmp_path, capfd):
    """Without a warning, such as one of scales that conflict."""
    import vl_convert

    sweep = written(tmp_path / "sweep", ["a", "b"])
    sides = [Side(name, sweep.results) for name in ("one", "two")]
    found = Comparison(["one", "two"], compare_sides(sides, Limits()), Limits())
    charts = data_of(sweep_page.page(sweep))["charts"] | data_of(comparison_page.page(found, tmp_path))["charts"]
    assert sorted(charts) == ["accuracy", "ratios", "rounds", "speedups", "times"]
    for spec in charts.values():
        compiled = vl_convert.vegalite_to_vega(spec)
        assert compiled["marks"]
    assert "WARN" not in "".join(capfd.readouterr())
