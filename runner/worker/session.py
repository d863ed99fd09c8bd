"""One job in the measured process: load, warm up, time, observe, evaluate."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.job import Job
from runner.protocol import (
    CONTRADICTED,
    VERIFIED,
    Evaluated,
    Failure,
    Finding,
    Loaded,
    Observe,
    Observed,
    RunSlice,
    Slice,
    Warm,
    WarmUp,
)
from runner.worker import timing
from runner.worker.artifacts.cache import Recipe
from runner.worker.backends.base import Step
from runner.worker.build import Gathered, gather, open_cache, with_artifacts
from runner.worker.evidence.busy import observe
from runner.worker.evidence.isa import cpu_flags
from runner.worker.evidence.settings import collect, guarded
from runner.worker.failures import Unsupported
from runner.worker.heap import Heap
from runner.worker.subprocesses import ask
from runner.worker.tasks.base import Answers

ANSWERS_FILE = "answers.npz"
REFERENCE_VERSION = 3
"""Part of the cache key. Increment it when the computation of the reference changes: cached ones become invalid."""


class Session:
    """The job of a worker, and the host's requests on it as methods."""

    def __init__(self, job: Job, on_phase: Callable[[str], None]) -> None:
        """Store the job; :meth:`load` imports and loads it.

        Args:
            job: what to run.
            on_phase: called with the name of each phase when it starts.
        """
        self._job = job
        self._on_phase = on_phase
        self._cache = open_cache(job, job.engine.environment)
        self._heap = Heap()
        self._affinity = os.sched_getaffinity(0)
        self._before_timing: dict[str, int] | None = None
        self._batch_ns: float | None = None
        """Median batch time of the last phase; None before the first."""
        self._parts: Gathered
        self._steps: list[Step]

    def load(self) -> Loaded:
        """Load and prepare the job, and run the first inference.

        Raises:
            JobFailure: the job cannot run; any other exception is a defect of a library or of this program.
        """
        begin = time.monotonic()
        self._on_phase("load")
        parts, making = with_artifacts(
            self._job, self._cache, lambda fetch: gather(self._job, fetch), lambda: self._on_phase("build")
        )
        self._parts = parts
        loaded = time.monotonic()
        self._on_phase("compile")
        parts.load()
        prepared = time.monotonic()
        self._on_phase("first inference")
        requests = parts.runtime.requests()
        if self._job.engine.scenario == "async" and requests == 1:
            raise Unsupported(
                "with one request in flight scenario=async is scenario=sync: take scenario=sync, or more threads"
            )
        self._steps = [self._bind() for _ in range(requests)]
        self._steps[0]()
        inferred = time.monotonic()
        return Loaded(
            load_s=loaded - begin - making.seconds,
            prepare_s=prepared - loaded + making.seconds,
            first_inference_s=inferred - prepared,
            artifact_mib=_size_mib(parts.model.folder),
            rebuilt=making.kinds,
            weights_digest=parts.subject.digest,
            data_digest=parts.dataset.digest,
            tokens_per_sample=parts.tokens_per_sample,
            no_gate=parts.no_gate,
            notes=[*parts.dataset.source.notes(parts.dataset.evaluation), *parts.notes],
        )

    @property
    def parts(self) -> Gathered:
        """The parts of the job, once it is loaded."""
        return self._parts

    def _bind(self) -> Step:
        """Return the step of one request in flight: a batch, or several in turn if they differ in length."""
        parts = self._parts
        steps = [parts.task.bind(parts.runtime, samples) for samples in (parts.samples, *parts.others)]
        return timing.Rotation(steps) if parts.others else steps[0]

    def warm_up(self, request: WarmUp) -> Warm:
        """Run untimed batches until the speed is steady, or is that of an earlier process."""
        begin = time.monotonic()
        with timing.garbage_collector_off():
            if request.expected_ms is None:
                maximum_ns = round(request.maximum_s * 1e9)
                warm = timing.warm_up(self._steps, maximum_ns=maximum_ns, tolerance=request.tolerance)
            else:
                expected_ns = request.expected_ms * 1e6
                warm = timing.fault_in(self._steps, expected_ns=expected_ns, tolerance=request.tolerance)
        self._batch_ns = warm.batch_ns
        return Warm(
            steady=warm.steady,
            seconds=time.monotonic() - begin,
            iterations=warm.iterations,
            batch_ms=warm.batch_ns / 1e6,
        )

    def run_slice(self, request: RunSlice) -> Slice:
        """Time one slice, on a newly drawn heap layout, after untimed batches that refill caches and memory."""
        if self._before_timing is None:
            self._before_timing = self._parts.runtime.counters()
        self._heap.redraw(request.heap_seed)
        settling = timing.Settling(
            minimum_ns=round(request.settle_s * 1e9),
            maximum_iterations=request.settle_iterations,
            expected_ns=self._batch_ns,
        )
        with timing.garbage_collector_off():
            before = resource.getrusage(resource.RUSAGE_SELF)
            timed = timing.run_steps(
                self._steps,
                settling=settling,
                minimum_ns=round(request.minimum_s * 1e9),
                minimum_iterations=request.minimum_iterations,
            )
            after = resource.getrusage(resource.RUSAGE_SELF)
        self._batch_ns = timed.median_ns
        marks = self._parts.task.marks(self._parts.runtime)
        return Slice(
            stamps_ns=timed.lanes,
            marks_ns=marks[-(len(timed.lanes[0]) - 1) :] if marks else [],
            major_faults=after.ru_majflt - before.ru_majflt,
            minor_faults=after.ru_minflt - before.ru_minflt,
            untimed=timed.untimed,
        )

    def observe(self, request: Observe) -> Observed:
        """Report what took effect: counters that must not change between slices, the settings, the arithmetic."""
        job, parts = self._job, self._parts
        before = self._before_timing
        found = [_recompilations(before, parts.runtime.counters())] if before else []
        busy = observe(self._steps, request.watch_s)
        found += collect(job.expectations, self._affinity, parts.settings.threads_per_request, job.engine.threads, busy)
        if request.arithmetic:
            found += guarded("precision", self._prove)
        return Observed(found)

    def _prove(self) -> list[Finding]:
        """Return what the runtime finds about itself, in this process or in another."""
        runtime = self._parts.runtime
        if not runtime.proves_apart:
            return runtime.evidence(self._parts.probe)
        answer = ask("runner.worker.prove", self._job)
        if isinstance(answer, Observed):
            return answer.evidence
        assert isinstance(answer, Failure)
        raise RuntimeError(answer.reason)

    def evaluate(self, path: str, *, cached: bool) -> Evaluated:
        """Write answers and labels of the evaluation set to an .npz file; see :class:`runner.protocol.Evaluate`.

        Args:
            path: the file to write.
            cached: read the answers from the cache, or store them there: for the fp32 reference only.
        """
        begin = time.monotonic()
        dataset = self._parts.dataset
        recipe = self._reference_recipe()
        from_cache = cached and self._cache.find(recipe) is not None
        answers = _read(self._cache.get(recipe) / ANSWERS_FILE) if cached else self._answer_evaluation_set()
        labels = dataset.labels(dataset.evaluation)
        logits = answers.get("logits")
        if labels.size and (logits is None or logits.shape[1] != dataset.source.classes):
            labels = labels[:0]  # the outputs are no classes, or others than those of the data: labels do not apply
        known = dataset.source.answers
        right = [] if known is None else [json.dumps(known[index]) for index in dataset.evaluation]
        first, *others = dataset.evaluation
        differing = any(dataset.source.fingerprint(one) != dataset.source.fingerprint(first) for one in others)
        arrays: dict[str, Any] = {**answers, "labels": labels, "right": right, "differing": differing}
        np.savez(path, **arrays, weights=self._parts.subject.digest, data=dataset.digest)
        return Evaluated(path=path, seconds=time.monotonic() - begin, from_cache=from_cache)

    def _answer_evaluation_set(self) -> Answers:
        parts, dataset = self._parts, self._parts.dataset
        found = [
            (parts.task.answers(parts.runtime, samples), count)
            for samples, count in dataset.batches(dataset.evaluation, self._job.run.batch_size)
        ]
        return {name: _join([answers[name][:count] for answers, count in found]) for name in found[0][0]}

    def _reference_recipe(self) -> Recipe:
        job = self._job
        key = {
            "subject": self._parts.subject.key,
            "data": self._parts.dataset.digest,
            "backend": job.engine.backend,
            "precision": job.engine.precision,
            "options": job.engine.options,
            "memory_format": job.engine.memory_format,
            "threads": job.engine.threads,
            "batch_size": job.run.batch_size,
            "expectations": dataclasses.asdict(job.expectations),
            "new_tokens": job.subject.new_tokens,
            "isa": sorted(cpu_flags()),
            "version": REFERENCE_VERSION,
        }

        def build(folder: Path) -> None:
            answers: dict[str, Any] = dict(self._answer_evaluation_set())
            np.savez(folder / ANSWERS_FILE, **answers)

        return Recipe("reference", key, build, job.engine.environment)


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate the answers to batches along the first axis; shorter texts are padded with zeros along the last."""
    width = max(part.shape[-1] for part in parts)
    if parts[0].ndim == 1 or all(part.shape[-1] == width for part in parts):
        return np.concatenate(parts)
    return np.concatenate([np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, width - part.shape[-1])]) for part in parts])


def _read(path: Path) -> Answers:
    with np.load(path) as stored:
        return dict(stored)


def _recompilations(before: dict[str, int], after: dict[str, int]) -> Finding:
    """Report whether a counter of compilations changed since the first timed slice.

    Args:
        before: the runtime's counters before the first timed slice.
        after: the same counters after the last.
    """
    changed = {name: after[name] - count for name, count in before.items() if after[name] != count}
    return Finding(
        "recompilations",
        "none while timed",
        ", ".join(f"{name}: {count}" for name, count in changed.items()) or "none",
        CONTRADICTED if changed else VERIFIED,
        "the runtime's own counters",
        "something differs from batch to batch, a shape, a layout or a mode: TORCH_LOGS=recompiles names it"
        if changed
        else "",
        {"recompilations": sum(changed.values())},
    )


def _size_mib(folder: Path | None) -> float | None:
    if folder is None:
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
