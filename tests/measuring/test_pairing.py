"""Rounds of a pair, over workers that answer from a list: exact throughputs, order, freezing and stopping."""

from __future__ import annotations

import random

import pytest

from runner.config.schema import MeasureConfig
from runner.machine.interference import Noise, Watch
from runner.measuring.pairing import Pair
from runner.measuring.slices import Round, batch_times_ms, by_process, estimate_speedup, throughput
from runner.protocol import Slice
from runner.results.status import RunFailed, Status

MEASURE = MeasureConfig(
    name="test",
    processes_min=1,
    processes_max=1,
    rounds_min=3,
    rounds_max=6,
    goal=0.02,
    noise_floor=0.02,
    fixed_layout=True,
    slice_s=1.0,
    slice_iterations=2,
)


class ScriptedWorker:
    """Answers each slice with the next batch time of a list, and notes in a common diary what happens to it."""

    def __init__(self, name, batch_ms, diary):
        self._name, self._batch_ms, self._diary = name, iter(batch_ms), diary
        self.heap_seeds = []

    def thaw(self):
        self._diary.append(f"thaw {self._name}")

    def freeze(self):
        self._diary.append(f"freeze {self._name}")

    def request(self, message, reply, *, timeout_s):
        self.heap_seeds.append(message.heap_seed)
        duration = next(self._batch_ms)
        if duration is None:
            raise RunFailed(Status.crashed, "died by SIGKILL")
        step = round(duration * 1e6)
        return [Slice(stamps_ns=[[0, step, 2 * step]], major_faults=0)]


class QuietWatch(Watch):
    """Sees a machine on which nothing else happens, or what a list says, slice by slice."""

    def __init__(self, noises=()):
        super().__init__([0])
        self._noises = iter(noises)

    def between(self, before, after, slices=()):
        return next(self._noises, Noise())


def pair(candidate_ms, baseline_ms, diary=None, batch_size=8, noises=(), measure=MEASURE, seed=0):
    """Return a pair of scripted workers."""
    diary = [] if diary is None else diary
    return Pair(
        candidate=ScriptedWorker("candidate", candidate_ms, diary),
        baseline=ScriptedWorker("baseline", baseline_ms, diary),
        batch_size=batch_size,
        baseline_batch_size=8,
        process=0,
        measure=measure,
        generator=random.Random(seed),
        watch=QuietWatch(noises),
    )


def rounds_of(one, shown=None):
    """Return all rounds of a pair."""
    return list(
        one.run_rounds(
            0, lambda number, contaminated, speedup: shown is not None and shown.append((number, contaminated, speedup))
        )
    )


def test_throughput_is_everything_over_the_whole_time():
    """Two batches of 8 in 0.2 s are 80 images per second; each took 100 ms."""
    part = Slice(stamps_ns=[[0, 100_000_000, 200_000_000]], major_faults=0)
    assert throughput([part], 8) == 80
    assert batch_times_ms([part]) == [100, 100]


def test_instances_are_added_up_over_their_common_window():
    """One runs from 0 to 0.4 s, the other from 0.1 to 0.3 s: in these 0.2 s the first ends 2 batches, the other 4."""
    slow = Slice(stamps_ns=[[0, 100_000_000, 200_000_000, 300_000_000, 400_000_000]], major_faults=0)
    fast = Slice(stamps_ns=[[100_000_000, 150_000_000, 200_000_000, 250_000_000, 300_000_000]], major_faults=0)
    assert throughput([slow, fast], 8) == pytest.approx((2 + 4) * 8 / 0.2)


def test_a_batch_across_the_border_counts_by_its_part():
    """The window begins in the middle of the first one's only batch, which is 200 ms long."""
    long = Slice(stamps_ns=[[0, 200_000_000]], major_faults=0)
    late = Slice(stamps_ns=[[100_000_000, 200_000_000]], major_faults=0)
    assert throughput([long, late], 1) == pytest.approx((0.5 + 1) / 0.1)


def test_instances_that_never_ran_together_are_no_measurement():
    """There is no window: the run fails and says what to do."""
    parts = [Slice(stamps_ns=[[0, 10]], major_faults=0), Slice(stamps_ns=[[20, 30]], major_faults=0)]
    with pytest.raises(RunFailed, match=r"raise measure\.slice_s"):
        throughput(parts, 1)


def test_requests_in_lockstep_are_counted_without_bias():
    """Two requests of 100 ms that end together, seen for 200 and 300 ms: 20 batches a second, whatever the borders."""
    short = Slice(stamps_ns=[[0, 100_000_000, 200_000_000], [0, 100_000_000, 200_000_000, 300_000_000]], major_faults=0)
    assert throughput([short], 1) == pytest.approx(20)


def test_latencies_are_those_of_the_batches_within_the_common_window():
    """Each request has its own; what ran while another had stopped does not count."""
    part = Slice(stamps_ns=[[0, 30_000_000, 60_000_000], [5_000_000, 36_000_000, 67_000_000]], major_faults=0)
    assert batch_times_ms([part]) == [30, 31]


def test_equal_rounds_end_at_the_minimum_with_the_exact_ratio():
    """100 ms against 200 ms, no noise: the ratio is 2, and three rounds are enough."""
    shown = []
    rounds = rounds_of(pair([100] * 6, [200] * 6), shown)
    assert len(rounds) == 3
    assert estimate_speedup(rounds, 0).value == pytest.approx(2.0)
    assert [number for number, _, _ in shown] == [1, 2, 3]
    assert shown[0][1:] == (0, None)


def test_noisy_rounds_go_on_to_the_maximum():
    """The goal is not reached, so all six rounds are used."""
    assert len(rounds_of(pair([100, 150, 90, 160, 80, 170], [200] * 6))) == 6


def test_a_larger_batch_counts_its_own_images():
    """Candidate and baseline may have another batch size: images per second are compared, not batches."""
    rounds = rounds_of(pair([200] * 6, [200] * 6, batch_size=16))
    assert estimate_speedup(rounds, 0).value == pytest.approx(2.0)


def test_one_is_frozen_while_the_other_is_timed():
    """Each slice thaws one worker and freezes it again before the other is thawed; both orders occur."""
    diary = []
    rounds = rounds_of(pair([100, 150, 90, 160, 80, 170], [200] * 6, diary))
    assert len(diary) == 4 * len(rounds)
    for thawed, frozen in zip(diary[::2], diary[1::2], strict=True):
        assert thawed.replace("thaw", "freeze") == frozen
    assert {one.candidate_first for one in rounds} == {True, False}
    first = ["candidate" if one.candidate_first else "baseline" for one in rounds]
    assert [entry.split()[1] for entry in diary[::4]] == first


def test_every_slice_draws_a_heap_of_its_own():
    """No two slices, of either side, begin with the same heap."""
    one = pair([100, 150, 90, 160, 80, 170], [200] * 6)
    rounds_of(one)
    seeds = one.candidate.heap_seeds + one.baseline.heap_seeds
    assert len(set(seeds)) == len(seeds) == 12


def test_rounds_before_a_failure_are_kept_and_the_baseline_is_named():
    """The third slice of the baseline never comes: two rounds are there, and the failure says whose it is."""
    kept: list[Round] = []
    with pytest.raises(RunFailed, match="its baseline: died by SIGKILL"):
        kept.extend(pair([100] * 6, [200, 200, None]).run_rounds(0, lambda *_: None))
    assert len(kept) == 2


def test_rounds_are_grouped_by_process_pair():
    """The interval needs to know which rounds share a process."""
    part = Slice(stamps_ns=[[0, 1]], major_faults=0)
    rounds = [Round(process, True, [part], [part], 8, 8) for process in (0, 0, 1)]
    assert by_process(rounds, lambda one: one.process) == [[0, 0], [1]]
