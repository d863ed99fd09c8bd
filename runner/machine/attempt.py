"""The circumstances of an attempt: they describe a result, and never identify it."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from functools import cache

from runner.paths import CHECKOUT

JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "RAY_JOB_ID")
"""Variables by which schedulers name a job, the first that is set counts."""


@cache
def attempt_tags() -> dict[str, str]:
    """Return host, user, job and commit; what is not known has no entry."""
    found = {
        "host": socket.gethostname(),
        "user": _user(),
        "job": next((os.environ[name] for name in JOB_VARIABLES if os.environ.get(name)), ""),
        "commit": _commit(),
    }
    return {name: value for name, value in found.items() if value}


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for this user
        return str(os.geteuid())


def _commit() -> str:
    """Return the checkout's commit, with a plus if files differ from it; empty outside a checkout."""
    if CHECKOUT is None or not (CHECKOUT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],  # noqa: S607 -- the user's git
            cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):  # git is not installed, or the file system hangs
        return ""
    return done.stdout.strip()
