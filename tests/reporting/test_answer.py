"""The answer below a table: what to take, how sure that is, and what is not known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from runner.analysis.accuracy import Accuracy, Gate
from runner.analysis.statistics import Verdict, geometric_mean
from runner.reporting.answer import answer, fastest_first
from runner.results.result import Replicate, Result
from runner.results.status import Status
from tests.reporting.test_progress import MEASURED

ACCURACY = Accuracy(
    samples=400, top1=0.95, reference_top1=0.96, delta_pp=-0.25, delta_low_pp=-1.0, delta_high_pp=0.5,
    agreement_top1=0.99, flips=4, sqnr_db=25.0, kl=0.01, gate=Gate.passed, gate_certain=True, gate_samples=None,
)  # fmt: skip
TRAINED = {"weights.name": "pretrained", "data.name": "image_folder"}


def side_by_side(
    label: str,
    speedups: list[float],
    block: str = "01",
    accuracy: Accuracy | None = ACCURACY,
    verdict: Verdict = Verdict.faster,
    settings: dict[str, Any] | None = None,
) -> Result:
    """Return a result with one replicate per speedup."""
    replicates = [Replicate(number, 2, speedup, 8 * speedup) for number, speedup in enumerate(speedups)]
    numbers = replace(
        MEASURED, speedup=geometric_mean([math.log(one) for one in speedups]), replicates=replicates, block=block,
        noise_floor=0.01, verdict=verdict,
    )  # fmt: skip
    return Result(label, Status.ok, "", "", settings or TRAINED, measurement=numbers, accuracy=accuracy)


def test_the_fastest_that_passes_and_by_how_much():
    """Their speedups scatter by 20 %, their ratio not at all: it is 1.1."""
    fast, other = side_by_side("fast", [2.2, 2.64, 2.42]), side_by_side("next", [2.0, 2.4, 2.2])
    assert answer([side_by_side("slow", [1.0, 1.1, 1.2]), fast, other]) == [
        "answer: take fast: 2.41× (1.92 … 3.03) as fast as the baseline, and passes the gate "
        "(-0.25 points of accuracy, -1.00 … +0.50); it beats the next, next, by 1.10× (1.10 … 1.10), side by side"
    ]


def test_two_kinds_of_machines_have_no_common_answer():
    """Their speedups are over two baselines; a row without a number says nothing of a machine."""
    here, there = (replace(side_by_side(name, [2.0, 2.1]), machine_class=name) for name in ("here", "there"))
    assert answer([here, there])[0].startswith("answer: none. Each kind of machine has a baseline of its own")
    assert fastest_first([here, there]) == []
    assert fastest_first([here, replace(there, measurement=None)]) == [here]


def test_what_cannot_be_told_apart():
    """The interval of their ratio holds 1; rows of different blocks were measured at different times."""
    close = [side_by_side("a", [2.0, 2.2, 2.1]), side_by_side("b", [2.1, 2.05, 2.1])]
    assert "it cannot be told apart from b (1.01×" in answer(close)[0]
    apart = [side_by_side("a", [2.0, 2.1]), side_by_side("b", [1.0, 1.1], block="02")]
    assert answer(apart)[0].endswith("the next, b, was not measured beside it")


def test_a_faster_row_that_fails_the_gate_is_named_and_not_taken():
    """With the certainty of its failure."""
    failed = replace(ACCURACY, gate=Gate.failed)
    rows = [side_by_side("good", [2.0, 2.1]), side_by_side("bad", [5.0, 5.0], accuracy=failed)]
    assert answer(rows)[0].endswith("bad is faster (5.00×) and fails the gate")
    rows[1] = side_by_side("bad", [5.0, 5.0], accuracy=replace(failed, gate_certain=False))
    assert answer(rows)[0].endswith("and fails the gate, though not for sure")
    assert answer(rows[1:]) == ["answer: none of 1 measured rows passes the accuracy gate"]


def test_what_is_not_known_is_said():
    """Untrained weights, noise instead of data, and rows on a noisy machine."""
    settings = {"weights.name": "probe", "data.name": "synthetic"}
    noisy = side_by_side("noisy", [9.0, 9.0], verdict=Verdict.too_noisy)
    unsure = replace(ACCURACY, gate_certain=False)
    [line] = answer([side_by_side("a", [2.0, 2.1], settings=settings, accuracy=unsure), noisy])
    assert "seems to pass the gate, for 400 samples" in line
    assert line.endswith(
        "not known: what it costs trained weights (these are weights=probe); accuracy on real data; "
        "the speed of noisy (too noisy)"
    )
    assert answer([noisy]) == [
        "answer: none. The machine was too noisy for every row: measure again when it is at rest"
    ]


def test_nothing_is_faster():
    """The fastest is named with its verdict."""
    [line] = answer([side_by_side("a", [0.9, 0.91], verdict=Verdict.slower)])
    assert line.startswith("answer: no row is faster than the baseline for sure; the fastest, a, is 0.90×")
    assert "as fast: slower" in line


def test_no_answer():
    """Without a number, and for A/A runs."""
    assert answer([Result("a", Status.failed, "", "", TRAINED)]) == []
    assert answer([side_by_side("a", [1.0, 1.0], settings={"aa": 5})]) == []
