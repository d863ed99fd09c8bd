"""Other processes that a worker starts for one answer: to make artifacts, or to observe another copy of its model."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runner.job import Job
from runner.protocol import Failure, Load, Message, decode, encode

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def ask(
    module: str, job: Job, *arguments: str, python: str = sys.executable, env: Mapping[str, str] | None = None
) -> Message:
    """Run ``python -m MODULE REQUEST REPLY ARGUMENTS`` and return its reply.

    Args:
        module: reads the job from the file REQUEST, and writes a message to the file REPLY.
        job: for the other process.
        arguments: further ones.
        python: the interpreter.
        env: the other process's environment; None for that of this process.

    Returns:
        The reply; a Failure if the other process ended without one.
    """
    with tempfile.TemporaryDirectory(prefix="runner-worker-") as folder:
        request, reply = Path(folder) / "job", Path(folder) / "reply"
        request.write_bytes(encode(Load(job)))
        command = [python, "-m", module, str(request), str(reply), *arguments]
        # In a folder of its own: quantisers that fail leave files where they run.
        code = subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, check=False).returncode
        if reply.exists():
            return decode(reply.read_bytes())
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return Failure("crashed" if code < 0 else "failed", f"python -m {module} ended {how}")


def die_with_parent() -> None:
    """Request that the kernel kills this process when its parent ends, even if this process is frozen."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
