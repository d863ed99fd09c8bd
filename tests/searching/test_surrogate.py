"""What the combinations that were seen say about the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runner.searching.surrogate import encode, probability, promising


@dataclass
class Planned:
    overrides: tuple[str, ...]


@dataclass
class Seen:
    """What is read of a search: two axes whose effects add up."""

    plans: list[Planned]
    feasible: dict[int, float]
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def progression(self) -> Seen:
        return self

    @property
    def race(self) -> Seen:
        return self

    def plan(self, number: int) -> Planned:
        return self.plans[number]

    def variant_of(self, plan: Planned) -> str:
        return plan.overrides[0]


def grid(*, best_unseen: bool) -> tuple[Seen, list[int]]:
    words = [(f"backend={b}", f"threads={t}") for b in range(4) for t in range(5)]
    values = [0.3 * b + 0.1 * t for b in range(4) for t in range(5)]
    unseen = [19] if best_unseen else [0, 1]
    seen = {number: value for number, value in enumerate(values) if number not in unseen}
    return Seen([Planned(one) for one in words], seen), unseen


def test_a_better_one_that_the_others_suggest():
    search, unseen = grid(best_unseen=True)
    assert probability(search, unseen, 1.03) > 0.7


def test_worse_ones():
    search, unseen = grid(best_unseen=False)
    assert probability(search, unseen, 1.03) < 0.01


def test_a_variant_that_breaks_a_bound_is_not_missed():
    search, unseen = grid(best_unseen=True)
    search.broken["backend=3"] = "accuracy"
    assert probability(search, unseen, 1.03) == 0.0


def test_too_few_say_nothing():
    search, unseen = grid(best_unseen=True)
    search.feasible = dict(list(search.feasible.items())[:7])
    assert probability(search, unseen, 1.03) is None


def test_words_are_encoded():
    assert np.array_equal(encode([("a", "b"), ("a", "c")]), [[1, 1, 0], [1, 0, 1]])


def test_the_most_promising_are_raced_next():
    """Of a grid whose effects add up, the corner that was not seen."""
    search, _ = grid(best_unseen=True)
    for number in (0, 1, 5, 18):
        search.feasible.pop(number)
    assert promising(search, [0, 1, 5, 18, 19], 2) == [19, 18]


def test_the_given_order_holds_until_enough_were_seen():
    search, _ = grid(best_unseen=True)
    search.feasible = dict.fromkeys(range(7), 0.0)
    assert promising(search, [12, 7, 19], 2) == [12, 7]
