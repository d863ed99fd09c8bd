"""One measurement at a time on a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.machine import lock
from runner.machine.lock import MachineBusy, measurement_lock
from runner.paths import PROJECT
from tests.conftest import FAKE, TESTS


def never(line: str) -> None:
    raise AssertionError(line)


def test_the_lock_is_held_and_released(tmp_path):
    """A second holder is refused with the process id of the first; after release the lock is free."""
    path = tmp_path / "lock"
    with measurement_lock(wait=False, report=never, path=path):
        assert path.read_text().strip() == str(os.getpid())
        with (
            pytest.raises(MachineBusy, match=rf"process {os.getpid()} is measuring on this machine.*: add wait=true"),
            measurement_lock(wait=False, report=never, path=path),
        ):
            pass
    with measurement_lock(wait=False, report=never, path=path):
        pass


def test_another_sweep_is_refused_or_waits(environment, tmp_path):
    """It ends with exit code 2 and one line; with wait=true it starts when the holder ends."""
    lock = Path(environment["RUNNER_LOCK"])
    command = [sys.executable, "-m", "runner", "--config-dir", str(TESTS / "conf"), *FAKE, f"output_dir={tmp_path}"]
    with measurement_lock(wait=False, report=never, path=lock):
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert line.startswith(f"nothing was launched: process {os.getpid()} is measuring on this machine")
        assert not (tmp_path / "sweeps").exists()
        waiting = subprocess.Popen(
            [*command, "wait=true"], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout is not None
        assert f"waiting for process {os.getpid()}" in waiting.stdout.readline()
        assert waiting.poll() is None
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0


def test_a_wait_has_a_bound(tmp_path, monkeypatch):
    """It is named before the wait and after it."""
    monkeypatch.setattr(lock, "POLL_S", 0.01)
    said: list[str] = []
    with (
        lock.measurement_lock(wait=False, report=said.append, path=tmp_path / "lock"),
        pytest.raises(lock.MachineBusy, match=f"process {os.getpid()} still measured on this machine after"),
        lock.measurement_lock(wait=True, report=said.append, path=tmp_path / "lock", max_wait_s=0.13),
    ):
        pytest.fail("it was taken twice")
    assert said == [f"waiting for process {os.getpid()}, which is measuring on this machine, at most 3.61e-05 h"]


def test_a_lock_that_another_user_is_just_making(tmp_path, monkeypatch):
    """Its permissions are set a moment after it was made: opening is tried again."""
    path, opened, refusals = tmp_path / "lock", os.open, [PermissionError(13, "denied")] * 3
    path.touch()

    def open_later(*arguments):
        if refusals:
            raise refusals.pop()
        return opened(*arguments)

    monkeypatch.setattr(lock.os, "open", open_later)
    with lock.measurement_lock(wait=False, report=pytest.fail, path=path):
        assert path.read_text() == f"{os.getpid()}\n"
