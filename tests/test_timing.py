"""The timed loop, under a clock that the step moves: exact stamps."""

import pytest

from runner.worker.timing import WINDOW_ITERATIONS, WINDOW_NS, run_for, undisturbed, warm_up


class Bench:
    """A clock that moves only when a step runs."""

    def __init__(self, durations):
        self.now = 1_000
        self._durations = iter(durations)

    def clock(self):
        return self.now

    def step(self):
        self.now += next(self._durations)


def test_stamps_before_the_first_and_after_every_batch():
    """Three batches give four stamps."""
    bench = Bench([10, 20, 30])
    assert run_for(bench.step, minimum_ns=0, minimum_iterations=3, clock=bench.clock) == [1000, 1010, 1030, 1060]


def test_time_rules_where_batches_are_short():
    """Batches run until the minimum time has passed."""
    bench = Bench([10] * 100)
    stamps = run_for(bench.step, minimum_ns=95, minimum_iterations=2, clock=bench.clock)
    assert len(stamps) - 1 == 10


def test_number_rules_where_batches_are_long():
    """A slice never holds fewer batches than asked for."""
    bench = Bench([1000] * 100)
    stamps = run_for(bench.step, minimum_ns=95, minimum_iterations=4, clock=bench.clock)
    assert len(stamps) - 1 == 4


def test_warm_up_ends_when_three_windows_agree():
    """Speeds up for two windows, then is steady: five windows in all."""
    slow, medium, fast = WINDOW_NS // 2, WINDOW_NS // 3 + 1, WINDOW_NS // 4
    durations = [slow] * 3 + [medium] * 3 + [fast] * 100
    bench = Bench(durations)
    steady, iterations = warm_up(bench.step, maximum_ns=10**12, tolerance=0.03, clock=bench.clock)
    assert steady
    assert iterations == 3 + 3 + 4 * 3


def test_warm_up_gives_up():
    """A speed that never settles is reported as not steady."""
    durations = [WINDOW_NS * (1 + index // WINDOW_ITERATIONS % 2) for index in range(1000)]
    bench = Bench(durations)
    steady, _ = warm_up(bench.step, maximum_ns=20 * WINDOW_NS, tolerance=0.03, clock=bench.clock)
    assert not steady
    assert bench.now < 1000 + 40 * WINDOW_NS


def test_garbage_collector_is_off_while_timing():
    """And on again afterwards, also where the timed phase raises."""
    import gc

    def fail():
        with undisturbed():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
