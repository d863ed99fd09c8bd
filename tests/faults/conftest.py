"""Fixtures of the fault tests: a check for remaining processes, and faults injected at a chosen write."""

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

INJECTOR = Path(__file__).with_name("inject.py")
MAX_WAIT_S = 20
BRIEF = FAKE
"""A short measurement: its numbers do not matter in these tests."""


def sweep_processes() -> list[str]:
    """Return every process that a sweep of these tests has started, in any state, and every orphaned zombie."""
    tagged, found = tagged_processes(TEST_TAG), []
    for process in psutil.process_iter(["pid", "name", "status", "cmdline", "ppid"]):
        words = " ".join(process.info["cmdline"] or [])
        orphan = process.info["status"] == psutil.STATUS_ZOMBIE and process.info["ppid"] in (1, os.getpid())
        if (
            process.info["pid"] in tagged
            or f"runner/processes/process_tree.py {TEST_TAG}" in words
            or (orphan and process.info["name"] in ("python", "python3", "sh"))
        ):
            found.append(f"{process.info}")
    return found


def wait_until_all_ended() -> list[str]:
    """Wait until all processes have ended; return those that remain after MAX_WAIT_S, which the reaper may need."""
    deadline = time.monotonic() + MAX_WAIT_S
    while (left := sweep_processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture(autouse=True)
def no_process_remains() -> Iterator[None]:
    """Check that a test leaves no process: running, frozen, orphaned or zombie."""
    before = sweep_processes()
    yield
    left = [one for one in wait_until_all_ended() if one not in before]
    assert left == []


def faults(*options: str) -> str:
    """Return the override that sweeps the fake backend's options."""
    return "backend.options=" + ",".join("{" + option + "}" for option in options)


class FaultInjector:
    """Runs the program with a fault at a chosen write."""

    _known: ClassVar[dict[tuple[str, ...], list[str]]] = {}

    def __init__(self, environment: dict[str, str], folder: Path, artifacts: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._artifacts = artifacts
        self._started: list[subprocess.Popen[str]] = []

    def command(self, outputs: Path, *arguments: str, action: str = "none", nth: int | str = 0) -> list[str]:
        own = ["--config-dir", str(TESTS / "conf"), *BRIEF, f"output_dir={outputs}", *arguments]
        return [sys.executable, str(INJECTOR), action, str(nth), str(outputs), *own]

    def run(
        self, outputs: Path, *arguments: str, action: str = "none", nth: int | str = 0
    ) -> subprocess.CompletedProcess[str]:
        share_cache(outputs, self._artifacts)  # no fault while artifacts are made
        return subprocess.run(
            self.command(outputs, *arguments, action=action, nth=nth),
            cwd=PROJECT, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def start(self, outputs: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a sweep in the background that handles SIGINT even if this process ignores it."""
        share_cache(outputs, self._artifacts)
        host = subprocess.Popen(
            self.command(outputs, *arguments), cwd=PROJECT, env=self._environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no other threads
        )  # fmt: skip
        self._started.append(host)
        return host

    def end(self) -> None:
        """Kill the sweeps that a failed test has left."""
        for host in self._started:
            with host:
                host.kill()

    def resume(self, outputs: Path) -> subprocess.CompletedProcess[str]:
        """Run the command that continues the sweep."""
        return subprocess.run(
            [sys.executable, "-m", "runner", "resume=true", f"output_dir={outputs}"],
            cwd=PROJECT, env=self._environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def writes(self, *arguments: str) -> list[str]:
        """Return the writes of a run without a fault, in order; it runs once for all tests."""
        if arguments not in self._known:
            done = self.run(self._folder / "without-fault", *arguments, action="list")
            assert done.returncode == 0, done.stderr
            self._known[arguments] = json.loads(done.stderr.splitlines()[-1])
        return self._known[arguments]

    def steps(self, *arguments: str) -> list[tuple[int, str]]:
        """Return the number and the name of every distinct write of the sweep and of its last run.

        A file is renamed right after it is written, so renaming is a separate step only for the plan and the result.
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
def injector(environment, tmp_path, artifacts) -> Iterator[FaultInjector]:
    """The fault injector of a test."""
    found = FaultInjector(environment, tmp_path, artifacts)
    yield found
    found.end()


def results(outputs: Path) -> list[Result]:
    """Return the results of the only sweep, in the order of its rows."""
    [sweep] = (outputs / "sweeps").iterdir()
    return [load(path) for path in sorted(sweep.glob(f"*/{RESULT_FILE}"))]


def contents(outputs: Path) -> dict[str, Any]:
    """Return the bytes of every result, by the relative path of its run folder."""
    sweeps = outputs / "sweeps"
    return {str(path.parent.relative_to(sweeps)): path.read_bytes() for path in sweeps.glob(f"*/*/{RESULT_FILE}")}
