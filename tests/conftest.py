"""What the tests share: a way to run the program as a user does, in a folder of its own, and the kinds of tests.

A test is fast unless it starts the program or is marked `slow`; one that needs a server is `services`. With
``--skips FILE`` a skip is a failure unless FILE allows it: a line is the beginning of a test's name, ``#``, the reason.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import hydra
import pytest

from runner.config import composition
from runner.paths import PROJECT
from runner.processes.process_tree import PROCESS_TAG_VARIABLE
from runner.results.files import load
from runner.results.result import Result

TESTS = PROJECT / "tests"
TEST_TAG = f"tests-{uuid4().hex[:8]}-"
"""Begins the tags of all processes that a sweep of this test session starts: other sessions may run beside it."""
FAKE = (
    "backend=fake",
    "weights=random",
    "model=resnet18",
    "model.image_size=32",
    "data.evaluation_samples=32",
    "data.calibration_samples=8",
    "measure=quick",
    "measure.replicates=2",
    "measure.rounds=1",
    "measure.slice_s=0.02",
    "measure.settle_s=0",
    "measure.settle_iterations=1",
    "measure.warmup_s=0.1",
    "measure.watch_s=0.05",
    "measure.guards=false",
    'baseline=["backend=fake"]',
    'reference=["backend=fake"]',
    "tracking=none",
)
"""A run of the harness alone, without a runtime and in about a second."""


SERVICES = {"server"}
"""Fixtures that start a server."""
SLOW = {"run_program", "environment", "own_cache", "recorded", "injector", "job", "hub_job", "gpt_job"}
"""Fixtures of tests that start the program or load a runtime."""


def pytest_configure() -> None:
    """Give each test process that runs beside others a core of its own.

    Two programs of two threads each on two cores wait for one another in the spin locks of OpenMP: the table of Rand
    2025 took 244 s on a small network, twice side by side, and 136 s with a core for each. Four
    processes on two cores take 10 % less time than two, and fail tests that time something. What needs several cores is
    marked `alone`.
    """
    name, count = os.environ.get("PYTEST_XDIST_WORKER"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cores = sorted(os.sched_getaffinity(0))
    if name is not None and 1 < count <= len(cores):
        os.sched_setaffinity(0, cores[int(name.removeprefix("gw")) :: count])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that makes skips failures."""
    parser.addoption("--skips", metavar="FILE", help="fail every test that is skipped and not listed in FILE")


LONGEST = (
    "test_every_row_of_the_article",
    "test_every_task_runs",
    "test_an_exported_program",
    "test_full_from_every_write",
)
"""Tests of about a minute and more: they start first, so that no process waits for one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need, and put the longest first."""
    items.sort(key=lambda item: not item.name.startswith(LONGEST))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SERVICES:
            item.add_marker("services")
        elif fixtures & SLOW:
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that is not allowed into a failure."""
    report = yield
    listed = item.config.getoption("--skips")
    if report.skipped and listed and not hasattr(report, "wasxfail"):
        allowed = [line.partition("#")[0].strip() for line in Path(listed).read_text().splitlines()]
        if not any(beginning and item.nodeid.startswith(beginning) for beginning in allowed):
            report.outcome = "failed"
            report.longrepr = f"skipped, and {listed} does not allow it: {report.longrepr}"
    return report


@dataclass(frozen=True)
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str
    output_dir: Path

    def results(self) -> list[Result]:
        """Return the results of the newest sweep, in order."""
        sweep = max((self.output_dir / "sweeps").iterdir())
        return [load(path) for path in sorted(sweep.glob("*/result.json"))]

    def run_folder(self, number: int = 1) -> Path:
        """Return the folder of a run of the newest sweep."""
        sweep = max((self.output_dir / "sweeps").iterdir())
        return next(sweep.glob(f"{number:03d}_*"))


RunProgram = Callable[..., Finished]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """The environment of a user who has the fake backends, on a machine without another measurement."""
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    with tempfile.TemporaryDirectory(prefix="runner-tests-") as own:  # the machine's lock lies there
        own_settings = {"RUNNER_BACKENDS": str(TESTS / "backends"), "RUNNER_LOCK": f"{own}/lock"}
        yield ambient | own_settings | {PROCESS_TAG_VARIABLE: TEST_TAG}


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that tests share: what is made from weights and settings is made once for all of them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def own_cache(tmp_path: Path) -> Path:
    """The cache of a test that must have one of its own."""
    folder = tmp_path / "outputs" / "cache"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def run_program(tmp_path: Path, environment: dict[str, str], artifacts: Path) -> RunProgram:
    """Return a function that runs ``python -m runner`` with overrides, its outputs in a temporary folder."""

    def run(
        *overrides: str,
        timeout_s: float = 500,
        output_dir: Path | None = None,
        config_dir: Path = TESTS / "conf",
        cwd: Path = PROJECT,
        **variables: str,
    ) -> Finished:
        outputs = output_dir or tmp_path / "outputs"
        share_cache(outputs, artifacts)
        arguments = ["--config-dir", str(config_dir), f"output_dir={outputs}", *overrides]
        done = subprocess.run(
            [sys.executable, "-m", "runner", *arguments],
            cwd=cwd,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr, outputs)

    return run


def share_cache(outputs: Path, artifacts: Path) -> None:
    """Let a folder of outputs have the shared cache, unless it has one."""
    outputs.mkdir(parents=True, exist_ok=True)
    if not (outputs / "cache").exists():
        (outputs / "cache").symlink_to(artifacts)


def start_program(environment: dict[str, str], *overrides: str) -> subprocess.Popen[bytes]:
    """Start ``python -m runner`` with overrides in the background; what it prints is not kept."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", "--config-dir", str(TESTS / "conf"), *overrides],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def hydra_context() -> Iterator[None]:
    """Initialise Hydra on conf/, for composing in the test's own process."""
    composition.register_schema()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        yield


@pytest.fixture
def server(tmp_path, environment) -> Iterator[str]:
    """The address of an MLflow server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database, files = f"sqlite:///{tmp_path / 'server.db'}", str(tmp_path / "files")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--backend-store-uri", database, "--artifacts-destination", files],
            cwd=tmp_path,
            env=environment | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    """Return whether a server answers there."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
