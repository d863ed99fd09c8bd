"""What the fault tests share: whoever is left behind is found, and the program is struck at a chosen write."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.config import PROJECT
from runner.family import FAMILY_VARIABLE
from runner.result import RESULT_FILE, Result, load
from tests.conftest import FAKE, TESTS

STRUCK = Path(__file__).with_name("struck.py")
PATIENCE_S = 20


def family() -> list[str]:
    """Return every process that a sweep has started, in any state, and every zombie of this process."""
    found = []
    for process in psutil.process_iter(["pid", "name", "status", "cmdline", "ppid"]):
        try:
            marked = FAMILY_VARIABLE in process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            marked = False
        words = " ".join(process.info["cmdline"] or [])
        orphan = process.info["status"] == psutil.STATUS_ZOMBIE and process.info["ppid"] in (1, psutil.Process().pid)
        if marked or "runner/family.py" in words or (orphan and process.info["name"] in ("python", "python3", "sh")):
            found.append(f"{process.info}")
    return found


def wait_until_nobody_is_left() -> list[str]:
    """Return who is still there when the patience has ended: what ends a killed host's family needs a moment."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := family()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """No test leaves a process: running, frozen, orphaned or as a zombie."""
    before = family()
    yield
    left = [one for one in wait_until_nobody_is_left() if one not in before]
    assert left == []


def faults(*options: str) -> str:
    """Return the override that sweeps the fake backend's options."""
    return "backend.options=" + ",".join("{" + option + "}" for option in options)


class Struck:
    """Runs the program, and strikes it at a write."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def command(self, outputs: Path, *arguments: str, action: str = "none", nth: int = 0) -> list[str]:
        own = ["--config-dir", str(TESTS / "conf"), *FAKE, f"output_dir={outputs}", *arguments]
        return [sys.executable, str(STRUCK), action, str(nth), str(outputs), *own]

    def run(
        self, outputs: Path, *arguments: str, action: str = "none", nth: int = 0
    ) -> subprocess.CompletedProcess[str]:
        outputs.mkdir(exist_ok=True)
        return subprocess.run(
            self.command(outputs, *arguments, action=action, nth=nth),
            cwd=PROJECT, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def resume(self, outputs: Path) -> subprocess.CompletedProcess[str]:
        """Give the command that goes on, and nothing else."""
        return subprocess.run(
            [sys.executable, "-m", "runner", "resume=true", f"output_dir={outputs}"],
            cwd=PROJECT, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def writes(self, *arguments: str) -> list[str]:
        """Return what an undisturbed run writes, in order."""
        done = self.run(self._folder / "undisturbed", *arguments, action="list")
        assert done.returncode == 0, done.stderr
        written: list[str] = json.loads(done.stderr.splitlines()[-1])
        return written


@pytest.fixture
def struck(environment, tmp_path) -> Struck:
    """Return what strikes."""
    return Struck(environment, tmp_path)


def results(outputs: Path) -> list[Result]:
    """Return the results of the only sweep, in order."""
    [sweep] = (outputs / "sweeps").iterdir()
    return [load(path) for path in sorted(sweep.glob(f"*/{RESULT_FILE}"))]


def contents(outputs: Path) -> dict[str, Any]:
    """Return the bytes of every result, by its run's folder."""
    return {path.parent.name: path.read_bytes() for path in outputs.glob(f"sweeps/*/*/{RESULT_FILE}")}
