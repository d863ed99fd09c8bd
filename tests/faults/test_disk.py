"""A full disk: from any write on, at one write, for the database, and for standard output."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from runner.paths import PROJECT
from runner.results.status import Status
from tests.faults.conftest import FaultInjector, contents, faults, results

ONE = faults("batch_s: 0.001")
TWO = faults("fault: unsupported, at: init", "batch_s: 0.002")
STATUSES = [Status.unsupported, Status.ok]


def test_full_from_every_write_on(injector: FaultInjector, tmp_path):
    """It is reported without a traceback (every fifth write is tried); with free space one command continues."""
    for number, (nth, step) in enumerate(injector.steps(TWO)[::5]):
        outputs = tmp_path / f"{nth:03d}"
        done = injector.run(outputs, TWO, action="full", nth=nth)
        where = f"{step}: {done.stdout} {done.stderr}"
        assert done.returncode in (0, 1, 2), where
        assert "Traceback" not in done.stdout + done.stderr, where
        assert "No space left on device" in done.stdout + done.stderr, where
        before = contents(outputs)
        started = list(outputs.glob("sweeps/*/0*"))
        assert done.returncode != 0 or len(before) == 2, where
        if started and len(before) < 2 and number % 3 == 0:
            again = injector.resume(outputs)
            assert again.returncode == 0, f"{where} {again.stderr}"
            assert [result.status for result in results(outputs)] == STATUSES, where
            assert before.items() <= contents(outputs).items(), where


@pytest.mark.parametrize(
    "what", ["rounds.csv", ".checkpoint.json", ".evidence.json", ".result.json", "config.yaml", "table.md"]
)
def test_full_for_a_moment(injector: FaultInjector, tmp_path, what):
    """One row may fail; no measured number is lost, and the sweep continues."""
    nth = next(number for number, step in injector.steps(TWO) if step.startswith(f"open {what}"))
    done = injector.run(tmp_path / "outputs", TWO, action="once", nth=nth)
    failed = what == "config.yaml"
    assert [result.status for result in results(tmp_path / "outputs")] == [
        Status.unsupported,
        Status.failed if failed else Status.ok,
    ]
    assert done.returncode == (1 if failed else 0), done.stderr
    assert "No space left on device" in done.stdout + done.stderr


def test_full_under_the_database(injector: FaultInjector, tmp_path):
    """Recording stops with one line that names `runner sync`; the runs are unaffected."""
    (tmp_path / "outputs").mkdir()
    done = subprocess.run(
        injector.command(tmp_path / "outputs", TWO, "tracking=mlflow"),
        cwd=PROJECT, env=injector._environment, capture_output=True, text=True, check=False, timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("runner sync ") == 1, done.stdout
    assert [result.status for result in results(tmp_path / "outputs")] == STATUSES
    assert "Traceback" not in done.stdout + done.stderr


def test_full_under_standard_output(injector: FaultInjector, tmp_path):
    """Nothing is shown, every result is in its folder, and standard error has the reason."""
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            injector.command(outputs, ONE), cwd=PROJECT, env=injector._environment,
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert [result.status for result in results(outputs)] == [Status.ok]
