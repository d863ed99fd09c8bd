"""Have a measured process's twin write its model, for a folder that runs without this program."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from runner.processes.launch import WorkerLaunch
from runner.protocol import Failure, Load, ProtocolError, Shipped, decode, encode
from runner.results.status import RunFailed, Status

WORKER = "runner.worker"
TIMEOUT_S = 3600.0
"""Limit in seconds: artifacts that are no longer in the cache are made again."""


def export(launch: WorkerLaunch, target: Path) -> Shipped:
    """Return what a process like the measured one wrote to a folder; see :mod:`runner.worker.ship`.

    Args:
        launch: of the measured process: its command line, environment and job.
        target: an empty folder.

    Raises:
        RunFailed: the process reports a failure, or dies.
    """
    with tempfile.TemporaryDirectory(prefix="runner-ship-") as folder:
        request, reply = Path(folder) / "request", Path(folder) / "reply"
        request.write_bytes(encode(Load(launch.job)))
        assert launch.argv[-1] == WORKER
        command = [*launch.argv[:-1], f"{WORKER}.ship", str(request), str(reply), str(target.absolute())]
        try:
            done = subprocess.run(
                command, env=launch.env, cwd=folder, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise RunFailed(Status.timeout, f"the model was not written within {TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise RunFailed(Status.unavailable, f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            answer = decode(reply.read_bytes())
        except (FileNotFoundError, ProtocolError) as error:
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            reason = f"the process that writes the model ended with code {done.returncode}: {last}"
            raise RunFailed(Status.failed, reason) from error
    if isinstance(answer, Failure):
        raise RunFailed(Status(answer.status), answer.reason, log_tail=answer.traceback)
    assert isinstance(answer, Shipped)
    return answer
