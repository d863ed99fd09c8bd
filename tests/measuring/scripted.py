"""Members of a block that answer from a list of batch times, without processes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from runner.config.schema import MeasureConfig, ModelConfig, RunConfig
from runner.machine.interference import Noise, Watch
from runner.measuring.block import Block, FixedPlan
from runner.measuring.member import Member
from runner.protocol import Loaded, Slice
from runner.results.status import RunFailed, Status

MEASURE = MeasureConfig(
    name="test",
    replicates=2,
    rounds=2,
    noise_floor=0.02,
    fixed_layout=True,
    slice_s=1.0,
    slice_iterations=2,
)
LOADED = Loaded(0.0, 0.0, 0.0, None, [], "", "", {})


class Scripted(Member):
    """Takes the batch time of each slice from a list, in ms, and notes in a common diary what happens to it.

    A batch time of None is a process that dies.
    """

    def __init__(self, label, batch_ms: Iterable[float | None], *, batch_size=8, measure=MEASURE, diary=None, mib=1.0):
        config = RunConfig(model=ModelConfig(name="scripted"), measure=measure, batch_size=batch_size)
        super().__init__(label, config, Path("nowhere"), "candidate")
        self._times = iter(batch_ms)
        self.diary = [] if diary is None else diary
        self._mib = mib
        self.heap_seeds: list[int] = []
        self.fails_to_start = self.survives = False

    def start(self):
        """Note it."""
        self.diary.append(f"start {self.label}")
        if self.fails_to_start:
            raise RunFailed(Status.failed, "does not start")

    def finish_start(self):
        """Be loaded and warm at once."""
        self.loaded, self.rss_peak_mib, self.batch_ms = LOADED, self._mib, self.batch_ms or 100.0

    @property
    def running(self):
        """Stand for processes without ids."""
        return self

    def pids(self):
        """Return no process."""
        return []

    def stop(self):
        """Note it."""
        self.diary.append(f"stop {self.label}")
        if self.survives:
            raise RunFailed(Status.failed, "process 7 did not end within 10 s after SIGKILL")

    def time_slice(self, heap_seed):
        """Return two batches of the next batch time."""
        self.diary.append(self.label)
        self.heap_seeds.append(heap_seed)
        duration = next(self._times)
        if duration is None:
            raise RunFailed(Status.crashed, "died by SIGKILL")
        step = round(duration * 1e6)
        return [Slice(stamps_ns=[[0, step, 2 * step]], major_faults=0)]


class QuietWatch(Watch):
    """Sees a machine on which nothing else happens, or what a list says, slice by slice."""

    def __init__(self, noises: Iterable[Noise] = ()):
        super().__init__([0])
        self._noises = iter(noises)

    def between(self, before, after, slices=()):
        """Return the next interference."""
        return next(self._noises, Noise())


def make_block(
    baseline: Scripted, *members: Scripted, noises: Iterable[Noise] = (), seed=0, watch: Watch | None = None
) -> Block:
    """Return a block of scripted members."""
    watch = watch or QuietWatch(noises)
    return Block(baseline, members, random.Random(seed), watch=lambda pids: watch)


def measure(block: Block, measure: MeasureConfig = MEASURE, concluded: list[Sequence[Member]] | None = None) -> None:
    """Measure all replicates of a block, as the program does."""
    while block.run_replicate(FixedPlan(measure.replicates, measure.rounds), (concluded or []).append):
        pass
