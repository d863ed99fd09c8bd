"""A member of a block: one configuration, its processes in the current replicate, and the rounds of all replicates."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner.analysis.findings import distinct
from runner.config.redaction import hide
from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.measuring.slices import Round, by_replicate
from runner.processes.instances import Instances
from runner.processes.launch import UNRECORDED, WorkerLaunch, build_launches
from runner.protocol import Evaluate, Evaluated, Finding, Loaded, Observe, Observed, RunSlice, Slice, Warm, WarmUp
from runner.results.files import write_json

OnPhase = Callable[[str], None]
"""Called with the name of each phase that a member starts."""


@dataclass
class PhaseTimer:
    """The seconds of a member by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def book(self, phase: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add(phase, time.monotonic() - begin)


@dataclass
class HostShare:
    """The share of one core that the host itself used while a worker was timed."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def share(self) -> float:
        """CPU seconds per second, 0 before anything was timed."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


@dataclass(eq=False)
class Member:
    """A configuration that a block measures."""

    label: str
    config: RunConfig
    folder: Path
    """Holds its log and its launch file."""
    name: str
    """Of these files: candidate, baseline or reference."""
    on_phase: OnPhase = lambda _: None
    timer: PhaseTimer = field(default_factory=PhaseTimer)
    host: HostShare = field(default_factory=HostShare)
    rounds: list[Round] = field(default_factory=list)
    """All its rounds, contaminated ones included. A baseline's rounds are those of its candidates."""
    loaded: Loaded | None = None
    """What its first process reported."""
    batch_ms: float | None = None
    """Batch time of its first process when it was warm."""
    steady: bool = True
    """Whether every process reached a steady speed."""
    rss_peak_mib: float | None = None
    """Peak of its first processes."""
    instances: Instances | None = None
    """Its processes in the current replicate."""

    @property
    def replicates(self) -> int:
        """Number of replicates that it has rounds of."""
        return len(by_replicate(self.rounds))

    @property
    def launches(self) -> list[WorkerLaunch]:
        """How its processes are started.

        Raises:
            RunFailed: the combination is not possible here, or something is not installed.
        """
        return build_launches(self.config, this_machine(), os.environ)

    @property
    def running(self) -> Instances:
        """Its processes; they must have been started."""
        if self.instances is None:
            raise RuntimeError(f"{self.label} has no process")
        return self.instances

    def start(self) -> None:
        """Start its processes and request them to load their job, without waiting for it.

        Raises:
            RunFailed: a process could not be started.
        """
        launches = self.launches
        note_launches(self.folder, self.name, launches)
        with self.timer.book("start"):
            self.instances = Instances(launches, self.folder / f"{self.name}.log")
            self.instances.begin_load(one_first=self.loaded is None)

    def finish_start(self) -> None:
        """Wait until its processes have loaded their job and are warm, and freeze them.

        Raises:
            RunFailed: a process failed, died or exceeded its time limit.
        """
        first = self.loaded is None
        self.finish_load()
        self.warm_up()
        if first:
            self.rss_peak_mib = self.running.rss_peak_mib()
        self.running.freeze()

    def finish_load(self) -> None:
        """Wait until its processes have loaded their job.

        Raises:
            RunFailed: a process failed, died or exceeded its time limit.
        """
        begin = time.monotonic()
        timeout_s = self.config.measure.prepare_timeout_s
        loaded = self.running.finish_load(timeout_s=timeout_s, on_phase=self._phase)[0]
        total = time.monotonic() - begin
        if self.loaded is None:
            self.loaded = loaded
            self.timer.add("prepare", loaded.prepare_s)
            self.timer.add("first inference", loaded.first_inference_s)
            total -= loaded.prepare_s + loaded.first_inference_s
        self.timer.add("load", total)

    def warm_up(self) -> None:
        """Have its processes run until their speed is steady; in later replicates until it is that of the first."""
        self._phase("warm up")
        measure = self.config.measure
        with self.timer.book("warm-up"):
            request = WarmUp(measure.warmup_s, measure.warmup_tolerance, self.batch_ms)
            warm = self.running.request(request, Warm, timeout_s=measure.request_timeout_s)
        if self.batch_ms is None:
            self.batch_ms = max(one.batch_ms for one in warm)
            self.steady = all(one.steady for one in warm)

    def expected_slice_s(self) -> float:
        """Return the seconds that one of its slices takes, with settling; it must be warm."""
        measure, batch_s = self.config.measure, (self.batch_ms or 0.0) / 1e3
        return max(measure.slice_s, measure.slice_iterations * batch_s) + max(measure.settle_s, batch_s)

    def time_slice(self, heap_seed: int) -> list[Slice]:
        """Thaw its processes, time one slice of each, and freeze them again.

        Args:
            heap_seed: of the heap layout, see :class:`runner.protocol.RunSlice`.

        Raises:
            RunFailed: a process failed, died or exceeded its time limit.
        """
        measure = self.config.measure
        request = RunSlice(
            settle_s=measure.settle_s,
            settle_iterations=measure.settle_iterations,
            heap_seed=heap_seed,
            minimum_s=measure.slice_s,
            minimum_iterations=measure.slice_iterations,
        )
        self.running.thaw()
        cpu, wall = time.process_time(), time.monotonic()
        parts = self.running.request(request, Slice, timeout_s=measure.request_timeout_s)
        self.host.cpu_s += time.process_time() - cpu
        self.host.wall_s += time.monotonic() - wall
        self.running.freeze()
        return parts

    def observe(self, *, arithmetic: bool) -> list[Finding]:
        """Return the evidence of its processes; they are frozen afterwards.

        Args:
            arithmetic: whether to observe the arithmetic too, which takes seconds.
        """
        self._phase("evidence")
        measure = self.config.measure
        self.running.thaw()
        with self.timer.book("evidence"):
            request = Observe(measure.watch_s, arithmetic)
            answers = self.running.request(request, Observed, timeout_s=measure.request_timeout_s)
        self.running.freeze()
        return distinct(finding for answer in answers for finding in answer.evidence)

    def evaluate(self, path: Path, *, cached: bool) -> Path:
        """Have its first process write its answers to the evaluation set; it is frozen afterwards.

        Args:
            path: of the file.
            cached: whether the answers are those of the fp32 reference, which the cache keeps.
        """
        self._phase("reference accuracy" if cached else "accuracy")
        worker = self.running.first
        worker.thaw()
        with self.timer.book("accuracy"):
            request = Evaluate(str(path.absolute()), cached)
            worker.request(request, Evaluated, timeout_s=self.config.measure.request_timeout_s)
        worker.freeze()
        return path

    def stop(self) -> None:
        """End its processes, if there are any.

        Raises:
            RunFailed: a process survives SIGKILL.
        """
        instances, self.instances = self.instances, None
        if instances is not None:
            with self.timer.book("stop"):
                instances.stop()

    def _phase(self, name: str) -> None:
        self.on_phase(f"{self.label}: {name}")


def note_launches(folder: Path, name: str, launches: Sequence[WorkerLaunch]) -> None:
    """Write how processes are started: launch-NAME.json in the folder.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    note = [
        {
            "argv": launch.argv,
            "env": {name: "not recorded" if name in UNRECORDED else value for name, value in launch.env.items()},
            "job": asdict(launch.job),
        }
        for launch in launches
    ]
    write_json(folder / f"launch-{name}.json", hide(note))
