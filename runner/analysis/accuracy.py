"""What a configuration costs in accuracy: its logits against the labels and against the fp32 reference. Pure numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]

GATE = 0.99
"""MLPerf Inference's rule: at least 99 % of the fp32 accuracy (inference_policies, benchmark quality targets)."""
Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class InvalidOutput(Exception):
    """The outputs cannot be a model's answers: NaN, infinite or constant."""


class Gate(StrEnum):
    """Whether at least 99 % of the fp32 accuracy is left."""

    passed = "pass"
    failed = "fail"


@dataclass(frozen=True)
class Accuracy:
    """A configuration's answers compared with labels and with fp32, on the very same images."""

    samples: int
    top1: float | None
    """Share of images whose label has the largest logit; None if the data have no labels for this model."""
    reference_top1: float | None
    delta_pp: float | None
    """Top-1 (or F1) minus the reference's, in percentage points; of generated text, by how many per cent the likelihood
    of a token, the inverse of perplexity, differs from the reference's."""
    delta_low_pp: float | None
    delta_high_pp: float | None
    agreement_top1: float
    """Share of samples with the same top-1 class as fp32; of answers with its span; of tokens that are the same."""
    flips: int
    """Samples with another answer than fp32."""
    sqnr_db: float | None
    """Signal to quantisation noise of the logits, in dB; None if the logits are identical."""
    kl: float | None
    """Mean Kullback-Leibler divergence of the softmax outputs from fp32's, in nats; None without classes."""
    gate: Gate | None
    gate_certain: bool
    """Whether the paired interval of the delta is on one side of the threshold."""
    gate_samples: int | None
    """About how many images would decide the gate, if it is not certain."""
    scores: dict[str, float] = field(default_factory=dict)
    """What tasks other than classification are judged by: `f1`, `exact_match` and `f1_with_fp32`, or `perplexity`."""


def check_logits(logits: Logits, *, differing: bool = True) -> None:
    """Refuse outputs that no working model gives.

    Args:
        logits: samples × classes.
        differing: whether the samples differ from each other, so that their logits should.

    Raises:
        InvalidOutput: a logit is NaN or infinite, or every image has the same logits.
    """
    finite = np.isfinite(logits)
    if not finite.all():
        raise InvalidOutput(f"{int((~finite).sum())} of {logits.size} logits are NaN or infinite")
    if differing and len(logits) > 1 and np.ptp(logits, axis=0).max() == 0:
        raise InvalidOutput("all samples have the same logits")


def compare(logits: Logits, reference: Logits, labels: NDArray[np.int64], *, differing: bool = True) -> Accuracy:
    """Compare logits with the reference's and with the labels.

    Args:
        logits: samples × classes.
        reference: the fp32 logits of the same images, same shape.
        labels: one per sample, or empty if the data have none for this model's classes.
        differing: whether the samples differ from each other.

    Raises:
        InvalidOutput: the logits are NaN, infinite, constant, or of another shape than the reference's.
    """
    if logits.shape != reference.shape:
        raise InvalidOutput(f"logits have the shape {logits.shape}, the fp32 reference has {reference.shape}")
    check_logits(logits, differing=differing)
    check_logits(reference, differing=differing)
    chosen, expected = logits.argmax(axis=1), reference.argmax(axis=1)
    flips = int((chosen != expected).sum())
    samples = len(logits)
    noise = sqnr_db(logits, reference)
    scored = _score(chosen == labels, expected == labels, identical=noise is None) if labels.size else _Score()
    return Accuracy(
        samples=samples,
        top1=scored.top1,
        reference_top1=scored.reference_top1,
        delta_pp=scored.delta_pp,
        delta_low_pp=scored.delta_low_pp,
        delta_high_pp=scored.delta_high_pp,
        agreement_top1=1 - flips / samples,
        flips=flips,
        sqnr_db=noise,
        kl=kl_divergence(reference, logits),
        gate=scored.gate,
        gate_certain=scored.certain,
        gate_samples=scored.needed,
    )


@dataclass(frozen=True)
class _Score:
    """The part of an accuracy that needs labels."""

    top1: float | None = None
    reference_top1: float | None = None
    delta_pp: float | None = None
    delta_low_pp: float | None = None
    delta_high_pp: float | None = None
    gate: Gate | None = None
    certain: bool = False
    needed: int | None = None


def _score(right: NDArray[np.bool_], reference_right: NDArray[np.bool_], *, identical: bool) -> _Score:
    top1, reference_top1 = float(right.mean()), float(reference_right.mean())
    gained = int((right & ~reference_right).sum())
    lost = int((~right & reference_right).sum())
    delta = (gained - lost) / len(right)
    low, high = paired_interval(gained, lost, len(right))
    bar = -(1 - GATE) * reference_top1
    # Identical logits leave nothing to doubt: the interval's width is then only the formula's own caution.
    certain = identical or not low < bar < high
    return _Score(
        top1=top1,
        reference_top1=reference_top1,
        delta_pp=100 * delta,
        delta_low_pp=100 * low,
        delta_high_pp=100 * high,
        gate=Gate.passed if delta >= bar else Gate.failed,
        certain=certain,
        needed=None if certain else _samples_to_decide(gained, lost, len(right), bar),
    )


def paired_interval(gained: int, lost: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of two paired proportions.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine
    24(5), 2005: the Wald interval with half an observation added to each of the four cells. It needs no resampling
    and leaves a width even if no image changed.

    Args:
        gained: samples that only the candidate got right.
        lost: samples that only the reference got right.
        samples: all samples.
    """
    total = samples + 2
    difference = (gained - lost) / total
    variance = ((gained + lost + 1) / total - difference**2) / total
    margin = Z_95 * math.sqrt(variance)
    return difference - margin, difference + margin


def _samples_to_decide(gained: int, lost: int, samples: int, bar: float) -> int | None:
    """Return the number of samples that would move the interval off the threshold; None if the estimate is on it."""
    difference = (gained - lost) / samples
    distance = abs(difference - bar)
    if distance == 0:
        return None
    discordant = (gained + lost + 1) / (samples + 2)
    return math.ceil((discordant - difference**2) * (Z_95 / distance) ** 2)


def sqnr_db(logits: Logits, reference: Logits) -> float | None:
    """Return 10·log10(Σ reference² / Σ (reference − logits)²), or None if the two are identical."""
    wanted = reference.astype(np.float64)
    noise = float(np.square(wanted - logits).sum())
    return None if noise == 0 else 10 * math.log10(float(np.square(wanted).sum()) / noise)


def kl_divergence(reference: Logits, logits: Logits) -> float:
    """Return the mean over samples of KL(softmax(reference) ‖ softmax(logits)), in nats."""
    wanted, given = _log_softmax(reference), _log_softmax(logits)
    return float((np.exp(wanted) * (wanted - given)).sum(axis=1).mean())


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
