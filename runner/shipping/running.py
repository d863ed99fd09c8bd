"""Start run.py of a folder in the environment of the folder, as a service would."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.shipping import environment

TIMEOUT_S = 1800.0
KEPT = ("PATH", "HOME", "LANG")


def run_script(folder: Path, python: Path, prefix: Sequence[str], home: Path, *arguments: str) -> dict[str, Any]:
    """Return what a folder's run.py printed last, as JSON.

    Args:
        folder: the shipped one.
        python: the interpreter of an environment with its packages.
        prefix: words before the interpreter that bind the process.
        home: the current folder of the process.
        arguments: of run.py.

    Raises:
        RuntimeError: it printed something else, or did not end.
    """
    words = shlex.join([*prefix, str(python), str(folder.absolute() / "run.py"), *arguments])
    source = shlex.quote(str(folder.absolute() / "environment.sh"))
    variables = {name: os.environ[name] for name in KEPT if name in os.environ}
    variables |= {
        "PYTHONDONTWRITEBYTECODE": "1",
        "VIRTUAL_ENV": str(python.parent.parent),
        environment.LIBRARIES_VARIABLE: environment.preload_folders(),
    }
    command = ["/bin/sh", "-c", f". {source} && exec {words}"]
    try:
        done = subprocess.run(
            command, cwd=home, env=variables, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"run.py did not end within {TIMEOUT_S:.0f} s") from error
    try:
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(f"run.py ended with code {done.returncode} and said: {last}") from error
