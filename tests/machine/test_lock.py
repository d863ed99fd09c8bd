"""One measurement at a time on a machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
        time.sleep(3)
        assert waiting.poll() is None
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert f"waiting for process {os.getpid()}" in out
