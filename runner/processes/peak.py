"""The machine's peak arithmetic throughput, measured once before a table, and a row's share of it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from runner.job import HOST_ENVIRONMENT
from runner.processes import process_tree
from runner.processes.launch import WorkerLaunch
from runner.protocol import Load, Peaks, ProtocolError, decode, encode
from runner.results.result import Measurement
from runner.results.status import RunFailed, Status


def measure_peaks(launch: WorkerLaunch, timeout_s: float) -> Peaks:
    """Measure and return the peaks for the model of a job.

    Args:
        launch: of any worker without a launcher; its variables and its job (for the model) are used.
        timeout_s: limit in seconds; the job's artifacts are made if they are missing, to count the model's operations.

    Raises:
        RunFailed: the peaks could not be measured.
    """
    with tempfile.TemporaryDirectory(prefix="runner-peak-") as folder:
        request, reply = Path(folder) / "job", Path(folder) / "reply"
        request.write_bytes(encode(Load(launch.job)))
        python = launch.job.run.environments[HOST_ENVIRONMENT].python
        command = [python, "-m", "runner.worker.peak", str(request), str(reply)]
        environment, stderr = launch.env | {process_tree.PROCESS_TAG_VARIABLE: process_tree.PROCESS_TAG}, ""
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
            )
            stderr = done.stderr
            answer = decode(reply.read_bytes())
        except (OSError, subprocess.TimeoutExpired, ProtocolError) as error:
            last = stderr.strip().splitlines()[-1:] or [str(error)]
            raise RunFailed(Status.failed, f"the peak could not be measured: {last[0]}") from error
    assert isinstance(answer, Peaks)
    return answer


def peak_share(peaks: Peaks, measurement: Measurement, precision: str) -> float | None:
    """Return the share of the all-core peak that a run's arithmetic reached; None without a peak for its precision.

    The number of operations of a network is the same in every precision, so each run is compared with the peak of its
    own precision.
    """
    peak = peaks.gops.get(f"{precision.removesuffix('_dynamic')}_{peaks.cores}")
    return measurement.throughput.value * peaks.gops_per_sample / peak if peak and peaks.gops_per_sample else None
