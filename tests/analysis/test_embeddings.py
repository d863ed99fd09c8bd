"""Vectors of samples against those of fp32."""

from __future__ import annotations

import numpy as np
import pytest

from runner.analysis.accuracy import InvalidOutput
from runner.analysis.text_accuracy import compare_answers
from runner.worker.tasks.embedding import mean_over_tokens


def answers(*rows, differing=True):
    return {"embedding": np.array(rows, np.float32), "differing": np.array(differing)}


TRUTH = answers([1, 0], [0.9, 0.1], [0, 1])


def test_the_same_vectors_are_exact():
    """Nearest neighbours are those of fp32, and there is no noise."""
    found = compare_answers(TRUTH, TRUTH)
    assert (found.agreement_top1, found.flips, found.sqnr_db, found.top1, found.gate) == (1, 0, None, None, None)
    assert found.scores == {"cosine": pytest.approx(1), "cosine_min": pytest.approx(1)}


def test_a_turned_vector_changes_neighbours():
    """The second of three vectors moves from the first to the third; the third had the second as its nearest."""
    found = compare_answers(answers([1, 0], [0.1, 0.9], [0, 1]), TRUTH)
    assert found.agreement_top1 == pytest.approx(2 / 3)
    assert found.flips == 1
    assert found.scores["cosine_min"] == pytest.approx((0.09 + 0.09) / 0.82, rel=1e-6)


def test_the_length_of_vectors_changes_no_neighbour():
    """Similarity is of directions; the noise is of values."""
    found = compare_answers(answers([2, 0], [1.8, 0.2], [0, 2]), TRUTH)
    assert (found.agreement_top1, found.sqnr_db) == (1, pytest.approx(0, abs=1e-5))


@pytest.mark.parametrize("rows", [([np.nan, 0], [0, 1], [1, 1]), ([1, 1], [1, 1], [1, 1])])
def test_vectors_that_no_working_model_returns(rows):
    """NaN, or one vector for all samples."""
    with pytest.raises(InvalidOutput):
        compare_answers(answers(*rows), TRUTH)


def test_a_single_sample_has_no_neighbour():
    """Its similarity remains."""
    found = compare_answers(answers([1, 0]), answers([1, 0]))
    assert (found.agreement_top1, found.scores["cosine"]) == (None, 1)


def test_the_mean_over_tokens_leaves_padding_out():
    """As sentence-transformers' mean pooling; a text of padding alone has a vector of zeros."""
    values = np.array([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[1.0, 1.0]] * 3], np.float32)
    mask = np.array([[1, 1, 0], [0, 0, 0]])
    assert mean_over_tokens(values, mask).tolist() == [[2.0, 4.0], [0.0, 0.0]]
    assert mean_over_tokens(values[:1], None)[0] == pytest.approx([13 / 3, 17 / 3])
