"""Do the intervals keep what they promise? Simulated machines under every mode, through the program's own loop.

Every process draws a speed of its own, and the machine's speed is a series in time of which every slice takes the next
value. Orders, replicates, estimates and verdicts are the program's, with the numbers of conf/measure. Logarithms of
speeds add up, so each series is simulated once with a standard deviation of 1 and scaled for every cell.

    python -m benchmarks.coverage            # prints docs/explanation/coverage.md
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge
from runner.config.schema import MeasureConfig, ModelConfig, RunConfig
from runner.machine.interference import Noise, Watch
from runner.measuring.block import Block, FixedPlan
from runner.measuring.member import Member
from runner.measuring.slices import replicate_means
from runner.paths import PROJECT
from runner.protocol import Loaded, Slice

Series = NDArray[np.float64]
MODES = ("quick", "standard", "publish")
PROCESS_SD = (0.0, 0.01, 0.021, 0.085)
"""Standard deviations of the log-ratio between replicates: none; two that were seen; eager PyTorch with glibc."""
SLICE_SD = (0.005, 0.02, 0.05)
LOADING_SLICES = 10
"""Slices that would fit in the time in which the processes of a replicate load."""
RUNS = 4000
SEED = 20261125


def white(generator: np.random.Generator, size: int) -> Series:
    """Return independent normal noise."""
    return generator.normal(0, 1, size)


def autoregressive(generator: np.random.Generator, size: int) -> Series:
    """Return AR(1) noise: what disturbs a slice is still there in the next."""
    values = generator.normal(0, 1, size)
    for place in range(1, size):
        values[place] = 0.7 * values[place - 1] + math.sqrt(1 - 0.7**2) * values[place]
    return values


def drift(generator: np.random.Generator, size: int) -> Series:
    """Return a machine that slows down by four standard deviations in the course of a run, with white noise."""
    return generator.normal(0, 0.5, size) - np.linspace(-2, 2, size)


def bimodal(generator: np.random.Generator, size: int) -> Series:
    """Return a machine that is two standard deviations slower in 30 % of the slices."""
    return generator.normal(0, 0.25, size) - 2 * ((generator.random(size) < 0.3) - 0.3)


def heavy_tail(generator: np.random.Generator, size: int) -> Series:
    """Return Student's t with 3 degrees of freedom: now and then a slice is far off."""
    return generator.standard_t(3, size) / math.sqrt(3)


Kind = Callable[[np.random.Generator, int], Series]
KINDS: dict[str, Kind] = {
    "white": white, "AR(1)": autoregressive, "drift": drift, "bimodal": bimodal, "heavy-tailed": heavy_tail,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A simulated machine under a mode."""

    mode: str
    kind: str
    process_sd: float
    slice_sd: float


@dataclass(frozen=True)
class Rates:
    """Shares of the simulated runs of a cell."""

    coverage: float
    """Intervals of the speedup that hold it."""
    throughput_coverage: float
    """Intervals of samples/s that hold them."""
    false_verdicts: float
    """False verdicts, for the worst of the effects 0, δ/2 and δ."""
    half_width: float
    """Median half-width of the speedup's interval."""


@dataclass(frozen=True)
class Power:
    """Shares of the verdicts on an effect."""

    faster: float
    slower: float


class Simulated(Member):
    """A process whose slices take the next speed of a machine."""

    def __init__(self, label: str, measure: MeasureConfig, machine: Callable[[], float]) -> None:
        """Keep the machine."""
        config = RunConfig(model=ModelConfig(name="simulated"), measure=measure)
        super().__init__(label, config, Path("nowhere"), "simulated")
        self._machine = machine

    def start(self) -> None:
        """Start nothing."""

    def finish_start(self) -> None:
        """Be loaded and warm."""
        self.loaded, self.batch_ms, self.rss_peak_mib = Loaded(0, 0, 0, None, [], "", ""), 1.0, 0.0

    @property
    def running(self) -> Simulated:  # type: ignore[override] # a block asks for the ids of its processes only
        """Stand for processes without ids."""
        return self

    def pids(self) -> list[int]:
        """Return no process."""
        return []

    def time_slice(self, heap_seed: int) -> list[Slice]:  # noqa: ARG002 -- it has no heap
        """Return a batch whose duration has the machine's next speed; a thousandth of a logarithm per unit."""
        return [Slice([[0, round(1e9 * math.exp(-self._machine() / 1000))]], 0)]


class Silent(Watch):
    """Sees a machine on which nothing else happens."""

    def __init__(self) -> None:
        """Watch nothing."""

    def read(self) -> None:  # type: ignore[override] # nothing is read
        """Read nothing."""

    def between(self, *_: object) -> Noise:
        """Return no interference."""
        return Noise()


@cache
def mode_of(name: str) -> MeasureConfig:
    """Return conf/measure/NAME.yaml."""
    return MeasureConfig(**yaml.safe_load((PROJECT / f"conf/measure/{name}.yaml").read_text()))


@cache
def standardised(mode: str, kind: str, runs: int) -> tuple[Series, Series]:
    """Return log-ratios and the candidate's log-speeds, run × replicate, on machines with a standard deviation of 1."""
    generator = np.random.default_rng(SEED)
    found = [_run(mode_of(mode), KINDS[kind], generator, seed) for seed in range(runs)]
    return np.array([ratios for ratios, _ in found]), np.array([speeds for _, speeds in found])


def _run(
    measure: MeasureConfig,
    kind: Kind,
    generator: np.random.Generator,
    seed: int,
) -> tuple[list[float], list[float]]:
    """Measure a candidate and a baseline of the same speed, as a sweep does."""
    per_replicate = 4 * measure.rounds
    series = iter(kind(generator, measure.replicates * (per_replicate + LOADING_SLICES)))
    members = [Simulated(label, measure, lambda: float(next(series))) for label in ("baseline", "candidate")]
    block = Block(members[0], members[1:], random.Random(seed), watch=lambda _: Silent())

    def load(_: object) -> None:
        for _ in range(LOADING_SLICES):
            next(series)

    while block.run_replicate(FixedPlan(measure.replicates, measure.rounds), load):
        pass
    rounds = members[1].rounds
    ratios = replicate_means(rounds, lambda one: 1000 * one.log_ratio)
    base = math.log(8)  # the batch size
    return ratios, replicate_means(rounds, lambda one: 1000 * (one.candidate_log - base))


def _estimates(cell: Cell, runs: int) -> tuple[list[Estimate], list[Estimate]]:
    """Return what the runs of a cell end in, for a speedup of 1 and a speed of 1: speedups and throughputs."""
    ratios, speeds = standardised(cell.mode, cell.kind, runs)
    generator = np.random.default_rng(SEED + 1)
    candidate, baseline = generator.normal(0, cell.process_sd / math.sqrt(2), (2, *ratios.shape))
    return (
        [geometric_mean(list(one)) for one in cell.slice_sd * ratios + candidate - baseline],
        [geometric_mean(list(one)) for one in cell.slice_sd * speeds + candidate],
    )


def shifted(found: Estimate, effect: float) -> Estimate:
    """Return an estimate as it would be had the candidate been faster by so much."""
    return Estimate(*((1 + effect) * value for value in (found.value, found.low, found.high)))


def simulate(cell: Cell, runs: int = RUNS) -> Rates:
    """Return the rates of a cell."""
    speedups, throughputs = _estimates(cell, runs)
    delta = mode_of(cell.mode).noise_floor
    claims = (Verdict.faster, Verdict.slower)
    false = [sum(judge(shifted(one, effect), delta) in claims for one in speedups) for effect in (0, delta / 2, delta)]
    # Beyond δ the claim of no effect is the false one.
    false.append(sum(judge(shifted(one, delta * 1.001), delta) is Verdict.no_effect for one in speedups))
    return Rates(
        coverage=sum(one.low <= 1 <= one.high for one in speedups) / runs,
        throughput_coverage=sum(one.low <= 1 <= one.high for one in throughputs) / runs,
        false_verdicts=max(false) / runs,
        half_width=float(np.median([one.half_width for one in speedups])),
    )


def power(cell: Cell, effect: float, runs: int = RUNS) -> Power:
    """Return how often an effect is found, and how often its opposite."""
    delta = mode_of(cell.mode).noise_floor
    verdicts = [judge(shifted(one, effect), delta) for one in _estimates(cell, runs)[0]]
    return Power(*(sum(one is wanted for one in verdicts) / runs for wanted in (Verdict.faster, Verdict.slower)))


def page() -> str:
    """Return docs/explanation/coverage.md."""
    lines = [
        "# Coverage of the intervals, and false verdicts",
        "",
        "`make coverage` makes this page: simulated machines, through the program's",
        f"own loop, with the numbers of conf/measure; {RUNS} runs per cell. Process s.d. is that of the log-ratio",
        "between replicates; slice s.d. that of one slice. Coverage is the share of intervals that hold the truth,",
        "of the speedup and of samples/s. False verdicts are those for the worst of four effects: none, δ/2, δ, and",
        "just beyond δ. `+5 %` is how often an effect of 5 % is found.",
        "",
        "| mode | noise | process s.d. | slice s.d. | coverage of the speedup | of samples/s | false verdicts |"
        " median half-width | +5 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        for kind in KINDS:
            for process_sd in PROCESS_SD:
                for slice_sd in SLICE_SD:
                    cell = Cell(mode, kind, process_sd, slice_sd)
                    rates, found = simulate(cell), power(cell, 0.05)
                    lines.append(
                        f"| {mode} | {kind} | {process_sd:.1%} | {slice_sd:.1%} | {rates.coverage:.1%} "
                        f"| {rates.throughput_coverage:.1%} | {rates.false_verdicts:.1%} | ±{rates.half_width:.1%} "
                        f"| {found.faster:.0%} |"
                    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
