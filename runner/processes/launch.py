"""Build the exact process of a configuration: command line, environment and job. Pure functions.

The environment starts from an allow-list, so that no variable of the caller (OMP_*, KMP_*, MKL_*, LD_PRELOAD,
MALLOC_*, GLIBC_TUNABLES, ONEDNN_*, …) reaches a measured process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from runner.config import model_catalog
from runner.config.data_file_checks import broken_pictures
from runner.config.labels import describe
from runner.config.schema import RunConfig
from runner.job import Data, Engine, Environment, Expectations, Job, RunSettings, Subject
from runner.machine.environments import find_environment
from runner.machine.facts import Machine
from runner.machine.libraries import find_library
from runner.paths import import_folder, library_prefix
from runner.processes.placement import bind, share, threads_of
from runner.processes.refusals import refuse
from runner.protocol import BACKENDS_VARIABLE
from runner.results.artifacts import cache_folder
from runner.results.status import RunFailed, Status

ALLOWED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
        # Network and model-hub access, which weights=pretrained needs.
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "TORCH_HOME"),
        # Their older names, which the hub's library still reads.
        *("HUGGINGFACE_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_CACHE"),
    }
)
ALLOWED_PREFIXES = ("LC_",)
LIBRARY_PATH = "LD_LIBRARY_PATH"
"""Passed only if this process needs it: it could put another OpenMP or C++ library under measurement."""
UNRECORDED = frozenset({"HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", LIBRARY_PATH})
"""Variables whose values are in no record."""

QUIET = {
    "PYTHONUNBUFFERED": "1",  # the log is complete even if the process dies
    "PYTHONDONTWRITEBYTECODE": "1",
    # Keep the current folder, which is the run's, off the module search path: its files could be imported, and its
    # listing shifts the heap: two more files in it changed 68,000 page faults per batch to 60,000 in every run.
    "PYTHONSAFEPATH": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # By default NumPy requests huge pages for its large arrays, which the evidence of hugepages=torch would count:
    # https://numpy.org/doc/stable/reference/global_state.html
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True)
class WorkerLaunch:
    """Everything that determines a worker process; equal launches start equal processes."""

    argv: list[str]
    env: dict[str, str]
    job: Job
    label: str = field(default="worker", compare=False)


def build_launches(config: RunConfig, machine: Machine, ambient: Mapping[str, str]) -> list[WorkerLaunch]:
    """Return the launch of each instance of a configuration."""
    return [build_launch(config, machine, ambient, instance) for instance in range(config.instances)]


def build_launch(config: RunConfig, machine: Machine, ambient: Mapping[str, str], instance: int = 0) -> WorkerLaunch:
    """Return the launch of one worker of a configuration.

    Args:
        config: a validated configuration.
        machine: the machine that will run it.
        ambient: the host's environment; only the variables of the allow-list are passed on.
        instance: index among the configuration's instances, from 0.

    Raises:
        RunFailed: `unavailable` if an interpreter, a program or a library is not installed, `unsupported` if a
            setting would have no effect.
    """
    refuse(config, machine)
    threads = config.threading.threads
    physical = config.threading.physical_cores
    cores = share(machine, config.instances, instance, physical=physical)
    shared = (config.instances > 1 or physical) and not config.threading.prefix  # a launcher binds its workers itself
    usable = threads_of(machine, cores, config.instances)
    # By default a runtime also counts the cores of other instances and those that a quota withholds.
    if threads == 0 or (threads is None and (shared or usable < len(cores))):
        threads = usable
    allocator = find_preload(f"allocator={config.allocator.name}", config.allocator.libraries, "make system")
    openmp = find_preload(f"threading={config.threading.name}", config.threading.libraries, "make setup")
    python = find_interpreter(config)
    fixed = machine.fixed_layout if config.measure.fixed_layout else []
    launcher = build_launcher(config, python, instance)
    bound = bind(cores, machine) if shared else []
    env = build_environment(config, ambient, [*allocator, *openmp])
    if config.backend.openmp and threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    expectations = Expectations(
        allocator=config.allocator.name,
        allocator_library=_real(allocator),
        openmp=_real(openmp),
        hugepages=config.hugepages.name,
        layout=_layout(config, machine),
        cores=cores if bound else [],
        env=config.backend.env | config.allocator.env | config.hugepages.env | config.threading.env,
    )
    return WorkerLaunch(
        argv=[*fixed, *bound, *(launcher or [str(python)]), "-m", "runner.worker"],
        env=env,
        job=build_job(config, threads, expectations),
        label=describe(config),
    )


def build_environment(config: RunConfig, ambient: Mapping[str, str], preload: Sequence[Path]) -> dict[str, str]:
    """Return the worker's environment.

    Args:
        config: sets variables through its backend, allocator, huge pages and threading.
        ambient: the host's environment; only the variables of the allow-list are passed on.
        preload: libraries for LD_PRELOAD.
    """
    env = {name: value for name, value in ambient.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}
    if _needs(ambient.get(LIBRARY_PATH, "")):
        env[LIBRARY_PATH] = ambient[LIBRARY_PATH]
    env |= QUIET
    if extra := ambient.get(BACKENDS_VARIABLE):  # a worker has another current folder
        env[BACKENDS_VARIABLE] = os.pathsep.join(str(Path(folder).absolute()) for folder in extra.split(os.pathsep))
    env["PYTHONPATH"] = str(import_folder())
    if config.measure.fixed_layout:
        # The order and the addresses of Python's allocations decide how often glibc returns memory to the kernel: eager
        # ResNet-50 made 38,000 to 70,000 page faults per batch, and six processes of one configuration differed by 6 %
        # (standard deviation). With a fixed seed and a fixed layout, four processes differed by 0.5 %.
        env["PYTHONHASHSEED"] = "0"
    env["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder(config) / "inductor")
    env |= config.backend.env | config.allocator.env | config.hugepages.env
    if preload:
        env["LD_PRELOAD"] = ":".join(map(str, preload))
    if config.backend.openmp:
        env |= config.threading.env
    if config.threading.prefix:  # torch.backends.xeon.run_cpu searches for its libraries there
        env["VIRTUAL_ENV"] = str(library_prefix())
    return env


def build_launcher(config: RunConfig, python: Path, instance: int) -> list[str]:
    """Return the command of the launcher that starts the worker and binds it to its cores; empty without one."""
    if not config.threading.prefix:
        return []
    allocator = config.allocator.xeon_run_cpu
    words = {"python": python, "instances": config.instances, "instance": instance, "allocator": allocator}
    # A launcher that stays resident must end together with the host, and so must its worker.
    setpriv = shutil.which("setpriv")
    tether = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    return [*tether, str(python), *(word.format_map(words) for word in config.threading.prefix)]


def find_interpreter(config: RunConfig) -> Path:
    """Return the Python interpreter of the measured process.

    Raises:
        RunFailed: `unavailable` if the backend's own environment is not installed.
    """
    environment = find_environment(config.backend.environment)
    if not environment.is_installed:
        raise RunFailed(
            Status.unavailable, f"backend={config.backend.name} is not installed: run {environment.install}"
        )
    return environment.python


def find_preload(choice: str, libraries: Sequence[str], install: str) -> list[Path]:
    """Return the library that an option preloads, as a list of at most one path.

    Args:
        choice: the group and its option, for the error message.
        libraries: file names of the library in order of preference; empty if the option preloads nothing.
        install: the command that installs the library.

    Raises:
        RunFailed: `unavailable` if none of the file names is found.
    """
    if not libraries:
        return []
    found = find_library(libraries)
    if found is None:
        raise RunFailed(Status.unavailable, f"{choice} is not installed ({', '.join(libraries)}): run {install}")
    return [found]


def build_job(config: RunConfig, threads: int | None = None, expectations: Expectations | None = None) -> Job:
    """Return the job of a configuration.

    Args:
        config: the configuration.
        threads: compute threads of the process; None for the runtime's default.
        expectations: what the worker verifies; None for nothing.
    """
    subject = Subject(
        source=str(config.model.source),
        name=config.model.name,
        image_size=config.model.image_size,
        preprocessing={name: value for name, value in asdict(config.model.preprocessing).items() if value is not None},
        classes=config.model.classes,
        weights=str(config.weights.name),
        weights_path=_absolute(config.weights.path),
        weights_key=config.weights.key,
        task=str(config.model.task),
        model_id=_folder_or_name(config.model.id),
        revision=config.model.revision,
        architecture=config.model.architecture,
        model_config=dict(config.model.config),
        sequence_length=config.model.sequence_length,
        new_tokens=config.model.new_tokens,
        path=_absolute(model_catalog.file_of(config.model)),
        shapes=list(config.model.shapes),
    )
    data = Data(
        name=str(config.data.name),
        path=_absolute(config.data.path),
        labels=_absolute(config.data.labels),
        left_out=broken_pictures(config),
        columns=dict(config.data.columns),
        logits=config.data.logits,
        text=config.data.text,
        evaluation_samples=config.data.evaluation_samples,
        calibration_samples=config.data.calibration_samples,
    )
    own = find_environment(config.backend.environment)
    engine = Engine(
        backend=config.backend.name,
        precision=str(config.precision.name),
        steering={name: value for name, value in asdict(config.precision).items() if name != "name" and value},
        options=dict(config.backend.options),
        memory_format=str(config.memory_format),
        threads=threads,
        scenario=str(config.scenario),
        environment=own.name,
        scope=str(config.scope),
        pipeline_batch_size=config.pipeline_batch_size,
    )
    run = RunSettings(
        batch_size=config.batch_size,
        seed=config.seed,
        cache_dir=str(cache_folder(config)),
        environments={one.name: Environment(str(one.python), one.digest) for one in (find_environment(None), own)},
    )
    return Job(subject, data, engine, run, expectations or Expectations())


def _needs(library_path: str) -> bool:
    """Return whether this process has loaded a library from a folder of LD_LIBRARY_PATH: its workers then must, too."""
    folders = tuple(f"{folder.rstrip('/')}/" for folder in library_path.split(":") if folder)
    return bool(folders) and any(path.startswith(folders) for path in mapped_files())


@cache
def mapped_files() -> frozenset[str]:
    """Return the files that this process has mapped."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # no /proc, for example on macOS
        return frozenset()
    return frozenset(line.split(maxsplit=5)[5] for line in lines if "/" in line)


def _layout(config: RunConfig, machine: Machine) -> str:
    """Return the expected address layout: a value of :class:`runner.job.Expectations`."""
    if not config.measure.fixed_layout:
        return "random"
    return "fixed" if machine.fixed_layout else "forbidden"


def _real(preloaded: Sequence[Path]) -> str:
    """Return the file behind all links, as /proc/PID/maps shows it; empty if nothing is preloaded."""
    return str(preloaded[0].resolve()) if preloaded else ""


def _folder_or_name(model_id: str | None) -> str | None:
    """Return the absolute path of a folder; return a Hub name unchanged."""
    return _absolute(model_id) if model_id is not None and Path(model_id).is_dir() else model_id


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
