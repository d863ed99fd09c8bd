"""The machine's peak arithmetic, measured once before a table, and a row's share of it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from runner.processes import process_tree
from runner.processes.launch import WorkerLaunch
from runner.protocol import Load, Peaks, ProtocolError, decode, encode
from runner.results.result import Measurement
from runner.results.status import RunFailed, Status

TIMEOUT_S = 120.0


def measure_peaks(launch: WorkerLaunch) -> Peaks:
    """Return the peaks for the model of a job.

    Args:
        launch: of any plain worker: its interpreter, its environment and the job that names the model.

    Raises:
        RunFailed: they could not be measured.
    """
    with tempfile.TemporaryDirectory(prefix="runner-peak-") as folder:
        request, reply = Path(folder) / "job", Path(folder) / "reply"
        request.write_bytes(encode(Load(launch.job)))
        command = [launch.job.run.python, "-m", "runner.worker.peak", str(request), str(reply)]
        environment, stderr = launch.env | {process_tree.PROCESS_TAG_VARIABLE: process_tree.PROCESS_TAG}, ""
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
            stderr = done.stderr
            answer = decode(reply.read_bytes())
        except (OSError, subprocess.TimeoutExpired, ProtocolError) as error:
            last = stderr.strip().splitlines()[-1:] or [str(error)]
            raise RunFailed(Status.failed, f"the peak could not be measured: {last[0]}") from error
    assert isinstance(answer, Peaks)
    return answer


def peak_share(peaks: Peaks, measurement: Measurement, precision: str) -> float | None:
    """Return the share of the peak of all cores that a run's arithmetic reached, None without a peak for its precision.

    A network's operations are counted once for every precision, so int8 and bf16 runs are held against their own peak.
    """
    peak = peaks.gops.get(f"{precision.removesuffix('_dynamic')}_{peaks.cores}")
    return measurement.throughput.value * peaks.gops_per_sample / peak if peak and peaks.gops_per_sample else None
