"""The harness as a whole, over a runtime that sleeps: statuses, records, and what is left behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runner.config.labels import distinct_labels
from runner.measuring.sweep import exit_code
from runner.paths import PROJECT
from runner.results.status import HARMLESS, Status
from tests.conftest import FAKE, RunProgram


def test_speedup_is_what_the_two_sleeps_say(run_program: RunProgram):
    """A candidate that sleeps 10 ms a batch against a baseline of 20 ms is twice as fast."""
    done = run_program(
        *FAKE,
        "backend.options.batch_s=0.010",
        'baseline=["backend=fake","backend.options.batch_s=0.020"]',
        "measure.slice_s=0.2",
    )
    assert done.code == 0, done.err
    [result] = done.results()
    measured = result.measurement
    assert measured is not None
    assert measured.speedup.value == pytest.approx(2.0, rel=0.05)
    assert measured.speedup.low <= measured.speedup.value <= measured.speedup.high
    assert measured.verdict == "faster"
    assert [one.rounds for one in measured.replicates] == [1, 1]
    assert measured.latency_p50_ms == pytest.approx(10, rel=0.1)
    assert measured.throughput.value == pytest.approx(8 / 0.010, rel=0.1)
    assert result.accuracy is not None
    assert (result.accuracy.agreement_top1, result.accuracy.flips) == (1, 0)


def test_a_baseline_that_lies_is_refused(run_program: RunProgram):
    """A speedup over a baseline that did not run as requested is not a valid number."""
    done = run_program(*FAKE, 'baseline=["backend=fake","backend.options.fault=lie"]')
    [result] = done.results()
    assert result.status is Status.invalid
    assert result.reason.startswith("its baseline: precision: requested int8")
    assert (result.shown, result.accuracy, result.measurement) == (None, None, None)
    assert (done.run_folder() / "rounds.csv").read_text().count("\n") == 2


def test_the_reference_must_be_fp32(run_program: RunProgram):
    """The truth for accuracy cannot be int8; a mistake in the overrides of a role is named by the role."""
    done = run_program(*FAKE, 'reference=["precision=int8"]')
    assert done.code == 2
    assert "reference: received" in done.err
    assert "precision=fp32" in done.err
    done = run_program(*FAKE, 'baseline=["backend=opnvino"]')
    assert done.code == 2
    assert "baseline: backend: received 'opnvino'" in done.err


def test_openmp_settings_are_refused_where_nothing_would_read_them(run_program: RunProgram):
    """A row must not claim what had nothing to act on."""
    done = run_program(*FAKE, "threading=active_wait")
    assert done.results()[0].status is Status.unsupported
    assert "does not use" in done.results()[0].reason


def test_run_folder_holds_the_whole_story(run_program: RunProgram):
    """Configuration, launch, evidence, rounds, raw stamps and result."""
    done = run_program(*FAKE)
    folder = done.run_folder()
    [launch] = json.loads((folder / "launch-candidate.json").read_text())
    assert launch["job"]["engine"]["backend"] == "fake"
    assert not {"LD_PRELOAD", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE"} & set(launch["env"])
    knobs = {entry["knob"]: entry["state"] for entry in json.loads((folder / "evidence.json").read_text())}
    assert knobs["allocator"] == knobs["affinity"] == "verified"
    rounds = (folder / "rounds.csv").read_text().splitlines()
    [result] = done.results()
    assert result.measurement is not None
    assert len(rounds) == 1 + result.measurement.rounds
    with np.load(folder / "stamps_ns.npz") as stamps:
        assert len(stamps.files) == 4 * result.measurement.rounds
        assert all((np.diff(stamps[name]) > 0).all() for name in stamps.files)
    assert "goes to the log" in (folder / "candidate.log").read_text()
    assert "goes to the log" not in done.out + done.err


def test_rows_share_the_processes_of_their_baseline(run_program: RunProgram):
    """Three runs against one baseline: it is started once per replicate, and all are compared with one another."""
    done = run_program(*FAKE, "backend.options.batch_s=0.010,0.020,0.040", "measure.slice_s=0.2")
    sweep = max((done.output_dir / "sweeps").iterdir())
    logs = {path.parent.name[:3]: path.read_text().count("goes to the log") for path in sweep.glob("*/candidate.log")}
    assert logs == {"001": 2, "002": 2, "003": 2}
    [log] = sweep.glob("*/baseline.log")
    assert log.read_text().count("goes to the log") == 2
    [block] = {result.measurement.block for result in done.results()}
    assert re.fullmatch("01-[0-9a-f]{8}", block)  # a name that no other session gives
    assert len({path.read_bytes() for path in sweep.glob("*/launch-baseline.json")}) == 1
    assert len(list(sweep.glob("*/launch-baseline.json"))) == 3
    found = re.search(r"it beats the next, batch_s=0.02, by ([0-9.]+)× .*, side by side", done.out)
    assert found is not None, done.out
    assert float(found[1]) == pytest.approx(2, rel=0.1)


def test_a_large_sweep_compares_its_baseline_with_itself(run_program: RunProgram):
    """With more than five rows: a second process of the baseline, whose speedup is 1."""
    batches = ",".join(f"0.01{place}" for place in range(6))
    done = run_program(*FAKE, f"backend.options.batch_s={batches}", "measure.slice_s=0.1")
    assert done.code == 0, done.err
    [line] = [line for line in done.out.splitlines() if line.startswith("A/A: ")]
    assert re.match(r"A/A: the baseline over itself is (0\.9|1\.0)\d+× ", line), line


def test_publish_draws_another_layout_for_each_process(run_program: RunProgram):
    """Eight replicates of three rounds, and no fixed address layout."""
    overrides = [word for word in FAKE if word not in ("measure=quick", "measure.replicates=2", "measure.rounds=1")]
    done = run_program(*overrides, "measure=publish")
    [result] = done.results()
    assert [one.rounds for one in result.measurement.replicates] == [3] * 8
    [launch] = json.loads((done.run_folder() / "launch-candidate.json").read_text())
    assert launch["job"]["expectations"]["layout"] == "random"


def test_a_late_failure_keeps_what_was_measured(run_program: RunProgram):
    """Evaluation fails after the rounds: the run has its speedup, and says why there is no accuracy."""
    done = run_program(*FAKE, "backend.options.fault=answers")
    [result] = done.results()
    assert done.code == 1
    assert (result.status, result.accuracy) == (Status.ok, None)
    assert result.shown is not None
    assert result.accuracy_failure == "crashed: died by SIGSEGV: fake: this line goes to the log, not to the channel"
    assert "no accuracy: crashed: died by SIGSEGV" in done.out


@pytest.mark.parametrize("order", ["sweep", "single"])
def test_mistakes_stop_everything_before_the_first_launch(run_program: RunProgram, order):
    """Exit code 2, one line each, no traceback, nothing in the output folder."""
    sweep = ["batch_size=4,0"] if order == "sweep" else ["batch_size=0"]
    done = run_program(*FAKE, *sweep, "measure.rounds=0")
    assert done.code == 2
    assert "2 mistakes in the configuration, nothing was launched:" in done.err
    assert "batch_size: received 0; allowed: 1 or more" in done.err
    assert "Traceback" not in done.err
    assert not list(done.output_dir.glob("sweeps/*/*/result.json"))


def test_yaml_with_a_syntax_error_names_file_and_line(run_program: RunProgram, tmp_path):
    """A broken file of the user's own."""
    (tmp_path / "conf" / "backend").mkdir(parents=True)
    (tmp_path / "conf" / "backend" / "broken.yaml").write_text("name: torch\noptions: [1,\n")
    done = subprocess.run(
        [sys.executable, "-m", "runner", "--config-dir", str(tmp_path / "conf"), "backend=broken"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "broken.yaml, line 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_labels_tell_what_differs():
    """Choices by their names, numbers with theirs, nothing that all runs share or that follows from a choice."""
    torch = {"backend.name": "torch", "backend.openmp": True, "batch_size": 8}
    ort = {"backend.name": "ort", "backend.openmp": False, "batch_size": 8}
    assert distinct_labels([torch, ort]) == ["torch", "ort"]
    assert distinct_labels([torch, torch | {"batch_size": 16}]) == ["batch_size=8", "batch_size=16"]
    assert distinct_labels([ort, ort | {"backend.options.x": 1}, torch]) == ["ort", "ort x=1", "torch"]
    assert distinct_labels([torch]) == [""]
    assert distinct_labels([torch, torch]) == ["", ""]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["ok", "unsupported", "unavailable"], 0),
        (["ok", "failed"], 1),
        (["invalid"], 1),
        (["crashed", "ok"], 1),
        (["timeout"], 1),
    ],
)
def test_exit_codes(statuses, code):
    """Only statuses without a defect end in 0."""
    ended: Any = [SimpleNamespace(is_harmless=Status(status) in HARMLESS) for status in statuses]
    assert exit_code(ended) == code
