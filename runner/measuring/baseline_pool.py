"""The baseline process and the fp32 references, reused from one run of a sweep to the next."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.measuring.aggregation import LoadedWorker
from runner.measuring.run import Run
from runner.processes.launch import build_launches
from runner.protocol import Job


class BaselinePool:
    """Baseline worker and references, reused from one run of a sweep to the next."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._reusable: LoadedWorker | None = None
        self._references: dict[str, Path] = {}

    def baseline(self, config: RunConfig, run: Run) -> LoadedWorker:
        """Return the worker of the last run if it has this configuration, else a new one.

        If a run measures several process pairs, and in A/A, each pair is fresh: a reused process would carry its own
        accidents of memory layout into all of them.

        Raises:
            RunFailed: the baseline could not be started, loaded or warmed up.
        """
        launches = build_launches(config, this_machine(), os.environ)
        reusable, self._reusable = self._reusable, None
        if reusable is not None:
            fresh = config.measure.processes_max > 1 or run.plan.config.aa
            if reusable.worker.alive() and reusable.worker.launches == launches and not fresh:
                try:
                    run.note_launches(launches, "baseline")
                except BaseException:  # no other code refers to it any more
                    reusable.worker.stop()
                    raise
                return reusable
            reusable.worker.stop()
        return run.start(config, "baseline")

    def release(self, worker: LoadedWorker) -> None:
        """Reuse a worker for the next run if it is alive."""
        if worker.worker.alive():
            self._reusable = worker
        else:
            worker.worker.stop()

    def reference(self, config: RunConfig, run: Run, baseline: LoadedWorker) -> Path:
        """Return the file with the fp32 logits; the baseline computes them if it is the reference."""
        launches = build_launches(config, this_machine(), os.environ)
        key = _subject(launches[0].job)
        if key not in self._references:
            path = run.folder / "reference.npz"
            if baseline.worker.launches == launches:
                run.evaluate(baseline.worker, path, cached=True)
            else:
                worker, _ = run.open(config, "reference")
                try:
                    run.evaluate(worker, path, cached=True)
                finally:
                    worker.stop()
            self._references[key] = path
        return self._references[key]

    def close(self) -> None:
        """Stop the reused worker."""
        if self._reusable is not None:
            self._reusable.worker.stop()
            self._reusable = None


def _subject(job: Job) -> str:
    """Return what a reference depends on: the network and the images, but not the batch size."""
    fields = asdict(job)
    del fields["run"]["batch_size"]
    return json.dumps(fields, sort_keys=True)
