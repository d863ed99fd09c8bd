"""One run, told from top to bottom: launch the pair, measure, evaluate, judge."""

from __future__ import annotations

import csv
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runner import accuracy
from runner.accuracy import Accuracy, InvalidOutput
from runner.config import MeasureConfig, RunConfig
from runner.environment import build_launches
from runner.instances import Instances
from runner.machine import this_machine
from runner.pairing import (
    HostShare,
    Pair,
    Round,
    batch_times_ms,
    by_process,
    duration_s,
    estimate_speedup,
    lanes,
)
from runner.protocol import Evaluate, Evaluated, Loaded, Warm, WarmUp
from runner.result import Measurement, Result, RunFailed, Status, blamed_on, write_json
from runner.screen import Screen
from runner.statistics import Estimate, Verdict, geometric_mean, judge, rounds_to_settle


@dataclass(frozen=True)
class Plan:
    """A run that is still to be made."""

    config: RunConfig
    baseline: RunConfig
    reference: RunConfig
    """The fp32 configuration whose logits are the truth that this run's are compared with."""
    settings: dict[str, Any]
    """The flattened resolved configuration."""
    yaml: str
    """The resolved configuration, for the run's folder."""
    label: str
    fingerprint: str


@dataclass
class Stopwatch:
    """Where the time of a run goes, by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        """Book seconds on a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def book(self, phase: str) -> Iterator[None]:
        """Book the time of a block on a phase."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(phase, time.monotonic() - begin)


class Bench(Protocol):
    """What outlives one run of a sweep."""

    def baseline(self, config: RunConfig, run: Run) -> LoadedWorker:
        """Return a warm, frozen worker of a baseline configuration."""

    def release(self, worker: LoadedWorker) -> None:
        """Take a baseline worker back: it is kept for the next run, or stopped."""

    def reference(self, config: RunConfig, run: Run, baseline: LoadedWorker) -> Path:
        """Return the file with the fp32 logits and the labels."""


@dataclass(frozen=True)
class LoadedWorker:
    """Workers whose job is loaded and whose speed is steady."""

    worker: Instances
    loaded: Loaded
    steady: bool


class Run:
    """One run in the making: its folder, its screen, and its time."""

    def __init__(self, plan: Plan, folder: Path, screen: Screen) -> None:
        """Keep what belongs to the run."""
        self.plan = plan
        self.folder = folder
        self.screen = screen
        self.watch = Stopwatch()
        self.host = HostShare()

    def open(self, config: RunConfig, name: str) -> tuple[Instances, Loaded]:
        """Start the workers of a configuration and load their job.

        Args:
            config: what it runs.
            name: of its log file.

        Raises:
            RunFailed: it could not be started or loaded.
        """
        launches = build_launches(config, this_machine(), os.environ)
        note = [{"argv": launch.argv, "env": launch.env, "job": asdict(launch.job)} for launch in launches]
        write_json(self.folder / f"launch-{name}.json", note)
        with self.watch.book("start"):
            worker = Instances(launches, self.folder / f"{name}.log")
        try:
            return worker, self._load(worker, config.measure)
        except BaseException:
            worker.stop()
            raise

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
        """Have the workers load their job, and book the time as the first tells it; the evidence is all workers'."""
        begin = time.monotonic()
        label = worker.first.launch.label
        all_loaded = worker.load(
            timeout_s=measure.prepare_timeout_s, on_phase=lambda name: self.screen.phase(f"{label}: {name}")
        )
        evidence = [entry for one in all_loaded for entry in one.evidence]
        loaded = replace(all_loaded[0], evidence=[e for i, e in enumerate(evidence) if e not in evidence[:i]])
        total = time.monotonic() - begin
        self.watch.add("prepare", loaded.prepare_s)
        self.watch.add("first inference", loaded.first_inference_s)
        self.watch.add("load", total - loaded.prepare_s - loaded.first_inference_s)
        return loaded

    def _warm_up(self, worker: Instances, measure: MeasureConfig) -> bool:
        """Have the workers run until their speed is steady; return whether all became so."""
        self.screen.phase(f"{worker.first.launch.label}: warm up")
        with self.watch.book("warm-up"):
            request = WarmUp(measure.warmup_s, measure.warmup_tolerance)
            return all(warm.steady for warm in worker.ask(request, Warm, timeout_s=measure.request_timeout_s))

    def evaluate(self, instances: Instances, path: Path, *, cached: bool) -> Path:
        """Have the first worker write its logits of the evaluation set; it is frozen afterwards."""
        self.screen.phase("reference accuracy" if cached else "accuracy")
        worker = instances.first
        worker.thaw()
        with self.watch.book("accuracy"):
            worker.ask(
                Evaluate(str(path.absolute()), cached),
                Evaluated,
                timeout_s=self.plan.config.measure.request_timeout_s,
            )
        worker.freeze()
        return path


@dataclass
class _Measured:
    """What has been gathered when the measuring ends, whichever way it ends."""

    rounds: list[Round] = field(default_factory=list)
    accuracy: Accuracy | None = None
    candidate: LoadedWorker | None = None
    steady: bool = True
    rss_peak_mib: float | None = None


def run_experiment(run: Run, bench: Bench) -> Result:
    """Make one run. Whatever happens in a worker becomes the status of the result; nothing is raised for it.

    Raises:
        KeyboardInterrupt: the person stopped it.
    """
    begin = time.monotonic()
    measured = _Measured()
    status, reason, exception, log_tail = Status.ok, "", "", ""
    measurement = None
    try:
        _measure(run, bench, measured)
        measurement = _conclude(run.plan, measured)
    except RunFailed as failure:
        status, reason = failure.status, failure.reason
        exception, log_tail = failure.exception, failure.log_tail
    except InvalidOutput as error:
        status, reason = Status.invalid, f"{error}: look at the weights and the log"
    finally:
        _write_rounds(run.folder, measured.rounds)
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
        steady=measured.steady if measured.rounds else None,
        host_cpu_share=run.host.share if measured.rounds else None,
        evidence=loaded.evidence if loaded else [],
        digests={"weights": loaded.weights_digest, "data": loaded.data_digest} if loaded else {},
        packages=loaded.packages if loaded else {},
        exception=exception,
        log_tail=log_tail,
    )


def _measure(run: Run, bench: Bench, measured: _Measured) -> None:
    """Measure fresh process pairs until the interval is narrow enough; accuracy comes from the first."""
    plan, measure = run.plan, run.plan.config.measure
    generator = random.Random(plan.config.seed)
    for process in range(measure.processes_max):
        candidate = run.start(plan.config, "candidate")
        measured.candidate = measured.candidate or candidate
        try:
            _refuse_contradictions(candidate)
            with blamed_on("its baseline"):
                baseline = bench.baseline(plan.baseline, run)
            measured.steady &= candidate.steady and baseline.steady
            try:
                with blamed_on("its baseline"):
                    _refuse_contradictions(baseline)
                pair = Pair(
                    candidate=candidate.worker,
                    baseline=baseline.worker,
                    batch_size=plan.config.batch_size,
                    baseline_batch_size=plan.baseline.batch_size,
                    process=process,
                    measure=measure,
                    generator=generator,
                    host=run.host,
                )
                _run_rounds(run, pair, measured)
                if measured.accuracy is None:
                    measured.rss_peak_mib = candidate.worker.rss_peak_mib()
                    measured.accuracy = _compare(run, bench, candidate, baseline)
            finally:
                bench.release(baseline)
        finally:
            with run.watch.book("stop"):
                candidate.worker.stop()
        if process + 1 >= measure.processes_min and _half_width(plan, measured.rounds) <= measure.goal:
            break


def _run_rounds(run: Run, pair: Pair, measured: _Measured) -> None:
    def show(number: int, speedup: Estimate | None) -> None:
        run.screen.round(number, pair.measure.rounds_max, speedup)

    show(0, None)
    begin = time.monotonic()
    for one in pair.run_rounds(run.plan.config.seed, show):
        measured.rounds.append(one)
        timed = duration_s(one.candidate) + duration_s(one.baseline)
        run.watch.add("timed", timed)
        run.watch.add("settle", time.monotonic() - begin - timed)
        begin = time.monotonic()


def _half_width(plan: Plan, rounds: list[Round]) -> float:
    return estimate_speedup(rounds, plan.config.seed).half_width


def _compare(run: Run, bench: Bench, candidate: LoadedWorker, baseline: LoadedWorker) -> Accuracy:
    """Compare the candidate's logits with the labels and with fp32 on the very same images."""
    mine = run.evaluate(candidate.worker, run.folder / "logits.npz", cached=False)
    with blamed_on("its fp32 reference"):
        truth = bench.reference(run.plan.reference, run, baseline)
    with run.watch.book("accuracy"), np.load(mine) as own, np.load(truth) as reference:
        for subject in ("weights", "data"):
            if str(own[subject]) != str(reference[subject]):
                reason = (
                    f"its fp32 reference has other {subject}: they changed during the sweep, or `reference` does it"
                )
                raise RunFailed(Status.failed, reason)
        return accuracy.compare(own["logits"], reference["logits"], own["labels"])


def _refuse_contradictions(worker: LoadedWorker) -> None:
    """Publish no number for a setting that did not take effect.

    Raises:
        RunFailed: with the status `invalid`, where the evidence contradicts what was asked for.
    """
    lies = [entry for entry in worker.loaded.evidence if entry["state"] == "contradicted"]
    if lies:
        told = "; ".join(f"{lie['knob']}: asked {lie['asked']}, observed {lie['observed']}" for lie in lies)
        raise RunFailed(Status.invalid, told)


def _conclude(plan: Plan, measured: _Measured) -> Measurement:
    rounds, seed = measured.rounds, plan.config.seed
    measure = plan.config.measure
    speedup = estimate_speedup(rounds, seed)
    verdict = judge(speedup, measure.noise_floor)
    times = np.array([time for one in rounds for time in batch_times_ms(one.candidate)])
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    return Measurement(
        throughput=geometric_mean(by_process(rounds, lambda one: float(np.log(one.candidate_throughput))), seed),
        baseline_throughput=geometric_mean(
            by_process(rounds, lambda one: float(np.log(one.baseline_throughput))), seed
        ),
        speedup=speedup,
        verdict=verdict,
        rounds=len(rounds),
        processes=len({one.process for one in rounds}),
        rounds_more=rounds_to_settle(speedup, measure.noise_floor, len(rounds))
        if verdict is Verdict.inconclusive
        else None,
        goal_reached=speedup.half_width <= measure.goal,
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        latency_p99_ms=p99,
        latency_samples=len(times),
        round_throughput=[one.candidate_throughput for one in rounds],
    )


def _write_rounds(folder: Path, rounds: list[Round]) -> None:
    """Keep every round as a line, and every batch's time, raw."""
    if not rounds:
        return
    with (folder / "rounds.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            [
                "process",
                "first",
                "candidate_throughput",
                "baseline_throughput",
                "ratio",
                "major_faults",
                "candidate_minor_faults",
                "baseline_minor_faults",
            ]
        )
        for one in rounds:
            writer.writerow(
                [
                    one.process,
                    "candidate" if one.candidate_first else "baseline",
                    f"{one.candidate_throughput:.6g}",
                    f"{one.baseline_throughput:.6g}",
                    f"{np.exp(one.log_ratio):.6g}",
                    sum(part.major_faults for part in [*one.candidate, *one.baseline]),
                    sum(part.minor_faults for part in one.candidate),
                    sum(part.minor_faults for part in one.baseline),
                ]
            )
    stamps = {
        f"{side}_{number:03d}" + (f"_{lane}" if lane else ""): np.array(stamps, np.int64)
        for number, one in enumerate(rounds)
        for side in ("candidate", "baseline")
        for lane, stamps in enumerate(lanes(getattr(one, side)))
    }
    np.savez_compressed(folder / "stamps_ns.npz", allow_pickle=False, **stamps)
