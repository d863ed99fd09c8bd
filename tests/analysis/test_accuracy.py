"""Accuracy compared with labels and with fp32: exact numbers."""

import math

import numpy as np
import pytest

from runner.analysis.accuracy import Gate, InvalidOutput, check_logits, compare, kl_divergence, paired_interval, sqnr_db

NO_LABELS = np.empty(0, np.int64)


def one_hot(classes, count=3):
    """Return logits with the given classes as top-1."""
    logits = np.zeros((len(classes), count), np.float32)
    logits[np.arange(len(classes)), classes] = 1
    return logits


def test_identical_logits():
    """The reference compared with itself: full agreement, no flips, no noise."""
    logits = one_hot([0, 1, 2, 1])
    found = compare(logits, logits, np.array([0, 1, 2, 0]))
    assert (found.top1, found.reference_top1, found.delta_pp) == (0.75, 0.75, 0)
    assert (found.agreement_top1, found.flips, found.sqnr_db, found.kl) == (1, 0, None, 0)
    assert found.gate is Gate.passed


def test_a_flip_to_a_wrong_class():
    """One of four answers becomes wrong: 25 points are lost, and the gate fails."""
    found = compare(one_hot([0, 1, 2, 2]), one_hot([0, 1, 2, 1]), np.array([0, 1, 2, 1]))
    assert (found.top1, found.delta_pp, found.flips, found.agreement_top1) == (0.75, -25, 1, 0.75)
    assert found.gate is Gate.failed
    assert not found.gate_certain


def test_without_labels():
    """Agreement is available, top-1 and the gate are not."""
    found = compare(one_hot([0, 1]), one_hot([0, 2]), NO_LABELS)
    assert found.agreement_top1 == 0.5
    assert (found.top1, found.delta_pp, found.gate) == (None, None, None)


def test_gate_is_certain_if_the_interval_excludes_the_threshold():
    """Thousands of samples without a flip."""
    reference = one_hot([0, 1, 2] * 1000) + np.linspace(0, 0.1, 9000, dtype=np.float32).reshape(3000, 3)
    found = compare(reference * 0.9, reference, np.array([0, 1, 2] * 1000))
    assert found.gate is Gate.passed
    assert found.gate_certain
    assert found.gate_samples is None


def test_copies_of_a_sample_add_no_certainty():
    """Three samples, a thousand times each, decide as little as three."""
    reference, labels = one_hot([0, 1, 2] * 1000), np.array([0, 1, 2] * 1000)
    found, few = compare(reference * 0.9, reference, labels), compare(reference[:3] * 0.9, reference[:3], labels[:3])
    assert not found.gate_certain
    assert (found.delta_low_pp, found.delta_high_pp) == (few.delta_low_pp, few.delta_high_pp)


def test_samples_that_would_decide():
    """With more samples than reported, the interval does not contain the threshold."""
    gained, lost, samples = 1, 3, 400
    found = compare(*_with_changes(gained, lost, samples))
    assert not found.gate_certain
    assert found.gate_samples is not None
    factor = math.ceil(found.gate_samples / samples)
    low, high = paired_interval(gained * factor, lost * factor, samples * factor)
    assert not low < -0.01 * found.reference_top1 < high


def _with_changes(gained, lost, samples):
    """Return logits, reference and labels with given numbers of answers gained and lost."""
    labels = np.zeros(samples, np.int64)
    mine, truth = np.zeros(samples, np.int64), np.zeros(samples, np.int64)
    truth[:gained] = 1
    mine[gained : gained + lost] = 1
    mine[gained + lost : gained + lost + 20] = truth[gained + lost : gained + lost + 20] = 2  # both wrong
    return one_hot(mine), one_hot(truth), labels


def test_paired_interval_of_agresti_and_min():
    """An example of the formula: half an observation is added to each cell."""
    low, high = paired_interval(gained=2, lost=6, samples=98)
    margin = 1.959963984540054 * math.sqrt((9 / 100 - 0.04**2) / 100)
    assert (low, high) == (pytest.approx(-0.04 - margin), pytest.approx(-0.04 + margin))


def test_sqnr():
    """A tenth of the amplitude as noise is 20 dB."""
    reference = np.array([[3.0, 4.0]], np.float32)
    assert sqnr_db(reference * np.float32(0.9), reference) == pytest.approx(20, abs=1e-4)


def test_kl_divergence():
    """Two classes, probabilities ½ and ½ against ¾ and ¼."""
    reference = np.array([[0.0, 0.0]], np.float32)
    logits = np.array([[math.log(3), 0.0]], np.float32)
    assert kl_divergence(reference, logits) == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.array([[np.nan, 1.0], [0.0, 1.0]], np.float32), "1 of 4 logits are NaN or infinite"),
        (np.array([[np.inf, 1.0], [0.0, 1.0]], np.float32), "NaN or infinite"),
        (np.array([[2.0, 1.0], [2.0, 1.0]], np.float32), "all samples have the same logits"),
    ],
)
def test_invalid_outputs(logits, message):
    """NaN, infinite and constant outputs are rejected."""
    with pytest.raises(InvalidOutput, match=message):
        check_logits(logits)


def test_another_number_of_classes_is_rejected():
    """Logits must have the shape of the reference."""
    with pytest.raises(InvalidOutput, match="shape"):
        compare(one_hot([0, 1], 3), one_hot([0, 1], 4), NO_LABELS)
