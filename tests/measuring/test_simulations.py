"""Statistics tested as statistics: thousands of simulated runs under `standard`, with effects that are known.

The machine's speed is a series in time, of which every slice takes the next value. The order within a round, when a
run stops, what is estimated and what is concluded is the program's own code, with the numbers of standard.yaml. What
differs between processes is not simulated: `standard` measures one pair, and δ stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from runner.analysis.statistics import Estimate, Verdict, judge
from runner.config.schema import MeasureConfig
from runner.measuring.slices import estimate_speedup
from runner.paths import PROJECT
from tests.measuring.test_pairing import pair

pytestmark = pytest.mark.slow

RUNS = 400
NOISE = 0.02
"""Standard deviation of a slice's logarithm: what a shared machine shows within a minute."""
Series = NDArray[np.float64]


def white(generator: np.random.Generator, size: int) -> Series:
    """Return independent normal noise."""
    return generator.normal(0, NOISE, size)


def autoregressive(generator: np.random.Generator, size: int) -> Series:
    """Return AR(1) noise: what disturbs a slice is still there in the next."""
    values = generator.normal(0, NOISE, size)
    for place in range(1, size):
        values[place] = 0.7 * values[place - 1] + math.sqrt(1 - 0.7**2) * values[place]
    return values


def drift(generator: np.random.Generator, size: int) -> Series:
    """Return a machine that slows down by 8 % in the course of a run, with white noise."""
    return generator.normal(0, NOISE / 2, size) - np.linspace(0, 0.08, size)


def bimodal(generator: np.random.Generator, size: int) -> Series:
    """Return a machine that is 4 % slower now and then."""
    return generator.normal(0, NOISE / 4, size) - 0.04 * (generator.random(size) < 0.3)


def heavy_tail(generator: np.random.Generator, size: int) -> Series:
    """Return Student's t with 3 degrees of freedom: now and then a slice is far off."""
    return generator.standard_t(3, size) * NOISE / math.sqrt(3)


KINDS: dict[str, Callable[[np.random.Generator, int], Series]] = {
    kind.__name__: kind for kind in (white, autoregressive, drift, bimodal, heavy_tail)
}


@cache
def standard() -> MeasureConfig:
    """Return conf/measure/standard.yaml."""
    fields = yaml.safe_load((PROJECT / "conf/measure/standard.yaml").read_text())
    return MeasureConfig(**fields)


@cache
def estimates(kind: str) -> list[Estimate]:
    """Return what runs of A/A end in; an effect would only shift them all."""
    generator = np.random.default_rng(20251121)
    return [run(KINDS[kind](generator, 2 * standard().rounds_max), seed) for seed in range(RUNS)]


def run(series: Series, seed: int) -> Estimate:
    """Return the speedup when the program's own loop stops; both workers take their next slice from one machine."""
    batch_ms = iter(100 / np.exp(series))
    rounds = list(pair(batch_ms, batch_ms, measure=standard(), seed=seed).run_rounds(seed, lambda *_: None))
    return estimate_speedup(rounds, seed)


def shifted(found: Estimate, effect: float) -> Estimate:
    """Return an estimate as it would be had the candidate been faster by so much."""
    return Estimate(*((1 + effect) * value for value in (found.value, found.low, found.high)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_false_verdict_is_rare(kind):
    """Without an effect, and with one of 1 or 2 % that lies within δ, at most 5 % of the runs claim one."""
    for effect in (0.0, 0.01, 0.02):
        verdicts = [judge(shifted(found, effect), standard().noise_floor) for found in estimates(kind)]
        false = sum(verdict in (Verdict.faster, Verdict.slower) for verdict in verdicts)
        assert false / RUNS <= 0.05, (effect, false)


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_covers_the_truth(kind):
    """In at least 93 % of the runs: 95 % are promised, less what stopping early costs."""
    covered = sum(found.low <= 1 <= found.high for found in estimates(kind))
    assert covered / RUNS >= 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_an_effect_of_five_per_cent_is_found(kind):
    """In at least 90 % of the runs, and never as its opposite."""
    verdicts = [judge(shifted(found, 0.05), standard().noise_floor) for found in estimates(kind)]
    assert sum(verdict is Verdict.faster for verdict in verdicts) / RUNS >= 0.90
    assert Verdict.slower not in verdicts


def test_two_numbers_taken_one_after_the_other_would_be_fooled():
    """What pairing is for: on the drifting machine half of the runs would show an effect of more than 2 %."""
    generator = np.random.default_rng(0)
    apart = [one[:20].mean() - one[20:].mean() for one in (drift(generator, 40) for _ in range(RUNS))]
    assert sum(abs(difference) > math.log1p(standard().noise_floor) for difference in apart) / RUNS > 0.5
