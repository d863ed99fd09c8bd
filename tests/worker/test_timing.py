"""The timed loop, with a clock that only steps advance, so that stamps are exact."""

import contextlib
import itertools
import threading
import time

import pytest

from runner.worker.timing import (
    WINDOW_ITERATIONS,
    WINDOW_NS,
    Rotation,
    Settling,
    fault_in,
    garbage_collector_off,
    run_for,
    run_steps,
    warm_up,
)


class Bench:
    """A clock that advances only when a step runs."""

    def __init__(self, durations):
        self.now = 1_000
        self._durations = iter(durations)

    def clock(self):
        return self.now

    def step(self):
        self.now += next(self._durations)


def test_stamps_surround_every_batch():
    """Three batches give four stamps."""
    bench = Bench([10, 20, 30])
    assert run_for(bench.step, minimum_ns=0, minimum_iterations=3, clock=bench.clock) == [1000, 1010, 1030, 1060]


def test_minimum_time_decides_for_short_batches():
    """Batches run until the minimum time has passed."""
    bench = Bench([10] * 100)
    stamps = run_for(bench.step, minimum_ns=95, minimum_iterations=2, clock=bench.clock)
    assert len(stamps) - 1 == 10


def test_minimum_number_decides_for_long_batches():
    """A slice never has fewer batches than requested."""
    bench = Bench([1000] * 100)
    stamps = run_for(bench.step, minimum_ns=95, minimum_iterations=4, clock=bench.clock)
    assert len(stamps) - 1 == 4


def test_warm_up_ends_when_three_windows_agree():
    """Two windows of increasing speed, then steady: five windows in total."""
    slow, medium, fast = WINDOW_NS // 2, WINDOW_NS // 3 + 1, WINDOW_NS // 4
    durations = [slow] * 3 + [medium] * 3 + [fast] * 100
    bench = Bench(durations)
    warm = warm_up([bench.step], maximum_ns=10**12, tolerance=0.03, clock=bench.clock)
    assert warm == (True, 3 + 3 + 4 * 3, fast)


def test_warm_up_gives_up():
    """A speed that never becomes steady is reported as not steady."""
    durations = [WINDOW_NS * (1 + index // WINDOW_ITERATIONS % 2) for index in range(1000)]
    bench = Bench(durations)
    assert not warm_up([bench.step], maximum_ns=20 * WINDOW_NS, tolerance=0.03, clock=bench.clock).steady
    assert bench.now < 1000 + 40 * WINDOW_NS


def test_garbage_collector_is_off_while_timing():
    """It is enabled again afterwards, even if the timed phase raises."""
    import gc

    def fail():
        with garbage_collector_off():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()


def test_one_step_settles_before_it_is_timed():
    """Two untimed batches, then three timed ones."""
    bench = Bench([5, 5, 10, 20, 30])
    settling = Settling(maximum_iterations=2)
    timed = run_steps([bench.step], settling=settling, minimum_ns=0, minimum_iterations=3, clock=bench.clock)
    assert timed == ([[1010, 1020, 1040, 1070]], 2)
    assert timed.median_ns == 20


@pytest.mark.parametrize(
    ("durations", "settling", "batches"),
    [
        ([200, 110, 102, 100], Settling(0, 10, 100), 3),  # the third is within 3 % of 100
        ([200, 110, 102, 100], Settling(0, 2, 100), 2),  # the maximum comes first
        ([100] * 9, Settling(450, 10, 100), 5),  # as fast at once, but the minimum time has not passed
        ([100] * 9, Settling(450, 2, None), 5),  # the minimum time decides over the maximum number
        ([], Settling(0, 0, 100), 0),
    ],
)
def test_settling_ends_when_a_batch_is_as_fast_as_before(durations, settling, batches):
    """Not after a fixed number of batches."""
    bench = Bench(durations)
    assert settling.run(bench.step, bench.clock) == batches


def test_a_later_process_only_faults_memory_in():
    """Its warm-up ends as soon as a batch is as fast as in the first process; it gives up after ten."""
    bench = Bench([300, 120, 101, 100])
    warm = fault_in([bench.step], expected_ns=100, tolerance=0.03, clock=bench.clock)
    assert warm == (True, 4, 100)
    bench = Bench([200] * 20)
    assert fault_in([bench.step], expected_ns=100, tolerance=0.03, clock=bench.clock) == (False, 11, 200)


def test_several_steps_run_concurrently():
    """Two steps that wait for each other end only if they run at once; each has its own stamps."""
    barrier = threading.Barrier(2, timeout=1)

    def step():
        with contextlib.suppress(threading.BrokenBarrierError):  # the last batch of one has no partner
            barrier.wait()
        time.sleep(0.002)

    lanes, _ = run_steps([step, step], minimum_ns=0, minimum_iterations=20)
    assert len(lanes) == 2
    for stamps in lanes:
        assert len(stamps) > 20
        assert min(after - before for before, after in itertools.pairwise(stamps)) >= 2_000_000


def test_fast_step_continues_until_the_slow_one_has_enough():
    """No step runs alone while it is timed: the faster has more batches, and does not end earlier."""
    steps = [lambda: time.sleep(0.001), lambda: time.sleep(0.02)]
    (fast, slow), untimed = run_steps(steps, settling=Settling(0, 1), minimum_ns=0, minimum_iterations=5)
    assert untimed == 2
    assert len(fast) > len(slow)
    assert fast[-1] >= slow[5]


def test_exception_of_a_thread_is_raised():
    """A step that fails on its own thread ends the phase."""

    def fail():
        raise KeyError("step")

    with pytest.raises(KeyError, match="step"):
        run_steps([fail, fail], minimum_ns=0, minimum_iterations=1)


def test_a_rotation_is_timed_in_whole_periods():
    """Batches of 1, 2 and 6 ns: whatever the minimum, each counts equally often."""
    now = 0

    def step_of(duration: int):
        def step() -> None:
            nonlocal now
            now += duration

        return step

    rotation = Rotation([step_of(1), step_of(2), step_of(6)])
    for minimum in (1, 4, 9, 10):
        stamps = run_for(rotation, minimum_ns=minimum, minimum_iterations=1, clock=lambda: now)
        durations = sorted(after - before for before, after in itertools.pairwise(stamps))
        assert durations == sorted([1, 2, 6] * (len(durations) // 3))
        assert len(durations) == (3 if minimum <= 9 else 6)
