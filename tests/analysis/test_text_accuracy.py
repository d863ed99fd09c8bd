"""Answers and generated text compared with the correct answers and with fp32: exact numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from runner.analysis.accuracy import Gate, InvalidOutput
from runner.analysis.text_accuracy import compare_answers, exact, f1, normalise


@pytest.mark.parametrize(
    ("text", "right", "score", "same"),
    [
        ("The Red Lamp!", ("red lamp",), 1.0, True),
        ("red lamp", ("lamp",), 2 / 3, False),
        ("red lamp", ("green chair", "a lamp"), 2 / 3, False),
        ("", (), 1.0, True),
        ("lamp", (), 0.0, False),
        ("", ("lamp",), 0.0, False),
    ],
)
def test_squad_scores(text, right, score, same):
    """Articles, case and punctuation are ignored; the best of several correct answers counts."""
    assert f1(text, right) == pytest.approx(score)
    assert exact(text, right) is same


def test_normalise_keeps_words_apart():
    assert normalise("An apple, the END.") == ["apple", "end"]


def answered(spans, texts, *, shift=0.0):
    """Return a worker's arrays for three questions."""
    logits = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4) + np.float32(shift)
    right = [json.dumps(["ann"]), json.dumps(["bob lee"]), json.dumps([])]
    return {
        "logits": logits,
        "spans": np.array(spans),
        "texts": np.array(texts),
        "right": np.array(right),
        "differing": True,
    }


def test_questions():
    """F1 is (1 + ⅔ + 1) ÷ 3, fp32's is 1; one span differs; the gate uses F1."""
    reference = answered([[1, 1], [2, 3], [-1, -1]], ["ann", "bob lee", ""])
    own = answered([[1, 1], [2, 2], [-1, -1]], ["ann", "bob", ""], shift=0.5)
    found = compare_answers(own, reference)
    assert found.scores == pytest.approx({"f1": 8 / 9, "reference_f1": 1, "exact_match": 2 / 3, "f1_with_fp32": 8 / 9})
    assert (found.flips, found.agreement_top1) == (1, pytest.approx(2 / 3))
    assert found.delta_pp == pytest.approx(-100 / 9)
    assert (found.gate, found.gate_certain) == (Gate.failed, False)
    assert found.sqnr_db == pytest.approx(10 * math.log10(sum(n * n for n in range(24)) / (24 * 0.25)))
    assert compare_answers(reference, reference).gate_certain


def written(tokens, nll):
    """Return a worker's arrays for texts of 10 tokens."""
    return {"tokens": np.array(tokens), "nll": np.array(nll), "tokens_scored": np.full(len(nll), 10)}


def test_generated_text():
    """Perplexity is e^(44 ÷ 20), three of four tokens agree, and the likelihood per token changes by e^(−4 ÷ 20)."""
    found = compare_answers(written([[1, 2], [3, 4]], [21.0, 23.0]), written([[1, 2], [3, 5]], [20.0, 20.0]))
    assert found.scores == pytest.approx({"perplexity": math.exp(2.2), "reference_perplexity": math.exp(2.0)})
    assert (found.agreement_top1, found.flips) == (0.75, 1)
    assert found.delta_pp == pytest.approx(100 * (math.exp(-0.2) - 1))
    assert found.gate is Gate.failed
    margin = 1.959963984540054 * math.sqrt(2) * math.sqrt(2) / 20  # residuals 1 and 3 less 2 each: s.d. √2
    assert found.delta_low_pp == pytest.approx(100 * (math.exp(-0.2 - margin) - 1))


def test_copies_of_one_text_decide_nothing():
    """Four hundred copies are one text: there is no interval, and the gate is not certain."""
    found = compare_answers(written([[1, 2]] * 400, [21.0] * 400), written([[1, 2]] * 400, [20.0] * 400))
    assert (found.delta_low_pp, found.delta_high_pp, found.gate_certain) == (None, None, False)


def test_identical_text_passes_with_certainty():
    same = written([[1, 2], [3, 4]], [20.0, 20.0])
    found = compare_answers(same, same)
    assert (found.gate, found.gate_certain, found.delta_pp) == (Gate.passed, True, 0)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_invalid_numbers_are_rejected(broken):
    """For generated text and for questions."""
    fine = written([[1, 2], [3, 4]], [20.0, 20.0])
    with pytest.raises(InvalidOutput, match="likelihoods"):
        compare_answers(written([[1, 2], [3, 4]], [20.0, broken]), fine)
    questions = answered([[1, 1], [2, 3], [-1, -1]], ["ann", "bob lee", ""])
    with pytest.raises(InvalidOutput, match="logits are NaN"):
        compare_answers(questions | {"logits": np.full((3, 2, 4), broken)}, questions)
    with pytest.raises(InvalidOutput, match="all questions"):
        compare_answers(questions | {"logits": np.ones((3, 2, 4))}, questions)
