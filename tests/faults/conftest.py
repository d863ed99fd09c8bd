"""What the fault tests share: whoever is left behind is found, and the program is struck at a chosen write."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from runner.paths import PROJECT
from runner.processes.process_tree import tagged_processes
from runner.results.files import RESULT_FILE, load
from runner.results.result import Result
from tests.conftest import FAKE, TEST_TAG, TESTS, share_cache

STRUCK = Path(__file__).with_name("struck.py")
MAX_WAIT_S = 20
BRIEF = (*FAKE, "measure.rounds_min=2", "measure.rounds_max=2")
"""What is measured does not matter in these tests."""


def family() -> list[str]:
    """Return every process that a sweep of these tests has started, in any state, and every zombie of this process."""
    marked, found = tagged_processes(TEST_TAG), []
    for process in psutil.process_iter(["pid", "name", "status", "cmdline", "ppid"]):
        words = " ".join(process.info["cmdline"] or [])
        orphan = process.info["status"] == psutil.STATUS_ZOMBIE and process.info["ppid"] in (1, os.getpid())
        if (
            process.info["pid"] in marked
            or f"runner/processes/process_tree.py {TEST_TAG}" in words
            or (orphan and process.info["name"] in ("python", "python3", "sh"))
        ):
            found.append(f"{process.info}")
    return found


def wait_until_nobody_is_left() -> list[str]:
    """Return who is still there when the patience has ended: what ends a killed host's family needs a moment."""
    deadline = time.monotonic() + MAX_WAIT_S
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

    _known: ClassVar[dict[tuple[str, ...], list[str]]] = {}

    def __init__(self, environment: dict[str, str], folder: Path, artifacts: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._artifacts = artifacts
        self._begun: list[subprocess.Popen[str]] = []

    def command(self, outputs: Path, *arguments: str, action: str = "none", nth: int | str = 0) -> list[str]:
        own = ["--config-dir", str(TESTS / "conf"), *BRIEF, f"output_dir={outputs}", *arguments]
        return [sys.executable, str(STRUCK), action, str(nth), str(outputs), *own]

    def run(
        self, outputs: Path, *arguments: str, action: str = "none", nth: int | str = 0
    ) -> subprocess.CompletedProcess[str]:
        share_cache(outputs, self._artifacts)  # making artifacts is not what is struck
        return subprocess.run(
            self.command(outputs, *arguments, action=action, nth=nth),
            cwd=PROJECT, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def begin(self, outputs: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a sweep in the background, which hears Ctrl-C even where these tests themselves must not."""
        share_cache(outputs, self._artifacts)
        host = subprocess.Popen(
            self.command(outputs, *arguments), cwd=PROJECT, env=self._environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no thread runs here
        )  # fmt: skip
        self._begun.append(host)
        return host

    def end(self) -> None:
        """End whatever a failed test has left."""
        for host in self._begun:
            with host:
                host.kill()

    def resume(self, outputs: Path) -> subprocess.CompletedProcess[str]:
        """Give the command that continues, and nothing else."""
        return subprocess.run(
            [sys.executable, "-m", "runner", "resume=true", f"output_dir={outputs}"],
            cwd=PROJECT, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def writes(self, *arguments: str) -> list[str]:
        """Return what an undisturbed run writes, in order; it is made once for all tests."""
        if arguments not in self._known:
            done = self.run(self._folder / "undisturbed", *arguments, action="list")
            assert done.returncode == 0, done.stderr
            self._known[arguments] = json.loads(done.stderr.splitlines()[-1])
        return self._known[arguments]

    def steps(self, *arguments: str) -> list[tuple[int, str]]:
        """Return the number and the name of every write that is a step of its own: the sweep's and its last run's.

        A file is renamed into place right after it was written, so that renaming is a step of the plan's and the
        result's only, by which they come to be.
        """
        writes = self.writes(*arguments)
        runs = [number for number, what in enumerate(writes) if re.match(r"os.mkdir 0\d\d_", what)]
        first = runs[0]
        last = next(number for number in runs if writes[number] == writes[runs[-1]])
        found: dict[str, int] = {}
        for number, what in enumerate(writes):
            renamed = what.startswith("os.rename") and "plan" not in what and "result" not in what
            if (number < first or number >= last) and not renamed:
                found.setdefault(what, number + 1)
        return [(nth, what) for what, nth in found.items()]


@pytest.fixture
def struck(environment, tmp_path, artifacts) -> Iterator[Struck]:
    """Give what strikes."""
    found = Struck(environment, tmp_path, artifacts)
    yield found
    found.end()


def results(outputs: Path) -> list[Result]:
    """Return the results of the only sweep, in order."""
    [sweep] = (outputs / "sweeps").iterdir()
    return [load(path) for path in sorted(sweep.glob(f"*/{RESULT_FILE}"))]


def contents(outputs: Path) -> dict[str, Any]:
    """Return the bytes of every result, by its sweep's and its run's folder."""
    sweeps = outputs / "sweeps"
    return {str(path.parent.relative_to(sweeps)): path.read_bytes() for path in sweeps.glob(f"*/*/{RESULT_FILE}")}
