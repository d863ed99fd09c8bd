"""The set-up: what stops it is said in one line with its remedy. CI itself is the test that it works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.paths import PROJECT


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What the set-up reads, in a folder of its own."""
    (tmp_path / "tools").mkdir()
    for name in ("tools/set-up", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def set_up(checkout: Path, python: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it without an index of packages."""
    none = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        [checkout / "tools/set-up", python],
        env=environment | none | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def program(file: Path, script: str) -> Path:
    """Write an executable script."""
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_missing_python(checkout):
    done = set_up(checkout, "python9")
    needed = "needed: Python 3.11, 3.12 or 3.13, such as: apt-get install python3.11-venv"
    assert (done.returncode, done.stderr) == (1, f"set-up: received PYTHON=python9; {needed}\n")


def test_an_old_python(checkout):
    done = set_up(checkout, str(program(checkout / "python", "echo 3.9")))
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        ["set-up: received Python 3.9; needed: Python 3.11, 3.12 or 3.13: make PYTHON=python3.11"],
    )


def test_a_python_without_venv(checkout):
    """Debian has a package of its own for it."""
    python = program(checkout / "python", '[ "$1" = -c ] && echo 3.12; [ "$1" = -c ]')
    done = set_up(checkout, str(python))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("cannot make a virtual environment: apt-get install python3.12-venv")


@pytest.mark.services
def test_an_index_without_the_packages(checkout):
    """Real pip, in a real environment."""
    done = set_up(checkout, sys.executable)
    assert done.returncode == 1
    assert "No matching distribution" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("set-up: the index has no packages of constraints.txt")


@pytest.mark.services
def test_an_index_that_cannot_be_reached(checkout):
    """A closed port of this machine; pip by itself would try five times."""
    closed = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    done = set_up(checkout, sys.executable, **closed)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("set-up: the package index cannot be reached")
