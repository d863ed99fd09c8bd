"""Outputs of no known meaning against those of fp32."""

from __future__ import annotations

import numpy as np
import pytest

from runner.analysis.accuracy import InvalidOutput
from runner.analysis.text_accuracy import compare_answers

TRUTH = {
    "output:scores": np.array([[3.0, 4.0], [0.0, 5.0]], np.float32),
    "output:total": np.array([[1], [2]], np.int64),
    "differing": np.array(True),
}


def against(**changed):
    """Compare the truth with itself, with some outputs replaced."""
    return compare_answers(TRUTH | {f"output:{name}": values for name, values in changed.items()}, TRUTH)


def test_identical_outputs():
    """There is no noise, so no SQNR, and no class to agree on."""
    found = against()
    assert (found.sqnr_db, found.agreement_top1, found.top1) == (None, None, None)
    assert found.scores == {"cosine scores": pytest.approx(1), "max_error scores": 0.0, "equal total": 1.0}


def test_outputs_are_compared_one_by_one():
    """An error of 0.5 in a vector with the square 50: 10 · log10(50 / 0.25) = 23.0 dB."""
    found = against(scores=np.array([[3.0, 4.5], [0.0, 5.0]], np.float32), total=np.array([[1], [3]], np.int64))
    assert found.sqnr_db == pytest.approx(23.01, abs=0.01)
    assert found.scores["max_error scores"] == pytest.approx(0.5)
    assert found.scores["cosine scores"] == pytest.approx(52 / (50 * 54.25) ** 0.5)
    assert found.scores["equal total"] == 0.5


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([[3.0, np.nan], [0.0, 5.0]], "1 of 4 values of the output scores are NaN or infinite"),
        ([[np.inf, 4.0], [0.0, 5.0]], "1 of 4 values of the output scores are NaN or infinite"),
        ([[3.0, 4.0], [3.0, 4.0]], "the output scores is the same for all inputs, in fp32 it is not"),
        ([[3.0, 4.0]], r"the output scores is of the shape \(1, 2\), in fp32 of the shape \(2, 2\)"),
    ],
)
def test_outputs_that_no_working_model_produces(scores, reason):
    """Each names the output."""
    with pytest.raises(InvalidOutput, match=reason):
        against(scores=np.array(scores, np.float32))
