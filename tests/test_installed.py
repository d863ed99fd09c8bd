"""A wheel built from the repository, installed outside the checkout, as somebody without one has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from runner.paths import PROJECT
from tests.conftest import FAKE, TESTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The console script of a wheel that is installed without its dependencies, beside the packages of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(PROJECT)]
    subprocess.run([*pip, *build], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    # A path in a .pth file is added as it is: the editable install in that folder is not seen through it.
    site = sysconfig.get_path("purelib", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    (Path(site) / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "venv" / "bin" / "runner"


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program in an empty folder, with caches of its own."""
    variables = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    variables |= {"RUNNER_BACKENDS": str(TESTS / "backends"), "RUNNER_LOCK": str(folder / "lock")}
    (folder / "empty").mkdir(exist_ok=True)
    return subprocess.run(
        [str(installed), *words],
        cwd=folder / "empty",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def cached_digits(cache: Path) -> int:
    """Return how many artifacts of the digits a cache holds."""
    return sum(entry.is_dir() for entry in cache.glob("digits-*"))


def test_a_run_outside_a_checkout(installed, tmp_path):
    """Outputs go into the current folder, artifacts into the user's cache; workers import the installed package."""
    done = run(installed, tmp_path, "--config-dir", str(TESTS / "conf"), *FAKE)
    assert done.returncode == 0, done.stdout + done.stderr
    [sweep] = (tmp_path / "empty" / "outputs" / "sweeps").iterdir()
    [result] = sweep.glob("001_*/result.json")
    assert json.loads(result.read_text())["status"] == "ok"
    assert cached_digits(tmp_path / "cache" / "runner") == 1
    assert not (tmp_path / "empty" / "outputs" / "cache").exists()
    [launch] = json.loads((result.parent / "launch-candidate.json").read_text())
    assert launch["env"]["PYTHONPATH"] == str(tmp_path / "cache" / "runner" / "import")
    imported = (tmp_path / "cache" / "runner" / "import" / "runner").resolve()
    assert imported == next((installed.parents[1] / "lib").glob("python*/site-packages/runner")).resolve()


def test_the_verbs_work_there(installed, tmp_path):
    """They find the sweep in the current folder, the configuration in the package, and the user's cache."""
    assert run(installed, tmp_path, "--config-dir", str(TESTS / "conf"), *FAKE).returncode == 0
    report = run(installed, tmp_path, "report", "last", "--format", "markdown")
    assert (report.returncode, report.stderr) == (0, "")
    assert report.stdout.startswith("| configuration |")
    assert "digits" in run(installed, tmp_path, "cache").stdout
    on_one_core = "+experiments/rand2025=glob(*,exclude=10_two_instances)"
    rows = run(installed, tmp_path, on_one_core, "model=resnet50", "--dry-run")
    assert rows.returncode == 0, rows.stderr
    assert "dry run: 14 runs" in rows.stdout


def test_another_interpreter_is_looked_for_in_the_user_s_data(installed, tmp_path):
    """Without it the row is unavailable."""
    done = run(installed, tmp_path, "--config-dir", str(TESTS / "conf"), *FAKE, "backend=ipex")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backend=ipex is not installed" in done.stdout


def test_the_cache_can_be_elsewhere(installed, tmp_path):
    """In the folder that cache_dir names, and nothing in the user's."""
    mine = tmp_path / "mine"
    done = run(installed, tmp_path, "--config-dir", str(TESTS / "conf"), *FAKE, f"cache_dir={mine}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (cached_digits(mine), cached_digits(tmp_path / "cache" / "runner")) == (1, 0)
    assert "digits" in run(installed, tmp_path, "cache", "--cache-dir", str(mine)).stdout
