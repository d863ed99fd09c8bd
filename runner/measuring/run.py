"""Execute one run: launch the pair, measure, evaluate, judge."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from runner.analysis.accuracy import Accuracy, InvalidOutput
from runner.analysis.findings import contradictions, distinct
from runner.analysis.statistics import Estimate
from runner.analysis.text_accuracy import compare_answers
from runner.config.redaction import hide
from runner.config.schema import MeasureConfig, RunConfig
from runner.machine.facts import this_machine
from runner.machine.interference import Watch
from runner.measuring.aggregation import Gathering, LoadedWorker, aggregate, any_pair_too_noisy, is_narrow_enough
from runner.measuring.pairing import HostShare, Pair
from runner.measuring.phase_timer import PhaseTimer
from runner.measuring.progress import Progress
from runner.measuring.round_log import write_rounds
from runner.measuring.slices import duration_s
from runner.processes.instances import Instances
from runner.processes.launch import WorkerLaunch, build_launches
from runner.protocol import Evaluate, Evaluated, Finding, Loaded, Observe, Observed, Warm, WarmUp
from runner.results.files import write_json
from runner.results.plan import Plan
from runner.results.result import Measurement, Result
from runner.results.status import RunFailed, Status, attribute_failure_to

log = logging.getLogger(__name__)


class Pool(Protocol):
    """What runs of a sweep share."""

    def baseline(self, config: RunConfig, run: Run) -> LoadedWorker:
        """Return a warm, frozen worker of a baseline configuration."""

    def release(self, worker: LoadedWorker) -> None:
        """Take a baseline worker back, for the next run, or stop it."""

    def reference(self, config: RunConfig, run: Run, baseline: LoadedWorker) -> Path:
        """Return the .npz file with the fp32 logits and the labels."""


class Run:
    """One run that is being executed: its folder, its progress display, and its time."""

    def __init__(self, plan: Plan, folder: Path, progress: Progress, watch: PhaseTimer) -> None:
        """Keep the parts of the run."""
        self.plan = plan
        self.folder = folder
        self.progress = progress
        self.watch = watch
        self.host = HostShare()

    def open(self, config: RunConfig, name: str) -> tuple[Instances, Loaded]:
        """Start the workers of a configuration and load their job.

        Args:
            config: what it runs.
            name: of its log file and its launch file.

        Raises:
            RunFailed: it could not be started or loaded.
        """
        launches = build_launches(config, this_machine(), os.environ)
        self.note_launches(launches, name)
        with self.watch.book("start"):
            worker = Instances(launches, self.folder / f"{name}.log")
        try:
            return worker, self._load(worker, config.measure)
        except BaseException:
            worker.stop()
            raise

    def note_launches(self, launches: Sequence[WorkerLaunch], name: str) -> None:
        """Write how the workers of a configuration are started: launch-NAME.json."""
        note = [{"argv": launch.argv, "env": launch.env, "job": asdict(launch.job)} for launch in launches]
        write_json(self.folder / f"launch-{name}.json", hide(note))

    def start(self, config: RunConfig, name: str) -> LoadedWorker:
        """Start a worker, load its job, warm it up and freeze it.

        Raises:
            RunFailed: it could not be started, loaded or warmed up.
        """
        worker, loaded = self.open(config, name)
        try:
            steady = self._warm_up(worker, config.measure)
            worker.freeze()
        except BaseException:
            worker.stop()
            raise
        return LoadedWorker(worker, loaded, steady)

    def _load(self, worker: Instances, measure: MeasureConfig) -> Loaded:
        """Have the workers load their job, and record the time of each phase as the first one reports it."""
        begin = time.monotonic()
        label = worker.first.launch.label
        loaded = worker.load(
            timeout_s=measure.prepare_timeout_s, on_phase=lambda name: self.progress.phase(f"{label}: {name}")
        )[0]
        total = time.monotonic() - begin
        self.watch.add("prepare", loaded.prepare_s)
        self.watch.add("first inference", loaded.first_inference_s)
        self.watch.add("load", total - loaded.prepare_s - loaded.first_inference_s)
        return loaded

    def _warm_up(self, worker: Instances, measure: MeasureConfig) -> bool:
        """Have the workers run until their speed is steady; return whether that of all of them became steady."""
        self.progress.phase(f"{worker.first.launch.label}: warm up")
        with self.watch.book("warm-up"):
            request = WarmUp(measure.warmup_s, measure.warmup_tolerance)
            return all(warm.steady for warm in worker.request(request, Warm, timeout_s=measure.request_timeout_s))

    def observe(self, loaded: LoadedWorker) -> list[Finding]:
        """Return the evidence of the workers; they are frozen afterwards."""
        self.progress.phase("evidence")
        timeout_s = self.plan.config.measure.request_timeout_s
        loaded.worker.thaw()
        with self.watch.book("evidence"):
            request = Observe(self.plan.config.measure.watch_s)
            answers = loaded.worker.request(request, Observed, timeout_s=timeout_s)
        loaded.worker.freeze()
        return distinct(finding for answer in answers for finding in answer.evidence)

    def evaluate(self, instances: Instances, path: Path, *, cached: bool) -> Path:
        """Have the first worker write its logits of the evaluation set; it is frozen afterwards."""
        self.progress.phase("reference accuracy" if cached else "accuracy")
        worker = instances.first
        worker.thaw()
        with self.watch.book("accuracy"):
            worker.request(
                Evaluate(str(path.absolute()), cached),
                Evaluated,
                timeout_s=self.plan.config.measure.request_timeout_s,
            )
        worker.freeze()
        return path


def execute_run(run: Run, pool: Pool) -> Result:
    """Execute one run. Any failure of a worker becomes the status of the result.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    begin = time.monotonic()
    measured = Gathering()
    status, reason, exception, log_tail = Status.ok, "", "", ""
    measurement = None
    try:
        _measure(run, pool, measured)
        measurement = aggregate(run.plan, measured)
        if measured.contradictions_found:
            raise RunFailed(Status.invalid, "; ".join(dict.fromkeys(measured.contradictions_found)))
    except RunFailed as failure:
        status, reason = failure.status, failure.reason
        exception, log_tail = failure.exception, failure.log_tail
    except InvalidOutput as error:
        status, reason = Status.invalid, f"{error}: look at the weights and the log"
    finally:
        unwritten = write_rounds(run.folder, measured.rounds)
    if measurement is None:
        measurement = _salvage(run.plan, measured)
    loaded = measured.candidate.loaded if measured.candidate else None
    return Result(
        label=run.plan.label,
        status=status,
        reason=reason,
        fingerprint=run.plan.fingerprint,
        settings=run.plan.settings,
        measurement=measurement,
        accuracy=measured.accuracy if status is Status.ok else None,
        phases=run.watch.seconds,
        wall_s=time.monotonic() - begin,
        load_s=loaded.load_s if loaded else None,
        prepare_s=loaded.prepare_s if loaded else None,
        first_inference_s=loaded.first_inference_s if loaded else None,
        rss_peak_mib=measured.rss_peak_mib,
        artifact_mib=loaded.artifact_mib if loaded else None,
        rebuilt=loaded.rebuilt if loaded else [],
        steady=measured.steady if measured.rounds else None,
        host_cpu_share=run.host.share if measured.rounds else None,
        evidence=measured.evidence,
        digests={"weights": loaded.weights_digest, "data": loaded.data_digest} if loaded else {},
        packages=loaded.packages if loaded else {},
        notes=[*(loaded.notes if loaded else []), *unwritten],
        exception=exception,
        log_tail=log_tail,
    )


def _salvage(plan: Plan, measured: Gathering) -> Measurement | None:
    """Return what the rounds before a failure say, for result.json: it is not shown, but not lost either."""
    if len(measured.clean) < max(2, plan.config.measure.rounds_min):
        return None
    try:
        return aggregate(plan, measured)
    except RunFailed as failure:  # the instances of a round did not overlap
        log.warning("%s: no measurement of its %d rounds: %s", plan.label, len(measured.rounds), failure.reason)
        return None


def _measure(run: Run, pool: Pool, measured: Gathering) -> None:
    """Measure fresh process pairs until the interval is narrow enough; the first pair gives the accuracy."""
    plan, measure = run.plan, run.plan.config.measure
    generator = random.Random(f"{plan.config.seed} {plan.label}")  # each repetition of an A/A has its own order
    for process in range(measure.processes_max):
        candidate = run.start(plan.config, "candidate")
        measured.candidate = measured.candidate or candidate
        try:
            with attribute_failure_to("its baseline"):
                baseline = pool.baseline(plan.baseline, run)
            measured.steady &= candidate.steady and baseline.steady
            try:
                pair = Pair(
                    candidate=candidate.worker,
                    baseline=baseline.worker,
                    batch_size=plan.config.batch_size,
                    baseline_batch_size=plan.baseline.batch_size,
                    process=process,
                    measure=measure,
                    generator=generator,
                    watch=Watch(this_machine().cores, [*candidate.worker.pids(), *baseline.worker.pids()]),
                    host=run.host,
                )
                _run_rounds(run, pair, measured)
                if measured.accuracy is None:
                    measured.rss_peak_mib = candidate.worker.rss_peak_mib()
                _gather_evidence(run, candidate, baseline, measured)
                if measured.accuracy is None:
                    measured.accuracy = _compare(run, pool, candidate, baseline)
            finally:
                pool.release(baseline)
        finally:
            with run.watch.book("stop"):
                candidate.worker.stop()
        if any_pair_too_noisy(measured.rounds, measure):
            break
        if process + 1 >= measure.processes_min and is_narrow_enough(plan, measured.clean):
            break


def _run_rounds(run: Run, pair: Pair, measured: Gathering) -> None:
    def show(number: int, contaminated: int, speedup: Estimate | None) -> None:
        run.progress.round(number, contaminated, pair.measure.rounds_max, speedup)

    show(0, 0, None)
    begin = time.monotonic()
    for one in pair.run_rounds(run.plan.config.seed, show):
        measured.rounds.append(one)
        timed = duration_s(one.candidate) + duration_s(one.baseline)
        run.watch.add("timed", timed)
        run.watch.add("settle", time.monotonic() - begin - timed)
        begin = time.monotonic()


def _gather_evidence(run: Run, candidate: LoadedWorker, baseline: LoadedWorker, measured: Gathering) -> None:
    """Collect the evidence of both; of a further process pair add what the earlier ones did not report."""
    known = {(finding.knob, finding.state) for finding in measured.evidence}
    found = run.observe(candidate)
    measured.evidence += [one for one in found if (one.knob, one.state) not in known]
    measured.contradictions_found += contradictions(found)
    with attribute_failure_to("its baseline"):
        measured.contradictions_found += [f"its baseline: {one}" for one in contradictions(run.observe(baseline))]


def _compare(run: Run, pool: Pool, candidate: LoadedWorker, baseline: LoadedWorker) -> Accuracy:
    """Compare the candidate's logits with the labels and with those of fp32 on the same images."""
    mine = run.evaluate(candidate.worker, run.folder / "logits.npz", cached=False)
    with attribute_failure_to("its fp32 reference"):
        truth = pool.reference(run.plan.reference, run, baseline)
    with run.watch.book("accuracy"), np.load(mine) as own, np.load(truth) as reference:
        for subject in ("weights", "data"):
            if str(own[subject]) != str(reference[subject]):
                reason = f"its fp32 reference has other {subject}: it changed during the sweep, or by `reference`"
                raise RunFailed(Status.failed, reason)
        return compare_answers(own, reference)
