"""Statistics tested as statistics: thousands of simulated runs under `standard`, with effects that are known.

The machine's speed is a series in time, of which every slice takes the next value; a round takes two, in a random
order, as `runner.pairing` does. What is estimated, when it stops and what is concluded is the program's own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from runner.statistics import Estimate, Verdict, geometric_mean, judge

RUNS = 400
ROUNDS_MIN, ROUNDS_MAX, GOAL, NOISE_FLOOR = 8, 20, 0.0175, 0.02  # conf/measure/standard.yaml
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
def estimates(kind: str) -> list[Estimate]:
    """Return what runs of A/A end in; an effect would only shift them all."""
    generator = np.random.default_rng(20251121)
    return [run(KINDS[kind](generator, 2 * ROUNDS_MAX), generator, seed) for seed in range(RUNS)]


def run(series: Series, generator: np.random.Generator, seed: int) -> Estimate:
    """Return the speedup when a run stops."""
    logs: list[float] = []
    for candidate, baseline in in_turn(series, generator):
        logs.append(candidate - baseline)
        if len(logs) >= ROUNDS_MIN:
            found = geometric_mean([logs], seed)
            if found.half_width <= GOAL:
                return found
    return found


def in_turn(series: Series, generator: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yield the candidate's and the baseline's slice of every round."""
    for first, second in series.reshape(-1, 2):
        yield (first, second) if generator.random() < 0.5 else (second, first)


def shifted(found: Estimate, effect: float) -> Estimate:
    """Return an estimate as it would be had the candidate been faster by so much."""
    return Estimate(*((1 + effect) * value for value in (found.value, found.low, found.high)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_false_verdict_is_rare(kind):
    """Without an effect, and with one of 1 or 2 % that lies within δ, at most 5 % of the runs claim one."""
    for effect in (0.0, 0.01, 0.02):
        verdicts = [judge(shifted(found, effect), NOISE_FLOOR) for found in estimates(kind)]
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
    verdicts = [judge(shifted(found, 0.05), NOISE_FLOOR) for found in estimates(kind)]
    assert sum(verdict is Verdict.faster for verdict in verdicts) / RUNS >= 0.90
    assert Verdict.slower not in verdicts


def test_two_numbers_taken_one_after_the_other_would_be_fooled():
    """What pairing is for: on the drifting machine half of the runs would show an effect of more than 2 %."""
    generator = np.random.default_rng(0)
    apart = [one[:ROUNDS_MAX].mean() - one[ROUNDS_MAX:].mean() for one in (drift(generator, 40) for _ in range(RUNS))]
    assert sum(abs(difference) > math.log1p(NOISE_FLOOR) for difference in apart) / RUNS > 0.5
