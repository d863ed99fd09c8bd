"""One run, told from top to bottom: launch the pair, measure, evaluate, judge."""

from __future__ import annotations

import csv
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runner.analysis.accuracy import Accuracy, InvalidOutput
from runner.analysis.findings import contradictions, distinct
from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge, rounds_to_settle
from runner.analysis.text_accuracy import compare_answers
from runner.config.redaction import hide
from runner.config.schema import MeasureConfig, RunConfig
from runner.machine.facts import this_machine
from runner.machine.interference import Watch, worst
from runner.measuring.pairing import (
    HostShare,
    Pair,
    Round,
    batch_times_ms,
    by_process,
    duration_s,
    estimate_speedup,
    gave_up,
    lanes,
)
from runner.measuring.progress import Screen
from runner.planning.plans import Plan
from runner.processes.instances import Instances
from runner.processes.launch import WorkerLaunch, build_launches
from runner.protocol import Evaluate, Evaluated, Finding, Loaded, Observe, Observed, Warm, WarmUp
from runner.results.noise_floor import noise_floor
from runner.results.result import Measurement, Result, RunFailed, Status, blamed_on, write_json


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

    def __init__(self, plan: Plan, folder: Path, screen: Screen, watch: Stopwatch) -> None:
        """Keep what belongs to the run."""
        self.plan = plan
        self.folder = folder
        self.screen = screen
        self.watch = watch
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
        self.note_launches(launches, name)
        with self.watch.book("start"):
            worker = Instances(launches, self.folder / f"{name}.log")
        try:
            return worker, self._load(worker, config.measure)
        except BaseException:
            worker.stop()
            raise

    def note_launches(self, launches: Sequence[WorkerLaunch], name: str) -> None:
        """Keep how workers are started, or were."""
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
        """Have the workers load their job, and book the time as the first tells it."""
        begin = time.monotonic()
        label = worker.first.launch.label
        loaded = worker.load(
            timeout_s=measure.prepare_timeout_s, on_phase=lambda name: self.screen.phase(f"{label}: {name}")
        )[0]
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

    def observe(self, loaded: LoadedWorker) -> list[Finding]:
        """Have the workers tell what took effect; they are frozen afterwards."""
        self.screen.phase("evidence")
        timeout_s = self.plan.config.measure.request_timeout_s
        loaded.worker.thaw()
        with self.watch.book("evidence"):
            request = Observe(self.plan.config.measure.watch_s)
            answers = loaded.worker.ask(request, Observed, timeout_s=timeout_s)
        loaded.worker.freeze()
        return distinct(finding for answer in answers for finding in answer.evidence)

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
    evidence: list[Finding] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)
    """What the evidence contradicts, in words."""
    candidate: LoadedWorker | None = None
    steady: bool = True
    rss_peak_mib: float | None = None

    @property
    def calm(self) -> list[Round]:
        """The rounds that nothing disturbed."""
        return [one for one in self.rounds if one.calm]


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
        if measured.lies:
            raise RunFailed(Status.invalid, "; ".join(dict.fromkeys(measured.lies)))
    except RunFailed as failure:
        status, reason = failure.status, failure.reason
        exception, log_tail = failure.exception, failure.log_tail
    except InvalidOutput as error:
        status, reason = Status.invalid, f"{error}: look at the weights and the log"
    finally:
        unwritten = _keep_rounds(run.folder, measured.rounds)
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


def _measure(run: Run, bench: Bench, measured: _Measured) -> None:
    """Measure fresh process pairs until the interval is narrow enough; accuracy comes from the first."""
    plan, measure = run.plan, run.plan.config.measure
    generator = random.Random(f"{plan.config.seed} {plan.label}")  # each repetition of an A/A draws its own
    for process in range(measure.processes_max):
        candidate = run.start(plan.config, "candidate")
        measured.candidate = measured.candidate or candidate
        try:
            with blamed_on("its baseline"):
                baseline = bench.baseline(plan.baseline, run)
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
                    measured.accuracy = _compare(run, bench, candidate, baseline)
            finally:
                bench.release(baseline)
        finally:
            with run.watch.book("stop"):
                candidate.worker.stop()
        if _gave_up(measured.rounds, measure):
            break
        if process + 1 >= measure.processes_min and _narrow_enough(plan, measured.calm):
            break


def _run_rounds(run: Run, pair: Pair, measured: _Measured) -> None:
    def show(number: int, disturbed: int, speedup: Estimate | None) -> None:
        run.screen.round(number, disturbed, pair.measure.rounds_max, speedup)

    show(0, 0, None)
    begin = time.monotonic()
    for one in pair.run_rounds(run.plan.config.seed, show):
        measured.rounds.append(one)
        timed = duration_s(one.candidate) + duration_s(one.baseline)
        run.watch.add("timed", timed)
        run.watch.add("settle", time.monotonic() - begin - timed)
        begin = time.monotonic()


def _gave_up(rounds: Sequence[Round], measure: MeasureConfig) -> bool:
    """Return whether the machine did not become quiet for some process pair."""
    pairs = ([one.calm for one in rounds if one.process == process] for process in {one.process for one in rounds})
    return any(gave_up(calm.count(True), calm.count(False), measure) for calm in pairs)


def _narrow_enough(plan: Plan, rounds: list[Round]) -> bool:
    return len(rounds) > 1 and estimate_speedup(rounds, plan.config.seed).half_width <= plan.config.measure.goal


def _gather_evidence(run: Run, candidate: LoadedWorker, baseline: LoadedWorker, measured: _Measured) -> None:
    """Ask both what took effect; of a further process pair keep what the ones before did not tell."""
    known = {(finding.knob, finding.state) for finding in measured.evidence}
    found = run.observe(candidate)
    measured.evidence += [one for one in found if (one.knob, one.state) not in known]
    measured.lies += contradictions(found)
    with blamed_on("its baseline"):
        measured.lies += [f"its baseline: {lie}" for lie in contradictions(run.observe(baseline))]


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
        return compare_answers(own, reference)


def _conclude(plan: Plan, measured: _Measured) -> Measurement:
    """Return what the calm rounds say; where the machine did not become quiet, what all say, and no verdict."""
    measure, seed = plan.config.measure, plan.config.seed
    disturbed = [one for one in measured.rounds if not one.calm]
    too_noisy = _gave_up(measured.rounds, measure)
    rounds = measured.rounds if too_noisy else measured.calm
    speedup = estimate_speedup(rounds, seed)
    floor = noise_floor(plan.config, this_machine())
    verdict = Verdict.too_noisy if too_noisy else judge(speedup, floor)
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
        rounds_more=rounds_to_settle(speedup, floor, len(rounds)) if verdict is Verdict.inconclusive else None,
        goal_reached=speedup.half_width <= measure.goal,
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        latency_p99_ms=p99,
        latency_samples=len(times),
        round_throughput=[one.candidate_throughput for one in rounds],
        noise_floor=floor,
        **_token_times(rounds, plan.config),
        minor_faults_per_batch=_faults_per_batch(rounds, measure.settle_iterations),
        rounds_disturbed=len(disturbed),
        disturbances=worst(one.noise for one in disturbed).disturbances() if disturbed else [],
    )


def _token_times(rounds: list[Round], config: RunConfig) -> dict[str, Any]:
    """Return the median times of the first token and of each further one, where text is generated; else nothing."""
    first, further = [], []
    for one in [part for round_ in rounds for part in round_.candidate if part.marks_ns]:
        [stamps] = one.stamps_ns
        for begin, mark, end in zip(stamps[:-1], one.marks_ns, stamps[1:], strict=True):
            first.append((mark - begin) / 1e6)
            further.append((end - mark) / 1e6 / (config.model.new_tokens - 1))
    if not first:
        return {}
    return {
        "first_token_ms": float(np.median(first)),
        "token_ms": float(np.median(further)),
        "new_tokens": config.model.new_tokens,
    }


def _faults_per_batch(rounds: list[Round], settle_iterations: int) -> float:
    """Return the candidate's minor page faults per batch, the batches that settle counted at their least number."""
    slices = [one for round_ in rounds for one in round_.candidate]
    batches = sum(len(stamps) - 1 + settle_iterations for one in slices for stamps in one.stamps_ns)
    return sum(one.minor_faults for one in slices) / batches


def _keep_rounds(folder: Path, rounds: list[Round]) -> list[str]:
    """Keep every round as a line, and every batch's time, raw; return why that could not be done."""
    try:
        if rounds:
            _write_rounds(folder, rounds)
    except OSError as error:  # a full disk: what the rounds say is worth more than they are
        return [f"its rounds could not be written: {error}"]
    return []


def _write_rounds(folder: Path, rounds: list[Round]) -> None:
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
                "foreign",
                "steal",
                "throttled",
                "disturbed",
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
                    f"{one.noise.foreign:.3f}",
                    f"{one.noise.steal:.3f}",
                    f"{one.noise.throttled:.3f}",
                    "; ".join(one.noise.disturbances()),
                ]
            )
    stamps = {
        f"{side}_{number:03d}" + (f"_{lane}" if lane else ""): np.array(stamps, np.int64)
        for number, one in enumerate(rounds)
        for side in ("candidate", "baseline")
        for lane, stamps in enumerate(lanes(getattr(one, side)))
    }
    np.savez_compressed(folder / "stamps_ns.npz", allow_pickle=False, **stamps)
