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
    """Baseline worker and references, kept from one run of a sweep to the next."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._kept: LoadedWorker | None = None
        self._references: dict[str, Path] = {}

    def baseline(self, config: RunConfig, run: Run) -> LoadedWorker:
        """Return the kept worker where it is of this configuration, else a new one.

        Where a run measures several process pairs, and in A/A, each pair is fresh: a kept process would carry what it
        is by accident into all of them.

        Raises:
            RunFailed: the baseline could not be started, loaded or warmed up.
        """
        launches = build_launches(config, this_machine(), os.environ)
        kept, self._kept = self._kept, None
        if kept is not None:
            fresh = config.measure.processes_max > 1 or run.plan.config.aa
            if kept.worker.alive() and kept.worker.launches == launches and not fresh:
                try:
                    run.note_launches(launches, "baseline")
                except BaseException:  # nobody else knows of it any more
                    kept.worker.stop()
                    raise
                return kept
            kept.worker.stop()
        return run.start(config, "baseline")

    def release(self, worker: LoadedWorker) -> None:
        """Keep a worker that is alive for the next run."""
        if worker.worker.alive():
            self._kept = worker
        else:
            worker.worker.stop()

    def reference(self, config: RunConfig, run: Run, baseline: LoadedWorker) -> Path:
        """Return the file with the fp32 logits; the baseline gives them where it is the reference."""
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
        """Stop the kept worker."""
        if self._kept is not None:
            self._kept.worker.stop()
            self._kept = None


def _subject(job: Job) -> str:
    """Return what a reference depends on: the network and the images, not how fast they are run."""
    fields = asdict(job)
    del fields["batch_size"]
    return json.dumps(fields, sort_keys=True)
