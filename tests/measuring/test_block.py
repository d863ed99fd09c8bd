"""Blocks of members that answer from a list: exact ratios, order, room, and what a failure ends."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from runner.machine.interference import Noise
from runner.measuring import block as block_module
from runner.measuring.aggregation import estimate_speedup
from runner.measuring.block import Block, FixedPlan
from runner.measuring.round_log import COLUMNS, write_rounds
from runner.measuring.slices import (
    Round,
    Turn,
    batch_times_ms,
    by_replicate,
    clean_rounds,
    is_too_noisy,
    replicate_means,
    throughput,
)
from runner.protocol import Slice
from runner.results.status import RunFailed, Status
from tests.measuring.scripted import MEASURE, QuietWatch, Scripted, make_block, measure

STEADY = itertools.repeat


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
    assert Turn(parts).timed_s == 0


def test_requests_in_lockstep_are_counted_without_bias():
    """Two requests of 100 ms that end together, seen for 200 and 300 ms: 20 batches a second, whatever the borders."""
    short = Slice(stamps_ns=[[0, 100_000_000, 200_000_000], [0, 100_000_000, 200_000_000, 300_000_000]], major_faults=0)
    assert throughput([short], 1) == pytest.approx(20)


def test_latencies_are_those_of_the_batches_within_the_common_window():
    """Each request has its own; what ran while another had stopped does not count."""
    part = Slice(stamps_ns=[[0, 30_000_000, 60_000_000], [5_000_000, 36_000_000, 67_000_000]], major_faults=0)
    assert batch_times_ms([part]) == [30, 31]


def test_the_ratio_is_exact_without_noise():
    """100 ms against 200 ms is a speedup of 2, in two replicates of two rounds."""
    one = Scripted("a", STEADY(100))
    measure(make_block(Scripted("baseline", STEADY(200)), one))
    assert [len(same) for same in by_replicate(one.rounds)] == [2, 2]
    assert estimate_speedup(one.rounds).value == pytest.approx(2.0)
    assert estimate_speedup(one.rounds).half_width == pytest.approx(0)


def test_a_larger_batch_counts_its_own_images():
    """Candidate and baseline may have another batch size: images per second are compared, not batches."""
    one = Scripted("a", STEADY(200), batch_size=16)
    measure(make_block(Scripted("baseline", STEADY(200)), one))
    assert estimate_speedup(one.rounds).value == pytest.approx(2.0)


def test_a_round_goes_forward_and_then_backward():
    """Every member has one turn each way, and the order is another in each round."""
    diary: list[str] = []
    members = [Scripted(name, STEADY(100), diary=diary) for name in ("baseline", "a", "b", "c")]
    measure(make_block(*members))
    turns = [entry for entry in diary if " " not in entry]
    rounds = [turns[first : first + 8] for first in range(0, len(turns), 8)]
    assert len(rounds) == 4
    for order in rounds:
        assert order[:4] == order[:3:-1]
        assert sorted(order[:4]) == ["a", "b", "baseline", "c"]
    assert len({tuple(order) for order in rounds}) > 1
    for member in members[1:]:
        assert [rounds[place].index(member.label) for place in range(4)] == [one.position for one in member.rounds]
        assert [order.index("baseline") for order in rounds] == [one.baseline_position for one in member.rounds]


def test_a_linear_drift_cancels_for_every_pair():
    """The machine slows down by 1 % from slice to slice, and all ratios are still 1."""
    drift = (100 * 1.01**place for place in itertools.count())
    members = [Scripted(name, drift) for name in ("baseline", "a", "b", "c")]
    measure(make_block(*members))
    for member in members[1:]:
        assert estimate_speedup(member.rounds).value == pytest.approx(1.0, abs=1e-6)


def test_every_slice_draws_a_heap_of_its_own():
    """No two slices, of any member, begin with the same heap."""
    members = [Scripted(name, STEADY(100)) for name in ("baseline", "a")]
    measure(make_block(*members))
    seeds = [seed for member in members for seed in member.heap_seeds]
    assert len(set(seeds)) == len(seeds) == 16


def test_every_replicate_has_fresh_processes():
    """All members start before the first slice of a replicate and end after its last."""
    diary: list[str] = []
    measure(make_block(*(Scripted(name, STEADY(100), diary=diary) for name in ("baseline", "a"))))
    assert [entry for entry in diary if " " in entry] == [
        *("start a", "start baseline", "stop a", "stop baseline"),  # the first candidate shows that one is needed
        *("start baseline", "start a", "stop a", "stop baseline"),
    ]


def test_a_failed_candidate_leaves_alone():
    """It dies in its third turn: its first round is kept, and the other has all of its rounds."""
    dies, lives = Scripted("dies", [100, 100, None]), Scripted("lives", STEADY(100))
    one = make_block(Scripted("baseline", STEADY(100)), dies, lives)
    measure(one)
    assert one.failures[dies].status is Status.crashed
    assert (len(dies.rounds), len(lives.rounds)) == (1, 4)
    assert one.members == [lives]


def test_a_candidate_that_does_not_start_needs_no_baseline():
    """Nothing is started for nothing."""
    diary: list[str] = []
    baseline, broken = (Scripted(name, STEADY(100), diary=diary) for name in ("baseline", "broken"))
    broken.fails_to_start = True
    one = make_block(baseline, broken)
    measure(one)
    assert one.failures[broken].reason == "does not start"
    assert "start baseline" not in diary


def test_without_its_baseline_the_block_ends():
    """The reason names the baseline; rounds before it are kept."""
    lives = Scripted("lives", STEADY(100))
    one = make_block(Scripted("baseline", [100, 100, None]), lives)
    with pytest.raises(RunFailed, match="its baseline: died by SIGKILL"):
        measure(one)
    assert len(lives.rounds) == 1


def test_a_process_that_survives_fails_its_row():
    """It would disturb its own next replicate. The others are measured to the end."""
    stuck, lives = Scripted("stuck", STEADY(100)), Scripted("lives", STEADY(100))
    stuck.survives = True
    one = make_block(Scripted("baseline", STEADY(100)), stuck, lives)
    measure(one)
    assert one.failures[stuck].reason == "process 7 did not end within 10 s after SIGKILL"
    assert (len(stuck.rounds), len(lives.rounds)) == (2, 4)


def test_a_baseline_that_survives_ends_the_block():
    """After all others have been stopped."""
    diary: list[str] = []
    members = [Scripted(name, STEADY(100), diary=diary) for name in ("baseline", "a", "b")]
    members[0].survives = True
    with pytest.raises(RunFailed, match="its baseline: process 7 did not end"):
        measure(make_block(*members))
    assert diary[-3:] == ["stop a", "stop b", "stop baseline"]


def test_a_candidate_can_join_later():
    """It has its own replicates, beside a baseline of the same processes."""
    first, second = Scripted("first", STEADY(100)), Scripted("second", STEADY(50))
    one = make_block(Scripted("baseline", STEADY(100)), first)
    measure(one)
    one.add(second)
    measure(one)
    assert [one.replicate for one in second.rounds] == [2, 2, 3, 3]
    assert estimate_speedup(second.rounds).value == pytest.approx(2)
    assert first.replicates == 2


def test_a_contaminated_turn_of_a_candidate_voids_its_round_only():
    """The candidate repeats the round; the other does not."""
    noisy, quiet = Scripted("noisy", STEADY(100)), Scripted("quiet", STEADY(100))
    measure(contaminated(Scripted("baseline", STEADY(100)), noisy, quiet, first_turn_of="noisy"))
    assert [part.clean for part in noisy.rounds].count(False) == 1
    assert (len(noisy.rounds), len(quiet.rounds)) == (5, 4)
    assert all(part.clean for part in quiet.rounds)


def test_a_contaminated_turn_of_the_baseline_voids_the_round_for_all():
    """All repeat it."""
    members = [Scripted(name, STEADY(100)) for name in ("baseline", "a", "b")]
    measure(contaminated(*members, first_turn_of="baseline"))
    for member in members[1:]:
        assert [part.clean for part in member.rounds].count(False) == 1
        assert len(member.rounds) == 5


def contaminated(*members: Scripted, first_turn_of: str) -> Block:
    """Return a block in which other processes disturb the first turn of one member."""

    diary: list[str] = []

    class Disturbed(QuietWatch):
        def between(self, before, after, slices=()):
            hit = diary[-1] == first_turn_of and diary.count(first_turn_of) == 1
            return Noise(foreign=0.5) if hit else Noise()

    for member in members:
        member.diary = diary
    return make_block(*members, watch=Disturbed())


def part(replicate: int, *, clean: bool = True, ratio: float = 1.0) -> Round:
    """Return a round with a ratio."""
    fast = [Turn([Slice([[0, 1_000_000]], 0)], Noise(foreign=0.0 if clean else 0.5))] * 2
    slow = [Turn([Slice([[0, round(1_000_000 * ratio)]], 0)])] * 2
    return Round(replicate, 0, 1, fast, slow, 8, 8)


def test_values_are_averaged_within_replicates():
    """An interval needs to know which rounds share a process."""
    rounds = [part(0, ratio=2), part(0, ratio=8), part(1, ratio=3)]
    assert replicate_means(rounds, lambda one: one.log_ratio) == pytest.approx([math.log(4), math.log(3)])


@pytest.mark.parametrize(
    ("rounds", "too_noisy", "counted"),
    [
        ([part(0), part(0), part(1)], False, 3),
        ([part(0, clean=False), part(0), part(1)], False, 2),
        ([part(0, clean=False)] * 2 + [part(0), part(1)], False, 2),
        ([part(0, clean=False)] * 3 + [part(0), part(1)], True, 2),
        ([part(0), part(0), part(1, clean=False)], True, 3),  # nothing else is known of its processes
    ],
)
def test_too_noisy_if_contaminated_rounds_outnumber_the_others(rounds, too_noisy, counted):
    """Or if a replicate has no other round."""
    assert is_too_noisy(rounds) is too_noisy
    assert len(clean_rounds(rounds)) == counted


def test_rounds_stop_on_a_machine_that_stays_noisy():
    """After one contaminated round more than are planned."""
    one = Scripted("a", STEADY(100))
    measure(make_block(Scripted("baseline", STEADY(100)), one, noises=[Noise(steal=0.5)] * 100))
    assert [len(same) for same in by_replicate(one.rounds)] == [3, 3]


def test_without_guards_every_round_counts():
    """Its interference is still recorded."""
    unguarded = replace(MEASURE, guards=False)
    one = Scripted("a", STEADY(100), measure=unguarded)
    measure(make_block(Scripted("baseline", STEADY(100)), one, noises=[Noise(steal=0.5)] * 100))
    assert len(one.rounds) == 4
    assert all(part.clean and part.noise.steal == 0.5 for part in one.rounds)


def test_a_block_takes_at_most_its_share_of_the_memory(monkeypatch):
    """Of 100 MiB it uses 80: the baseline and two candidates of 25 MiB; the third is left to another block."""
    monkeypatch.setattr(block_module, "available_mib", lambda: 100.0)
    members = [Scripted(name, STEADY(100), mib=25) for name in ("baseline", "a", "b", "c")]
    one = make_block(*members)
    measure(one)
    assert one.deferred == [members[3]]
    assert [len(member.rounds) for member in members[1:]] == [4, 4, 0]


def test_a_round_is_short(monkeypatch):
    """Batches of 2 s make slices of 4 s and settle for 2 s: three members would take 36 s."""
    monkeypatch.setattr(block_module, "available_mib", lambda: None)
    members = [Scripted(name, STEADY(2000)) for name in ("baseline", "a", "b")]
    for member in members:
        member.batch_ms = 2000.0
    one = make_block(*members)
    measure(one)
    assert one.deferred == [members[2]]
    assert [len(member.rounds) for member in members[1:]] == [4, 0]


def test_a_fixed_plan_never_looks_at_the_numbers():
    """Whatever the rounds say, each member gets as many as planned."""
    wild = Scripted("wild", itertools.cycle([50, 400, 90]))
    measure(make_block(Scripted("baseline", STEADY(100)), wild), replace(MEASURE, replicates=3, rounds=4))
    assert [len(same) for same in by_replicate(wild.rounds)] == [4, 4, 4]
    assert FixedPlan(3, 4).for_replicate([wild]) == []


def test_rounds_without_a_common_window_are_written(tmp_path):
    """Instances that never ran together: the run fails, and its rounds are on disk, without throughputs."""
    apart = Turn([Slice([[0, 10]], 0), Slice([[20, 30]], 0)])
    together = Turn([Slice([[0, 10]], 0)])
    rounds = [Round(0, 0, 1, [apart, together], [together, together], 8, 8), part(1)]
    assert write_rounds(tmp_path, rounds) == []
    header, first, second = (tmp_path / "rounds.csv").read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert first.startswith("0,0,1,,,,,,,,")
    assert second.startswith("1,0,1,8000,8000,1,8000,8000,8000,8000,")
