"""The table of the current and of past sweeps, and the lines below it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import pandas as pd
import pytest
from rich.console import Console

from runner.paths import PROJECT
from runner.reporting.columns import COLUMNS, columns, few_columns
from runner.reporting.notes import notes, time_line
from runner.reporting.table import csv_table, markdown_table, print_table
from runner.results.result import Result
from runner.results.status import Status
from tests.conftest import Finished, RunProgram
from tests.tracking.test_tracking import newest, record_once

NAN = float("nan")
MEASURED = {
    "tags.label": "ort int8",
    "tags.status": "ok",
    "tags.reason": "",
    "tags.verdict": "faster",
    "tags.accuracy_gate": "pass",
    "tags.evidence": "6/6 ✓",
    "metrics.throughput": 383.04,
    "metrics.throughput_ci_low": 379.96,
    "metrics.throughput_ci_high": 386.12,
    "metrics.speedup": 3.2049,
    "metrics.replicates": 5.0,
    "metrics.speedup_ci_low": 3.1851,
    "metrics.speedup_ci_high": 3.2251,
    "metrics.latency_p50_ms": 20.84,
    "metrics.latency_p99_ms": 22.06,
    "metrics.accuracy_top1": 0.9175,
    "metrics.accuracy_delta_pp": -0.25,
    "metrics.accuracy_delta_ci_low_pp": -1.234,
    "metrics.accuracy_delta_ci_high_pp": 0.736,
    "metrics.accuracy_samples": 400.0,
    "metrics.agreement_top1": 0.9925,
    "metrics.sqnr_db": 18.249,
    "metrics.prepare_s": 12.34,
}
MEASURED_CELLS = [
    *("ort int8", "383.0 (380.0 … 386.1)", "3.20× (3.19 … 3.23)", "faster", "20.8", "22.1", "0.917"),
    *("-0.25 (-1.23 … +0.74)", "99.2", "18.2", "pass", "6/6 ✓", "12.3", "ok"),
]
FAILED = {"tags.label": "torch bf16", "tags.status": "crashed", "tags.reason": "died by SIGABRT: free()"}


def cells(row) -> list[str]:
    """Return the cells of a row."""
    return [column.show(row) for column in COLUMNS]


def result(phases: dict[str, float]) -> Result:
    """Return a result with the given phases and no numbers."""
    return Result(label="", status=Status.ok, reason="", fingerprint="", settings={}, phases=phases)


@pytest.fixture
def recorded(run_program: RunProgram, tmp_path_factory) -> Finished:
    """A sweep of three runs in a store that also has an older one, shared with test_tracking.py."""
    return record_once(run_program, tmp_path_factory.getbasetemp() / "recorded")


@pytest.fixture
def report(recorded, environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``python -m runner.report`` on that store in a process."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runner.report", "--output-dir", str(recorded.output_dir), *arguments],
            cwd=PROJECT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def read_csv(text: str) -> pd.DataFrame:
    """Return a CSV as a frame of texts, so that numbers are not rounded."""
    return pd.read_csv(io.StringIO(text), dtype=str)


def body(text: str) -> list[str]:
    """Return the lines of the table and of its notes, without the title and the line about time."""
    lines = [line.rstrip() for line in text.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("┏"))
    end = next((number for number, line in enumerate(lines) if " s in all, " in line), len(lines))
    return lines[first:end]


def test_the_closing_table_is_printed_again(recorded, report):
    """The lines of the table and the notes are identical."""
    done = report()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].strip() == f"sweep {newest(recorded).name}"
    assert body(done.stdout) == body(recorded.out)
    assert "failed: ValueError: the fake fails as configured" in done.stdout


def test_an_older_sweep_is_chosen_by_name(recorded, report):
    """Only its own row is shown."""
    older = min((recorded.output_dir / "sweeps").iterdir())
    done = report("--sweep", older.name, "--format", "markdown", "--wide")
    assert done.returncode == 0
    assert done.stdout == (older / "table.md").read_text()
    assert len(done.stdout.splitlines()) == 3  # heading, rule, one run


def test_markdown_has_the_cells_of_the_table(recorded, report):
    """The cells are those of the terminal's table, and the text is that of table.md."""
    markdown = report("--format", "markdown", "--wide").stdout
    assert markdown == (newest(recorded) / "table.md").read_text()
    heading, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines()]
    assert heading == [column.title for column in COLUMNS]
    wide = report("--wide", COLUMNS="500").stdout.splitlines()  # wide enough for unfolded cells
    assert [[cell.strip() for cell in line.split("│")[1:-1]] for line in wide if line.startswith("│")] == lines
    assert [line[0] for line in lines] == [one.label for one in recorded.results()]
    assert [line[-1] for line in lines] == ["ok", "ok", "failed"]


def test_csv_has_every_number_unrounded(recorded, report):
    """One row per run with the exact numbers of result.json, as in the sweep's table.csv."""
    printed = read_csv(report("--format", "csv").stdout)
    own = read_csv((newest(recorded) / "table.csv").read_text())
    measured = [one.measurement for one in recorded.results()[:2]]
    for frame in (printed, own):
        assert frame["tags.status"].tolist() == ["ok", "ok", "failed"]
        assert [float(text) for text in frame["metrics.throughput"][:2]] == [one.throughput.value for one in measured]
        assert [float(text) for text in frame["metrics.speedup"][:2]] == [one.speedup.value for one in measured]
        assert frame["metrics.throughput"].isna().tolist() == [False, False, True]
        assert frame["params.backend"].tolist() == ["fake"] * 3
    assert set(own.columns) <= set(printed.columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "sweep: received 'nowhere'; allowed: last, or the folder, the name, a prefix of the name"),
        (["--sweep", "nowhere", "--experiment", "runner"], "experiment 'runner' holds no sweep 'nowhere'"),
        (["--experiment", "nothing"], "has no experiment 'nothing'"),
    ],
)
def test_a_missing_sweep_is_reported_in_one_line(report, arguments, message):
    """With exit code 2, without a traceback or standard output."""
    done = report(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("report: ")
    assert message in line


def test_a_measured_row_shows_its_numbers_rounded():
    """To significant digits; the delta always has a sign."""
    assert cells(MEASURED) == MEASURED_CELLS


def test_a_run_without_a_number_shows_dashes():
    """If the metric is absent, as in the closing table, or NaN, as in a frame from the store."""
    expected = ["torch bf16", *["–"] * 12, "crashed"]
    assert cells(FAILED) == expected
    frame = pd.DataFrame([MEASURED, FAILED])
    assert cells(frame.to_dict("records")[1]) == expected
    assert cells(dict.fromkeys(MEASURED, NAN)) == ["–"] * 14


def test_sqnr_of_identical_and_of_missing_logits():
    """Identical logits are exact; logits that were not compared are a dash."""
    column = next(column for column in COLUMNS if column.title == "SQNR dB")
    assert column.show(MEASURED | {"metrics.sqnr_db": NAN}) == "exact"
    assert column.show({"metrics.agreement_top1": 1.0}) == "exact"
    assert column.show({}) == "–"


def test_too_few_batches_show_the_slowest_instead_of_p99():
    """The cell marks it (max); without either there is a dash."""
    column = next(one for one in COLUMNS if one.title == "p99 ms")
    slowest = {"metrics.latency_max_ms": 51.84}
    assert [column.show(one) for one in (slowest, slowest | {"metrics.latency_p99_ms": 22.06}, {})] == [
        "51.8 (max)",
        "22.1",
        "–",
    ]


def test_markup_in_a_label_is_shown():
    """Brackets are printed literally, including an unmatched closing tag, which rich would raise an error for."""
    console = Console(file=io.StringIO(), width=300)
    print_table(console, [MEASURED | {"tags.label": "ViT [/int8] [b]"}], "sweep [/x]")
    shown = console.file.getvalue()
    assert "ViT [/int8] [b]" in shown
    assert "sweep [/x]" in shown


def test_notes_explain_missing_numbers():
    """One line per problem. An inconclusive row gets no line: measuring on until a verdict appears would bias it."""
    uncertain = {"tags.label": "ort int8", "tags.accuracy_gate": "pass (uncertain)", "metrics.accuracy_samples": 400.0}
    rows = [
        MEASURED,
        FAILED,
        {"tags.label": "ort fp32", "tags.status": "ok", "tags.verdict": "inconclusive", "metrics.rounds": 8.0},
        {"tags.label": "slow", "metrics.steady": 0.0, "tags.own_costs": "the quota withheld 50%"},
        {"tags.label": "deaf", "tags.accuracy_failure": "crashed: died by SIGSEGV", "metrics.replicates": 5.0},
        {"tags.label": "old", "metrics.speedup": 2.0},
        {"tags.label": "odd", "params.precision": "fp32", "metrics.sqnr_db": -1.2},
        {"tags.label": "usual", "params.precision": "fp32", "metrics.sqnr_db": 118.0},
        {"tags.label": "lowered", "params.precision": "bf16", "metrics.sqnr_db": 30.0},
        uncertain | {"metrics.accuracy_gate_samples": 5210.0},
        uncertain | {"tags.accuracy_gate": "fail (uncertain)", "metrics.accuracy_gate_samples": NAN},
    ]
    assert notes(rows) == [
        "torch bf16: crashed: died by SIGABRT: free()",
        "slow: the numbers include that the quota withheld 50%",
        "slow: its speed or the baseline's was not steady after warm-up: raise measure.warmup_s",
        "deaf: no accuracy: crashed: died by SIGSEGV",
        "old: measured by an earlier version: its interval is one of rounds within one process pair",
        "odd: in fp32 its outputs differ from the reference by more than rounding (SQNR -1 dB): "
        "the export computes something else, or the network amplifies rounding errors",
        "ort int8: the gate is uncertain on 400 samples: about 5210 samples would decide it",
        "ort int8: the gate is uncertain on 400 samples: no number of samples would decide it",
    ]
    assert notes([MEASURED]) == []


def test_time_line_accounts_for_every_second():
    """The phases of all runs together, longest first; the rest is the host's."""
    results = [result({"timed": 6.0, "prepare": 2.0}), result({"timed": 4.0, "prepare": 1.0, "settle": 0.5})]
    assert time_line(results, 15.0) == (
        "15.0 s in all, 10.0 s timed (1.50 × the timed seconds; the rest: prepare 3.0, host 1.5, settle 0.5)"
    )
    assert time_line([result({"load": 1.0})], 1.25) == "1.2 s in all (load 1.0, host 0.2)"


def test_markdown_and_csv_formats():
    """The columns of Markdown, and the precision of CSV."""
    lines = markdown_table([MEASURED, FAILED]).splitlines()
    assert lines[1] == "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---|---|---:|---|"
    assert lines[2] == "| " + " | ".join(MEASURED_CELLS) + " |"
    assert len(lines) == 4
    frame = read_csv(csv_table([MEASURED, FAILED]))
    assert frame["metrics.speedup"].tolist()[0] == "3.2049"
    assert frame["tags.label"].tolist() == ["ort int8", "torch bf16"]


def test_a_noisy_row_has_a_note():
    """It has the number of rounds, the interference and a remedy."""
    noisy = MEASURED | {
        "tags.verdict": "too noisy",
        "tags.disturbances": "other processes used 38% of the cores' time",
        "metrics.rounds_contaminated": 9.0,
    }
    assert notes([noisy]) == [
        "ort int8: too noisy: 9 rounds were contaminated (other processes used 38% of the cores' time): "
        "stop other programs, or measure at another time"
    ]


GENERATED = MEASURED | {
    "tags.label": "gpt2",
    "metrics.accuracy_top1": NAN,
    "metrics.accuracy_delta_pp": -0.25,
    "metrics.accuracy_delta_ci_low_pp": -0.5,
    "metrics.accuracy_delta_ci_high_pp": 0.0,
    "metrics.sqnr_db": NAN,
    "metrics.perplexity": 9.2249,
    "metrics.tokens_per_s": 449.61,
    "metrics.first_token_ms": 172.9,
    "metrics.token_ms": 12.734,
}


def test_rows_that_generate_text_have_additional_columns():
    """Tokens and their times follow the latency; the quality cell names its metric."""
    heading, _, generated, classified = markdown_table([GENERATED, MEASURED]).splitlines()
    assert "| p99 ms | tokens/s | first token ms | ms per token | quality | Δ (95 % interval) |" in heading
    assert "| 449.6 | 172.9 | 12.73 | perplexity 9.22 | -0.25 % (-0.50 … +0.00) |" in generated
    assert "| – | – | – | 0.917 | -0.25 pp (-1.23 … +0.74) |" in classified


def test_a_table_that_is_only_checked():
    """Its rows have no speed, but still their verdict."""
    checked = {**MEASURED, "params.measure.check": "True", "tags.table": "rand2025", "tags.row_verdict": "no number"}
    titles = [column.title for column in columns([checked])]
    assert titles[:2] == ["configuration", "row verdict"]
    assert "speedup (95 % interval)" not in titles


FEW = ["configuration", "samples/s", "speedup (95 % interval)", "accuracy", "verdict"]


def few(row) -> list[str]:
    """Return the cells that the terminal's table has by default."""
    return [column.show(row) for column in few_columns([row])]


def test_five_columns_by_default():
    """They fit 80 characters; --wide prints all."""
    assert [column.title for column in few_columns([MEASURED])] == FEW
    assert few(MEASURED) == ["ort int8", "383.0", "3.20× (3.19 … 3.23)", "-0.25 pp, pass", "faster"]
    assert few(FAILED) == ["torch bf16", "–", "–", "–", "crashed"]
    stream = io.StringIO()
    print_table(Console(file=stream, force_terminal=True, width=80, color_system=None), [MEASURED, FAILED], "title")
    assert max(map(len, stream.getvalue().splitlines()[:7])) <= 80
    assert "│ ort int8      │" in stream.getvalue()
    print_table(Console(file=stream, force_terminal=True, width=80, color_system=None), [MEASURED], "title", wide=True)
    assert " 383.0 (380.0 … 386.1) │" in stream.getvalue()


@pytest.mark.parametrize(
    ("changed", "cell"),
    [
        ({"metrics.accuracy_delta_pp": NAN}, "99.2 % agree"),
        ({"metrics.accuracy_delta_pp": NAN, "metrics.agreement_top1": NAN}, "18.2 dB"),
        ({"metrics.accuracy_delta_pp": NAN, "metrics.agreement_top1": NAN, "metrics.sqnr_db": NAN}, "–"),
        ({"metrics.perplexity": 9.2, "tags.accuracy_gate": "fail (uncertain)"}, "-0.25 %, fail (uncertain)"),
        ({"tags.accuracy_gate": ""}, "-0.25 pp"),
    ],
)
def test_the_accuracy_of_every_task(changed, cell):
    """Its loss and the gate, else how near the outputs are to those of fp32."""
    assert few(MEASURED | changed)[3] == cell


def test_the_few_columns_of_other_tables():
    """Generated text has tokens, a published table its speedup and its verdict, checked rows only their seconds."""
    assert few(GENERATED)[1] == "449.6"
    printed = MEASURED | {"metrics.published_speedup": 2.5, "tags.row_verdict": "confirmed"}
    assert few(printed)[2:] == ["2.50×", "3.20× (3.19 … 3.23)", "-0.25 pp, pass", "confirmed"]
    checked = {"tags.label": "a", "params.measure.check": "True", "metrics.wall_s": 3.25, "tags.status": "ok"}
    assert few(checked) == ["a", "3.2", "–", "ok"]
