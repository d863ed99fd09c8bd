"""From a configuration to the exact process that runs it: command line, environment and job. Pure.

The environment starts from an allow-list, so that nothing the caller happens to have set (OMP_*, KMP_*, MKL_*,
LD_PRELOAD, MALLOC_*, GLIBC_TUNABLES, ONEDNN_*, …) reaches a measured process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.config import PROJECT, RunConfig
from runner.machine import Machine, find_library
from runner.protocol import Job
from runner.result import RunFailed, Status
from runner.worker.backends import EXTRA_BACKENDS_VARIABLE

ALLOWED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
        # How the network and the model hubs are reached: weights=pretrained needs them.
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HF_HOME", "HF_HUB_OFFLINE", "TORCH_HOME"),
    }
)
ALLOWED_PREFIXES = ("LC_",)

QUIET = {
    "PYTHONUNBUFFERED": "1",  # the log is whole when the process dies
    "PYTHONDONTWRITEBYTECODE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True)
class WorkerLaunch:
    """Everything that a worker is started with; two equal launches are the same process."""

    argv: list[str]
    env: dict[str, str]
    job: Job
    label: str = field(default="worker", compare=False)


def build_launch(config: RunConfig, machine: Machine, ambient: Mapping[str, str]) -> WorkerLaunch:
    """Return how the worker of a configuration is started.

    Args:
        config: a configuration without mistakes.
        machine: where it will run.
        ambient: the host's own environment, of which only the allow-list is taken.

    Raises:
        RunFailed: `unavailable` where the allocator's library is not found, `unsupported` where a setting would have
            nothing to act on.
    """
    if config.threading.env and not config.backend.openmp:
        raise RunFailed(
            Status.unsupported,
            f"threading={config.threading.name} sets OpenMP, which backend={config.backend.name} does not use: "
            "take threading=all_cores",
        )
    threads = config.threading.threads
    if threads == 0:
        threads = len(machine.cores)
    preload = find_allocator(config)
    env = {name: value for name, value in ambient.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}
    env |= QUIET
    if extra := ambient.get(EXTRA_BACKENDS_VARIABLE):  # a worker's current folder is another one
        env[EXTRA_BACKENDS_VARIABLE] = os.pathsep.join(
            str(Path(folder).absolute()) for folder in extra.split(os.pathsep)
        )
    env["PYTHONPATH"] = str(PROJECT)
    prefix = machine.fixed_layout if config.measure.fixed_layout else []
    if config.measure.fixed_layout:
        # The order in which Python allocates, and where, decides how often glibc returns memory to the kernel: eager
        # ResNet-50 made 38,000 to 70,000 page faults a batch, and six processes of one configuration differed by 6 %
        # (standard deviation); with one seed and one layout four differed by 0.5 %.
        env["PYTHONHASHSEED"] = "0"
    env["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir(config) / "inductor")
    env |= config.backend.env | config.allocator.env | config.hugepages.env
    if preload is not None:
        env["LD_PRELOAD"] = str(preload)
    if config.backend.openmp:
        env |= config.threading.env
        if threads is not None:
            env["OMP_NUM_THREADS"] = str(threads)
    return WorkerLaunch(
        # -P: without it the current folder, which is the run's, would be searched for modules: what lies there could
        # be imported, and its listing shifts the heap (a baseline, whose folder held two files more than when its
        # candidate began, made 60,000 page faults a batch where the candidate made 68,000, run after run).
        argv=[*prefix, sys.executable, "-P", "-m", "runner.worker"],
        env=env,
        job=_build_job(config, threads, preload, layout="fixed" if prefix else "random"),
        label=describe(config),
    )


def find_allocator(config: RunConfig) -> Path | None:
    """Return the library to preload, None for the C library's own allocator.

    Raises:
        RunFailed: with the status `unavailable`, where none of the library's names is found.
    """
    if not config.allocator.libraries:
        return None
    found = find_library(config.allocator.libraries)
    if found is None:
        names = ", ".join(config.allocator.libraries)
        raise RunFailed(
            Status.unavailable, f"allocator={config.allocator.name} is not installed ({names}): run make system"
        )
    return found


def cache_dir(config: RunConfig) -> Path:
    """Return the folder of the artifact cache, absolute."""
    return Path(config.output_dir).absolute() / "cache"


def describe(config: RunConfig) -> str:
    """Return the configuration in a few words: the choices that people compare."""
    words = [config.model.name, config.backend.name, str(config.precision.name)]
    if config.memory_format != "contiguous":
        words.append(str(config.memory_format))
    for choice, usual in (
        (config.allocator.name, "system"),
        (config.hugepages.name, "off"),
        (config.threading.name, "default"),
    ):
        if choice != usual:
            words.append(choice)
    words += [f"{name}={value}" for name, value in config.backend.options.items()]
    words.append(f"batch {config.batch_size}")
    return " ".join(words)


def _build_job(config: RunConfig, threads: int | None, preload: Path | None, *, layout: str) -> Job:
    return Job(
        backend=config.backend.name,
        precision=str(config.precision.name),
        model_source=str(config.model.source),
        model_name=config.model.name,
        image_size=config.model.image_size,
        weights=str(config.weights.name),
        weights_path=_absolute(config.weights.path),
        data=str(config.data.name),
        data_path=_absolute(config.data.path),
        evaluation_samples=config.data.evaluation_samples,
        calibration_samples=config.data.calibration_samples,
        batch_size=config.batch_size,
        memory_format=str(config.memory_format),
        threads=threads,
        seed=config.seed,
        cache_dir=str(cache_dir(config)),
        options=dict(config.backend.options),
        expectations={
            "allocator": config.allocator.name,
            "allocator_library": str(preload.resolve()) if preload else "",
            "hugepages": config.hugepages.name,
            "layout": layout,
            "env": config.backend.env | config.allocator.env | config.hugepages.env,
        },
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
