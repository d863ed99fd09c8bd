"""Make a job's artifacts in a separate process: ``python -m runner.worker.build JOB REPLY``.

Exporting and quantising a network leaves a process with other memory and threads than loading the result does.
So the measured process never makes an artifact: if one is missing, it starts this module, waits, and loads the result.
The measured process is therefore the same with a cold and with a warm cache.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.protocol import TRANSFORMERS_PREFIX, Built, Failure, Job, Load, decode, encode
from runner.worker.artifacts.cache import Cache, Fetch
from runner.worker.backends.base import Runtime, Settings
from runner.worker.data.datasets import Dataset, open_dataset
from runner.worker.failures import BuildFailed, as_failure
from runner.worker.subjects.models import Network
from runner.worker.subjects.transformers import open_subject as open_hub
from runner.worker.subjects.weights import open_weights

NOT_FOR_BUILDING = ("LD_PRELOAD", "OMP_", "KMP_", "GLIBC_TUNABLES", "MALLOC_", "THP_")
"""Prefixes of environment variables that are under measurement: artifacts must not depend on them."""

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


@dataclass(frozen=True)
class Gathered:
    """The parts of a job, with all artifacts in the cache."""

    settings: Settings
    runtime: Runtime
    dataset: Dataset
    network: Any
    """A Network, or a Checkpoint for runtimes of Transformers models."""
    artifact: Path | None
    """The folder that the runtime loads; None if it loads no files."""


def gather(job: Job, fetch: Fetch) -> Gathered:
    """Return the parts of a job.

    Args:
        job: what to run.
        fetch: returns an artifact's folder, and decides whether a missing artifact is made.

    Raises:
        JobFailure: the job cannot run.
        ModuleNotFoundError: a library is not installed.
        Missing: from `fetch`.
    """
    engine = job.engine
    hub = job.subject.source == "transformers"
    module = importlib.import_module(f"runner.worker.backends.{TRANSFORMERS_PREFIX if hub else ''}{engine.backend}")
    settings = Settings(
        precision=engine.precision,
        batch_size=job.run.batch_size,
        threads=engine.threads,
        memory_format=engine.memory_format,
        scenario=engine.scenario,
        cores=len(os.sched_getaffinity(0)),
    )
    runtime: Runtime = module.Runtime(settings, **engine.options)
    dataset, network = open_hub(job, fetch) if hub else _open_network(job, fetch)
    recipe = runtime.recipe(network, dataset, fetch)
    return Gathered(settings, runtime, dataset, network, fetch(recipe) if recipe else None)


def _open_network(job: Job, fetch: Fetch) -> tuple[Dataset, Any]:
    """Return the images of a job, and its torchvision or timm network."""
    subject, seed = job.subject, job.run.seed
    dataset = open_dataset(job.data, subject.image_size, seed, fetch)
    weights = open_weights(subject, seed, dataset, fetch)
    return dataset, Network(subject.source, subject.name, subject.image_size, weights)


def build_in_subprocess(job: Job) -> list[str]:
    """Make the job's missing artifacts in another process, and return their kinds.

    Raises:
        BuildFailed: the other process failed; the reason is its own.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_BUILDING)}
    with tempfile.TemporaryDirectory(prefix="runner-build-") as folder:
        request, reply = Path(folder) / "job", Path(folder) / "reply"
        request.write_bytes(encode(Load(job)))
        command = [job.run.python, "-m", "runner.worker.build", str(request), str(reply)]
        code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        if not reply.exists():
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            reason = f"the process that makes the artifacts ended {how}"
            raise BuildFailed(Failure("crashed" if code < 0 else "failed", reason))
        answer = decode(reply.read_bytes())
    if isinstance(answer, Built):
        return answer.kinds
    assert isinstance(answer, Failure)
    raise BuildFailed(answer)


def die_with_parent() -> None:
    """Request that the kernel kills this process when its parent ends, even if this process is frozen."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(request: Path, reply: Path) -> None:
    """Make the artifacts of a job, and write Built or Failure.

    Args:
        request: a file with a Load message.
        reply: the file to write.
    """
    die_with_parent()
    message = decode(request.read_bytes())
    assert isinstance(message, Load)
    cache = Cache(Path(message.job.run.cache_dir))
    try:
        gather(message.job, cache.get)
        answer: Built | Failure = Built(cache.made)
    except Exception as error:  # the reply reports it to the host
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
