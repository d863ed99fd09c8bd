"""Make a job's artifacts in a separate process: ``python -m runner.worker.build JOB REPLY``.

Exporting and quantising a network leaves a process with other memory and threads than loading the result does.
So the measured process never makes an artifact: if one is missing, it starts this module, waits, and loads the result.
The measured process is therefore the same with a cold and with a warm cache.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from runner.job import HOST_ENVIRONMENT, Job
from runner.protocol import Built, Failure, Load, decode, encode
from runner.worker.artifacts.cache import Cache, Fetch, Missing
from runner.worker.backends.base import Model, Probe, Runtime, Settings
from runner.worker.converters.base import Order, artifact_recipe
from runner.worker.data.datasets import Dataset
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import BuildFailed, as_failure
from runner.worker.subjects.subject import Opener, Subject, shapes_of
from runner.worker.subprocesses import ask, die_with_parent
from runner.worker.tasks.base import Task, read_work, work_recipe
from runner.worker.tasks.registry import open_task

T = TypeVar("T")

MIN_PROBE_SQNR_DB = 12.0
"""Lowest SQNR in int8, in dB and apart from any runtime, at which the losses of a probe stand for those of trained
weights: a choice. Below it, noise of a quarter of the signal's amplitude decides the answers."""
VARIED_BATCHES = 8
"""Batches that are timed in turn if texts differ in length: their mean is that of 64 texts at the usual batch of 8."""
NOT_FOR_BUILDING = ("LD_PRELOAD", "OMP_", "KMP_", "GLIBC_TUNABLES", "MALLOC_", "THP_")
"""Prefixes of environment variables that are under measurement: artifacts must not depend on them."""


@dataclass(frozen=True)
class Gathered:
    """The parts of a job, with all artifacts in the cache."""

    settings: Settings
    runtime: Runtime
    dataset: Dataset
    subject: Subject
    task: Task
    model: Model
    """What the runtime loads."""
    samples: Any
    """The first batch of the evaluation samples."""
    others: Sequence[Any]
    """Further batches, if they differ in length: they are timed in turn."""
    macs: float
    """Multiply-accumulates of that batch; 0 if they are not known."""
    synthetic: bool = False
    """Whether the data set is random numbers."""

    def load(self) -> None:
        """Load the model into the runtime."""
        self.task.load(self.runtime, self.model)

    @property
    def notes(self) -> list[str]:
        """Remarks on how the model was made, for readers of the result."""
        calibrated = self.settings.precision in ("int8", "int8_accuracy") and self.synthetic
        remarks = (
            ["int8 is calibrated on synthetic values: its accuracy says nothing about your data"] if calibrated else []
        )
        if self.settings.precision in ("int8", "int8_accuracy", "int8_dynamic") and not has_vnni():
            remarks.append("a bit of each int8 product is left free: this processor adds pairs of them in 16 bits")
        source, own = self.dataset.source, self.subject.classes
        if source.labels is not None and own is not None and own != source.classes:
            remarks.append(
                f"accuracy is agreement with fp32: the data have {source.classes} classes, and the model has {own}"
            )
        return [*self.subject.notes, *remarks]

    @property
    def no_gate(self) -> str:
        """Why the accuracy says nothing about trained weights; empty if it does."""
        sqnr_db = self.subject.int8_sqnr_db
        if sqnr_db is None or sqnr_db >= MIN_PROBE_SQNR_DB or not self.settings.precision.startswith("int8"):
            return ""
        return (
            f"no verdict of the gate: in int8 the probe keeps {sqnr_db:.1f} dB in any runtime, less than "
            f"{MIN_PROBE_SQNR_DB:g}, and does not stand for trained weights: take weights=pretrained or file"
        )

    @property
    def tokens_per_sample(self) -> float:
        """Mean number of tokens in the timed texts, without padding; 0 if all batches have one length."""
        masks = [self.subject.inputs(batch).get("attention_mask") for batch in (self.samples, *self.others)]
        counted = [float(mask.sum()) / len(mask) for mask in masks if mask is not None]
        return sum(counted) / len(counted) if self.others and counted else 0.0

    @property
    def probe(self) -> Probe:
        """The first batch, with which the runtime proves its precision."""
        task, model, samples = self.task, self.model, self.samples
        return Probe(lambda runtime: task.load(runtime, model), lambda runtime: task.run(runtime, samples), self.macs)


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
    settings = Settings(
        precision=engine.precision,
        partial=bool(engine.steering.get("ignore")) or engine.precision == "int8_accuracy",
        batch_size=job.run.batch_size,
        threads=engine.threads,
        memory_format=engine.memory_format,
        scenario=engine.scenario,
        cores=len(os.sched_getaffinity(0)),  # before the backend is imported, which may bind this process
    )
    module = importlib.import_module(f"runner.worker.backends.{engine.backend}")
    runtime: Runtime = module.Runtime(settings, **engine.options)
    accepted = runtime.accepted()
    dataset, subject = open_subject(job, fetch)
    task = open_task(job, subject)
    samples, _ = next(dataset.batches(dataset.evaluation, job.run.batch_size))
    example = subject.inputs(samples)
    shapes = shapes_of(example)
    form, recipe = artifact_recipe(accepted, Order(subject, dataset, shapes, accepted[0], engine.steering), fetch)
    model = Model(
        subject,
        form,
        fetch(recipe) if recipe else subject.folder(form),
        example,
        fixed_shapes=subject.signature.is_fixed and engine.scope == "model",
    )
    macs = read_work(fetch(work_recipe(task, subject, shapes))) * job.run.batch_size
    synthetic = job.data.name == "synthetic"
    others = [] if subject.signature.is_fixed else _further(dataset, job.run.batch_size)
    return Gathered(settings, runtime, dataset, subject, task, model, samples, others, macs, synthetic)


def _further(dataset: Dataset, batch_size: int) -> list[Any]:
    """Return the full batches after the first, up to VARIED_BATCHES in all."""
    full = len(dataset.evaluation) // batch_size
    samples = dataset.evaluation[batch_size : min(full, VARIED_BATCHES) * batch_size]
    return [samples for samples, _ in dataset.batches(samples, batch_size)]


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return a job's data set and its model; see :class:`runner.worker.subjects.subject.Opener`."""
    opener: Opener = importlib.import_module(f"runner.worker.subjects.{job.subject.source}").open_subject
    return opener(job, fetch)


def open_cache(job: Job, here: str) -> Cache:
    """Return a job's cache.

    Args:
        job: the job.
        here: the environment of this process.
    """
    digests = {name: environment.digest for name, environment in job.run.environments.items()}
    return Cache(Path(job.run.cache_dir), digests, here)


@dataclass
class Making:
    """What other processes had to make."""

    kinds: list[str] = field(default_factory=list)
    seconds: float = 0.0


def with_artifacts(
    job: Job, cache: Cache, use: Callable[[Fetch], T], on_missing: Callable[[], None] = lambda: None
) -> tuple[T, Making]:
    """Return what `use` makes of a job's artifacts, and what other processes had to make for it.

    Args:
        job: the job.
        cache: its cache.
        use: takes what fetches an artifact; called again once those that it missed are made.
        on_missing: called before another process starts.

    Raises:
        BuildFailed: another process failed; the reason is its own.
    """
    making = Making()
    missed = ""
    while True:
        try:
            return use(cache.require), making
        except Missing as missing:
            if str(missing) == missed:
                raise BuildFailed(Failure("failed", f"{missed} was made, and is not in the cache")) from missing
            missed = str(missing)
            on_missing()
            begin = time.monotonic()
            making.kinds += build_in_subprocess(job, missing.environment)
            making.seconds += time.monotonic() - begin


def count_work(job: Job, fetch: Fetch) -> float:
    """Return the multiply-accumulates of one sample of a job; 0 if they are not known.

    Raises:
        JobFailure: the model or its data are not available.
        Missing: from `fetch`.
    """
    dataset, subject = open_subject(job, fetch)
    shapes = shapes_of(subject.inputs(dataset.source.batch(dataset.evaluation[:1])))
    return read_work(fetch(work_recipe(open_task(job, subject), subject, shapes)))


def build_in_subprocess(job: Job, environment: str = HOST_ENVIRONMENT) -> list[str]:
    """Make the job's missing artifacts in another process, and return their kinds.

    Args:
        job: the job.
        environment: whose interpreter makes them: all that it can, up to the first that needs another environment.

    Raises:
        BuildFailed: the other process failed; the reason is its own.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_BUILDING)}
    python = job.run.environments[environment].python
    answer = ask("runner.worker.build", job, environment, python=python, env=variables)
    if isinstance(answer, Built):
        return answer.kinds
    assert isinstance(answer, Failure)
    raise BuildFailed(answer)


def main(request: Path, reply: Path, here: str) -> None:
    """Make the artifacts of a job, and write Built or Failure.

    Args:
        request: a file with a Load message.
        reply: the file to write.
        here: the environment of this process; artifacts that another one makes are left to it.
    """
    die_with_parent()
    message = decode(request.read_bytes())
    assert isinstance(message, Load)
    cache = open_cache(message.job, here)
    try:
        with contextlib.suppress(Missing):  # another environment makes it: the caller starts a process there
            gather(message.job, cache.get)
        answer: Built | Failure = Built(cache.made)
    except Exception as error:  # the reply reports it to the host
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
