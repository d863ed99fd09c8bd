"""The host is killed at every step, terminated or interrupted: no process remains, no result is lost, resume works."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from runner.measuring.round_log import CHECKPOINT_FILE
from runner.results.files import RESULT_FILE
from runner.results.status import Status
from runner.results.store import PLAN_FILE
from runner.tracking.reader import read_recorded
from tests.faults.conftest import FaultInjector, contents, faults, results, wait_until_all_ended

TWO = faults("batch_s: 0.001", "batch_s: 0.002")
BRIEF_TWO = faults("fault: unsupported, at: init", "batch_s: 0.002")
WAIT_S = 60


def test_killed_at_every_step_of_a_sweep(injector: FaultInjector, tmp_path):
    """No process survives SIGKILL at a write (every fifth is tried), and resume finishes the sweep (every tenth)."""
    for number, (nth, step) in enumerate(injector.steps(BRIEF_TWO)[::5]):
        outputs = tmp_path / f"{nth:03d}"
        killed = injector.run(outputs, BRIEF_TWO, action="kill", nth=nth)
        assert killed.returncode == -signal.SIGKILL, step
        assert wait_until_all_ended() == [], step
        before = contents(outputs)
        if number % 2 or not list(outputs.glob(f"sweeps/*/{PLAN_FILE}")):
            continue  # or there is no plan to resume yet
        finished = len(before) == 2  # only the closing table was missing
        done = injector.resume(outputs)
        assert done.returncode == (2 if finished else 0), (step, done.stderr, done.stdout)
        assert [result.status for result in results(outputs)] == [Status.unsupported, Status.ok], step
        assert before.items() <= contents(outputs).items(), step  # existing results were not measured again


def wait_for(outputs: Path, pattern: str) -> None:
    """Block until a file exists."""
    deadline = time.monotonic() + WAIT_S
    while not list(outputs.glob(pattern)):
        assert time.monotonic() < deadline, pattern
        time.sleep(0.02)


def wait_for_text(outputs: Path, pattern: str, text: str) -> None:
    """Block until a file contains a text."""
    wait_for(outputs, pattern)
    deadline = time.monotonic() + WAIT_S
    while text not in next(outputs.glob(pattern)).read_text(errors="replace"):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (signal.SIGKILL, "fault: hang, at: step"),
        (signal.SIGKILL, "fault: children"),
        (signal.SIGTERM, "fault: children, at: step"),
    ],
)
def test_a_host_that_ends_while_its_worker_hangs(injector: FaultInjector, tmp_path, number, fault):
    """The worker, its frozen baseline and children in other sessions end too."""
    outputs = tmp_path / "outputs"
    host = injector.start(outputs, faults("batch_s: 0.001", fault))
    wait_for_text(outputs, "sweeps/*/002_*/candidate.log", "fake: this line")
    if "step" in fault:
        wait_for(outputs, "sweeps/*/001_*/baseline.log")
        time.sleep(1)
    host.send_signal(number)
    host.communicate(timeout=WAIT_S)
    assert host.returncode == (130 if number == signal.SIGTERM else -number)
    assert wait_until_all_ended() == []
    # The rows are measured side by side: a host that can still write says that both were interrupted.
    saved = [Status.interrupted] * 2 if number == signal.SIGTERM else []
    assert [result.status for result in results(outputs)] == saved


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param([], id="plain"),
        # The launcher takes cores from the first on, whichever this process may use.
        pytest.param(["threading=xeon_run_cpu", "backend.openmp=true"], id="launcher", marks=pytest.mark.alone),
    ],
)
def test_workers_die_with_the_host(injector: FaultInjector, tmp_path, launcher):
    """A launcher between host and worker ends too."""
    outputs = tmp_path / "outputs"
    host = injector.start(outputs, *launcher, faults("fault: hang, at: step"))
    wait_for_text(outputs, "sweeps/*/001_*/candidate.log", "fake: this line")
    os.kill(host.pid, signal.SIGKILL)
    host.communicate(timeout=WAIT_S)
    assert wait_until_all_ended() == []


def test_first_interrupt_finishes_the_slice_and_saves(injector: FaultInjector, tmp_path):
    """The exit code is 130, the row is interrupted by the user, and resume measures it again."""
    outputs = tmp_path / "outputs"
    cases = faults("fault: unsupported", "batch_s: 0.01", "fault: unsupported, at: init")
    host = injector.start(outputs, cases, "measure.slice_s=1", "measure.warmup_s=0.1")
    wait_for_text(outputs, "sweeps/*/*/baseline.log", "fake: this line")
    time.sleep(1)  # wait until slices are measured
    host.send_signal(signal.SIGINT)
    out, err = host.communicate(timeout=WAIT_S)
    assert host.returncode == 130, err
    assert "finishing this slice" in err
    statuses = [Status.unsupported, Status.interrupted, Status.unsupported]
    assert [result.status for result in results(outputs)] == statuses
    assert results(outputs)[1].reason == "interrupted by the user"
    assert "to continue: runner resume " in out
    before = contents(outputs)
    done = injector.resume(outputs)
    assert done.returncode == 0, done.stderr
    assert [result.status for result in results(outputs)] == [Status.unsupported, Status.ok, Status.unsupported]
    assert contents(outputs)[min(before)] == before[min(before)]


def test_second_interrupt_ends_at_once(injector: FaultInjector, tmp_path):
    """It does not wait for a slice of an hour; no process remains, and finished results exist."""
    outputs = tmp_path / "outputs"
    host = injector.start(outputs, faults("batch_s: 0.001", "batch_s: 3600"), "measure.request_timeout_s=4000")
    wait_for_text(outputs, "sweeps/*/002_*/candidate.log", "fake: this line")
    time.sleep(1)
    host.send_signal(signal.SIGINT)
    time.sleep(0.3)
    host.send_signal(signal.SIGINT)
    host.communicate(timeout=WAIT_S)
    assert host.returncode == 130
    assert [result.status for result in results(outputs)] == [Status.interrupted] * 2


def test_a_resumed_row_continues_with_the_next_replicate(injector: FaultInjector, tmp_path):
    """Killed in its third replicate of four, it measures the third and the fourth only."""
    outputs = tmp_path / "outputs"
    host = injector.start(outputs, "backend.options.batch_s=0.01", "measure.replicates=4", "measure.slice_s=0.5")
    wait_for(outputs, f"sweeps/*/001_*/{CHECKPOINT_FILE}")
    [checkpoint] = outputs.glob(f"sweeps/*/001_*/{CHECKPOINT_FILE}")
    deadline = time.monotonic() + WAIT_S
    while {one["replicate"] for one in json.loads(checkpoint.read_text())["rounds"]} != {0, 1}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kept = json.loads(checkpoint.read_text())["rounds"]
    os.kill(host.pid, signal.SIGKILL)
    host.communicate(timeout=WAIT_S)
    assert wait_until_all_ended() == []
    done = injector.resume(outputs)
    assert done.returncode == 0, done.stderr
    [result] = results(outputs)
    assert [one.number for one in result.measurement.replicates] == [0, 1, 2, 3]
    with np.load(checkpoint.with_name("stamps_ns.npz")) as stamps:  # the first two are the very same rounds
        assert stamps["candidate_001_forward"].tolist() == kept[1]["candidate"][0]["parts"][0]["stamps_ns"][0]
    assert not checkpoint.exists()
    log = checkpoint.with_name("candidate.log").read_text()
    assert log.count("goes to the log") in (4, 5)  # the third may have started before the kill


def test_a_damaged_checkpoint_is_ignored(injector: FaultInjector, tmp_path):
    """All replicates are measured again."""
    outputs = tmp_path / "outputs"
    host = injector.start(outputs, "backend.options.batch_s=0.01", "measure.replicates=3", "measure.slice_s=0.5")
    wait_for(outputs, f"sweeps/*/001_*/{CHECKPOINT_FILE}")
    os.kill(host.pid, signal.SIGKILL)
    host.communicate(timeout=WAIT_S)
    [checkpoint] = outputs.glob(f"sweeps/*/001_*/{CHECKPOINT_FILE}")
    os.truncate(checkpoint, 99)
    done = injector.resume(outputs)
    assert done.returncode == 0, done.stderr
    [result] = results(outputs)
    assert [one.number for one in result.measurement.replicates] == [0, 1, 2]


def test_a_truncated_result_is_reported_and_measured_again(injector: FaultInjector, tmp_path):
    """A power loss can truncate a file."""
    outputs = tmp_path / "outputs"
    assert injector.run(outputs, TWO).returncode == 0
    first, second = sorted(outputs.glob(f"sweeps/*/*/{RESULT_FILE}"))
    os.truncate(second, second.stat().st_size // 2)
    untouched = first.read_bytes()
    done = injector.resume(outputs)
    assert done.returncode == 0, done.stderr
    assert f"{second.parent.name}: {RESULT_FILE} cannot be read" in done.stdout
    assert [result.status for result in results(outputs)] == [Status.ok] * 2
    assert first.read_bytes() == untouched


def test_a_truncated_plan_cannot_be_resumed(injector: FaultInjector, tmp_path):
    """It is reported, and finished rows are kept."""
    outputs = tmp_path / "outputs"
    assert injector.run(outputs, TWO).returncode == 0
    [plan] = outputs.glob(f"sweeps/*/{PLAN_FILE}")
    os.truncate(plan, 40)
    before = contents(outputs)
    done = injector.resume(outputs)
    assert done.returncode == 2
    assert "resume: received 'true'" in done.stderr
    assert contents(outputs) == before


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_a_clock_that_is_set_back_changes_no_number(injector: FaultInjector, tmp_path):
    """Two hours back while runs are measured: durations and the order of the rows are correct."""
    outputs = tmp_path / "outputs"
    done = injector.run(outputs, TWO, "tracking=mlflow", action="clock", nth="os.mkdir 002_")
    assert done.returncode == 0, done.stderr
    first, second = results(outputs)
    assert max(first.ended_at, second.ended_at) < time.time() - 7000
    assert 0 < first.wall_s < 600
    assert 0 < second.wall_s < 600
    _, rows = read_recorded(f"sqlite:///{outputs / 'mlflow.db'}", "runner", None)
    assert rows["tags.label"].tolist() == [first.label, second.label]


def test_plan_is_on_the_disk_before_the_first_run(injector: FaultInjector, tmp_path):
    """It contains the fingerprint of every run and the command that started the sweep."""
    outputs = tmp_path / "outputs"
    assert injector.run(outputs, BRIEF_TWO).returncode == 0
    writes = injector.writes(BRIEF_TWO)
    planned = next(number for number, what in enumerate(writes) if what.startswith("os.rename .plan.json"))
    assert planned < next(number for number, what in enumerate(writes) if what.startswith("os.mkdir 001_"))
    [plan] = outputs.glob(f"sweeps/*/{PLAN_FILE}")
    stored = json.loads(plan.read_text())
    assert [run["fingerprint"] for run in stored["runs"]] == [result.fingerprint for result in results(outputs)]
    assert BRIEF_TWO in stored["command"]["overrides"]
