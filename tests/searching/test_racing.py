"""The rule of a race, on numbers of which the truth is known."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from runner.config.schema import RunConfig
from runner.measuring.member import Member
from runner.searching.racing import Racing, beaten


def logs(*values: float) -> dict[int, float]:
    return {number: math.log(value) for number, value in enumerate(values)}


def test_the_slower_one_is_beaten_beyond_doubt():
    leader, behind = beaten([logs(100, 101, 99), logs(80, 80.5, 79.5), logs(100.5, 100, 99.8)])
    assert leader == 2
    assert set(behind) == {1}
    assert behind[1].value == pytest.approx(0.799, abs=0.002)
    assert behind[1].low < 0.799 < behind[1].high < 1


def test_one_replicate_beats_nobody():
    assert beaten([logs(100), logs(50)]) == (0, {})


def test_two_replicates_tell_with_the_spread_of_all():
    """Student's t with one degree of freedom alone would need 13 times the spread."""
    candidates = [logs(100, 101), *(logs(90 + n / 10, 91 + n / 10) for n in range(5))]
    assert set(beaten(candidates)[1]) == {1, 2, 3, 4, 5}
    assert beaten(candidates[:2])[1] == {} or candidates[1][0] < candidates[0][0]


def test_a_candidate_that_varies_more_than_the_others_keeps_its_own_spread():
    steady = [logs(100, 100.1, 99.9), logs(99, 99.1, 98.9), logs(98, 98.1, 97.9)]
    wild = logs(80, 99, 120)
    assert 3 not in beaten([*steady, wild])[1]


def test_only_common_replicates_are_paired():
    """The machine was half as fast in the first replicates, in which only the incumbent took part."""
    incumbent = {0: math.log(50), 1: math.log(50), 2: math.log(100), 3: math.log(101), 4: math.log(99)}
    newcomer = {2: math.log(90), 3: math.log(91), 4: math.log(89)}
    leader, behind = beaten([incumbent, newcomer])
    assert (leader, set(behind)) == (0, {1})


def test_the_best_is_seldom_dropped():
    """Six candidates within 3 %, replicates with a spread of 2 %: the best leaves in at most 5 % of the races."""
    generator, lost = random.Random(0), 0
    for _ in range(400):
        candidates: list[dict[int, float]] = [{} for _ in range(6)]
        alive = set(range(6))
        for replicate in range(4):
            for number in alive:
                candidates[number][replicate] = 0.03 * number / 5 + generator.gauss(0, 0.02)
            places = sorted(alive)
            _, behind = beaten([candidates[number] for number in places])
            alive -= {places[place] for place in behind}
        lost += 5 not in alive
    assert lost / 400 <= 0.05


class Entrant(Member):
    """A member with a given number of replicates."""

    replicates = 0


def entrant(replicates: int) -> Entrant:
    made = Entrant("", RunConfig(), Path(), "candidate")
    made.replicates = replicates
    return made


def test_the_race_ends_with_its_time():
    now = [0.0]
    policy = Racing(rounds=1, deadline=10.0, clock=lambda: now[0])
    members = [entrant(3), entrant(0)]
    assert policy.for_replicate(members) == members
    now[0] = 10.0
    assert policy.for_replicate(members) == []


def test_an_incumbent_gets_no_more_replicates_than_a_newcomer():
    policy = Racing(rounds=1, deadline=10.0, replicates=2, clock=lambda: 0.0)
    incumbent, newcomer = entrant(4), entrant(0)
    for expected in ([incumbent, newcomer], [incumbent, newcomer], []):
        assert policy.for_replicate([incumbent, newcomer]) == expected
        incumbent.replicates += 1
        newcomer.replicates += 1


def test_a_race_with_one_left_is_decided():
    policy = Racing(rounds=1, deadline=10.0, clock=lambda: 0.0)
    incumbent, newcomer = entrant(0), entrant(0)
    policy.for_replicate([incumbent, newcomer])
    incumbent.replicates = 2
    assert policy.for_replicate([incumbent]) == []
