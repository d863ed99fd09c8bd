"""The harness as a whole, over a runtime that sleeps: statuses, records, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from runner.config import PROJECT
from runner.plans import distinct_labels
from runner.result import Status
from runner.sweep import exit_code
from tests.conftest import FAKE, TESTS, RunProgram, start_program


def workers() -> list[psutil.Process]:
    """Return every worker process there is, frozen and dying ones too."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "runner.worker" in " ".join(process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """No test leaves a worker: running, frozen or as a zombie."""
    assert workers() == []
    yield
    assert workers() == []


def faults(*options: str) -> str:
    """Return the override that sweeps the fake backend's options."""
    return "backend.options=" + ",".join("{" + option + "}" for option in options)


def test_every_fault_is_a_row_of_its_own_and_the_sweep_goes_on(run_program: RunProgram):
    """A worker that raises, dies, aborts, hangs, lies or answers nonsense ends its run only."""
    cases = {
        "batch_s: 0.001": (Status.ok, ""),
        "fault: raise": (Status.failed, "ValueError: the fake was told to fail"),
        "fault: kill": (Status.crashed, "died by SIGKILL"),
        "fault: abort": (Status.crashed, "died by SIGABRT: free(): invalid pointer"),
        "fault: exit": (Status.failed, "ended with exit code 3"),
        "fault: kill, at: step": (Status.crashed, "died by SIGKILL"),
        "fault: hang": (Status.timeout, "no answer within 4 s"),
        "fault: missing": (Status.unavailable, "nowhere is not installed: run make setup"),
        "fault: unsupported, at: init": (Status.unsupported, "take precision=fp32"),
        "fault: lie": (Status.invalid, "precision: asked int8, observed fp32"),
        "fault: not a number": (Status.invalid, "4 of 320 logits are NaN or infinite"),
        "fault: constant": (Status.invalid, "all samples have the same logits"),
        "batch_s: 0.003": (Status.ok, ""),
    }
    done = run_program(*FAKE, faults(*cases), "measure.prepare_timeout_s=4")
    assert done.code == 1, done.err
    results = done.results()
    assert [result.status for result in results] == [status for status, _ in cases.values()]
    for result, (_, reason) in zip(results, cases.values(), strict=True):
        assert reason in result.reason
        assert (result.shown is not None) == (result.status is Status.ok)
        assert "\n" not in result.reason
    assert "crashed: died by SIGABRT: free(): invalid pointer" in done.out
    assert "Traceback" not in done.out + done.err


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
    assert measured.latency_p50_ms == pytest.approx(10, rel=0.1)
    assert measured.throughput.value == pytest.approx(8 / 0.010, rel=0.1)
    assert result.accuracy is not None
    assert (result.accuracy.agreement_top1, result.accuracy.flips) == (1, 0)


def test_a_baseline_that_fails_is_named(run_program: RunProgram):
    """The run's status is the baseline's, and the reason says whose it is."""
    done = run_program(*FAKE, 'baseline=["backend=fake","backend.options.fault=abort"]')
    assert done.code == 1
    assert done.results()[0].status is Status.crashed
    assert done.results()[0].reason.startswith("its baseline: died by SIGABRT")


def test_a_baseline_that_dies_between_rounds_is_named(run_program: RunProgram):
    """The candidate is not blamed for it."""
    done = run_program(*FAKE, 'baseline=["backend=fake","backend.options.fault=kill","backend.options.at=step"]')
    assert done.results()[0].reason.startswith("its baseline: died by SIGKILL")


def test_a_baseline_that_lies_is_refused(run_program: RunProgram):
    """A speedup over a baseline that did not run as asked is no number."""
    done = run_program(*FAKE, 'baseline=["backend=fake","backend.options.fault=lie"]')
    [result] = done.results()
    assert result.status is Status.invalid
    assert result.reason.startswith("its baseline: precision: asked int8")
    assert (result.shown, result.accuracy) == (None, None)
    assert result.measurement is not None


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
    assert launch["job"]["backend"] == "fake"
    assert not {"LD_PRELOAD", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE"} & set(launch["env"])
    knobs = {entry["knob"]: entry["state"] for entry in json.loads((folder / "evidence.json").read_text())}
    assert knobs["allocator"] == knobs["affinity"] == "verified"
    rounds = (folder / "rounds.csv").read_text().splitlines()
    [result] = done.results()
    assert result.measurement is not None
    assert len(rounds) == 1 + result.measurement.rounds
    with np.load(folder / "stamps_ns.npz") as stamps:
        assert len(stamps.files) == 2 * result.measurement.rounds
        assert all((np.diff(stamps[name]) > 0).all() for name in stamps.files)
    assert "goes to the log" in (folder / "candidate.log").read_text()
    assert "goes to the log" not in done.out + done.err


def test_baseline_worker_is_kept_across_the_runs_of_a_sweep(run_program: RunProgram):
    """Three runs against one baseline: it is started once, where each run measures one process pair."""
    done = run_program(*FAKE, "backend.options.batch_s=0.001,0.002,0.003")
    sweep = max((done.output_dir / "sweeps").iterdir())
    assert len(list(sweep.glob("*/candidate.log"))) == 3
    assert len(list(sweep.glob("*/baseline.log"))) == 1


def test_publish_measures_fresh_process_pairs(run_program: RunProgram):
    """Three pairs at least, no worker kept from one to the next, and the interval counts processes."""
    overrides = [word for word in FAKE if word != "measure=quick"]
    done = run_program(*overrides, "measure=publish", "measure.rounds_min=2", "measure.rounds_max=2",
                       "measure.processes_max=4", "measure.goal=0.0001")  # fmt: skip
    [result] = done.results()
    assert result.measurement is not None
    assert (result.measurement.processes, result.measurement.rounds) == (4, 8)
    assert (done.run_folder() / "baseline.log").read_text().count("goes to the log") == 4


@pytest.mark.parametrize("order", ["sweep", "single"])
def test_mistakes_stop_everything_before_the_first_launch(run_program: RunProgram, order):
    """Exit code 2, one line each, no traceback, nothing in the output folder."""
    sweep = ["batch_size=4,0"] if order == "sweep" else ["batch_size=0"]
    done = run_program(*FAKE, *sweep, "measure.goal=-1")
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


def test_interrupt_stops_the_sweep_and_every_process(environment, tmp_path):
    """Ctrl-C: exit code 130, the run is there as interrupted, the ones before it as they were."""
    arguments = [*FAKE, faults("batch_s: 0.001", "fault: hang", "batch_s: 0.002"), f"output_dir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "--config-dir", str(TESTS / "conf"), *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("sweeps/*/002_*/candidate.log")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    statuses = [json.loads(path.read_text())["status"] for path in sorted(tmp_path.glob("sweeps/*/*/result.json"))]
    assert statuses == ["ok", "interrupted"]
    assert "stopped by the person; 1 more were not begun" in out


@pytest.mark.parametrize("launcher", [[], ["threading=xeon_run_cpu", "backend.openmp=true"]], ids=["plain", "launcher"])
def test_workers_die_with_the_host(environment, tmp_path, launcher):
    """The host is killed without a chance to clean up: no worker survives it, nor a launcher that stands between."""
    arguments = [*FAKE, *launcher, faults("fault: hang, at: step"), f"output_dir={tmp_path}"]
    process = start_program(environment, *arguments)
    deadline = time.monotonic() + 60
    while not workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers() == []


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
    """As DESIGN.md has them."""

    class Ended:
        def __init__(self, status):
            self.status = Status(status)

    assert exit_code([Ended(status) for status in statuses]) == code
