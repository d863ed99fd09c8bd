"""Accuracy of a configuration: its logits compared with the labels and with the fp32 reference. Pure numpy."""

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
    """The outputs are not valid: NaN, infinite, constant, or of the wrong shape."""


class Gate(StrEnum):
    """Whether at least 99 % of the fp32 accuracy is preserved, as MLPerf requires."""

    passed = "pass"
    """At least 99 % is left."""
    failed = "fail"
    """Less is left."""


@dataclass(frozen=True)
class Accuracy:
    """A configuration's outputs compared with the labels and with fp32 on the same samples."""

    samples: int
    top1: float | None
    """Share of samples whose label has the largest logit; None if the data have no labels for this model."""
    reference_top1: float | None
    delta_pp: float | None
    """Top-1 (or F1) minus the reference's, in percentage points. For generated text: difference of the likelihood per
    token, the inverse of perplexity, from the reference's, in per cent."""
    delta_low_pp: float | None
    delta_high_pp: float | None
    agreement_top1: float | None
    """Share of samples with the same top-1 class as fp32, of answers with the same span, or of equal tokens; None for
    outputs of no known meaning."""
    flips: int
    """Number of samples whose answer differs from fp32's."""
    sqnr_db: float | None
    """Signal-to-quantisation-noise ratio of the logits, in dB; None if the logits are identical."""
    kl: float | None
    """Mean Kullback-Leibler divergence of the softmax outputs from fp32's, in nats; None for tasks without classes."""
    gate: Gate | None
    gate_certain: bool
    """Whether the paired interval of the delta is entirely on one side of the threshold."""
    gate_samples: int | None
    """Approximate number of samples that would decide the gate; None if it is certain or no number would."""

    @property
    def drop_pp(self) -> float | None:
        """What is lost, in percentage points; None without a quality, and for generated text, whose unit is another."""
        return None if self.delta_pp is None or "perplexity" in self.scores else -self.delta_pp

    @property
    def drop_percent(self) -> float | None:
        """What is lost, in per cent of the reference's quality; None without a quality."""
        return None if self.delta_pp is None else -self.delta_pp * self.percent_per_point

    @property
    def percent_per_point(self) -> float:
        """How many per cent of the reference's quality a percentage point of it is."""
        quality = self.reference_top1 if self.reference_top1 is not None else self.scores.get("reference_f1")
        if quality is None:  # of generated text the difference is in per cent already
            return 1.0
        return 1.0 / quality if quality else math.inf

    @property
    def lowest_equal_share(self) -> float | None:
        """The lowest share of equal values of an output, of 1; None for tasks whose outputs are not compared so."""
        return min((value for name, value in self.scores.items() if name.startswith("equal ")), default=None)

    @property
    def is_exact(self) -> bool:
        """Whether the outputs are those of fp32, bit for bit."""
        same = self.lowest_equal_share in (None, 1.0)
        return self.sqnr_db is None and self.flips == 0 and same and "perplexity" not in self.scores

    scores: dict[str, float] = field(default_factory=dict)
    """Scores of tasks other than classification: `f1`, `reference_f1`, `exact_match` and `f1_with_fp32`; `perplexity`
    and `reference_perplexity`; or those of :func:`runner.analysis.tensors.compare_tensors`."""


def check_logits(logits: Logits, *, differing: bool = True) -> None:
    """Reject outputs that no working model produces.

    Args:
        logits: samples × classes.
        differing: whether the samples differ from each other, so that their logits must differ too.

    Raises:
        InvalidOutput: a logit is NaN or infinite, or all samples have the same logits.
    """
    finite = np.isfinite(logits)
    if not finite.all():
        raise InvalidOutput(f"{int((~finite).sum())} of {logits.size} logits are NaN or infinite")
    if differing and len(logits) > 1 and np.ptp(logits, axis=0).max() == 0:
        raise InvalidOutput("all samples have the same logits")


def compare(logits: Logits, reference: Logits, labels: NDArray[np.int64], *, differing: bool = True) -> Accuracy:
    """Compare logits with the fp32 reference and with the labels.

    Args:
        logits: samples × classes.
        reference: fp32 logits of the same samples, of the same shape.
        labels: one class index per sample, or empty if the data have no labels for this model's classes.
        differing: whether the samples differ from each other.

    Raises:
        InvalidOutput: logits are NaN, infinite or constant, or differ in shape from the reference.
    """
    if logits.shape != reference.shape:
        raise InvalidOutput(f"logits have the shape {logits.shape}, the fp32 reference has the shape {reference.shape}")
    check_logits(logits, differing=differing)
    check_logits(reference, differing=differing)
    chosen, expected = logits.argmax(axis=1), reference.argmax(axis=1)
    flips = int((chosen != expected).sum())
    samples = len(logits)
    noise = sqnr_db(logits, reference)
    # Copies of one sample add no certainty.
    distinct = np.unique(reference, axis=0, return_index=True)[1]
    scored = _Score()
    if labels.size:
        scored = _score(chosen == labels, expected == labels, distinct, identical=noise is None)
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
    """The fields of an accuracy that need labels."""

    top1: float | None = None
    reference_top1: float | None = None
    delta_pp: float | None = None
    delta_low_pp: float | None = None
    delta_high_pp: float | None = None
    gate: Gate | None = None
    certain: bool = False
    needed: int | None = None


def _score(
    right: NDArray[np.bool_], reference_right: NDArray[np.bool_], distinct: NDArray[np.intp], *, identical: bool
) -> _Score:
    top1, reference_top1 = float(right.mean()), float(reference_right.mean())
    delta = top1 - reference_top1
    gained = int((right & ~reference_right)[distinct].sum())
    lost = int((~right & reference_right)[distinct].sum())
    low, high = paired_interval(gained, lost, len(distinct))
    threshold = -(1 - GATE) * reference_top1
    # Identical logits are certain to pass; the interval of the formula has a width even then.
    certain = identical or not low < threshold < high
    return _Score(
        top1=top1,
        reference_top1=reference_top1,
        delta_pp=100 * delta,
        delta_low_pp=100 * low,
        delta_high_pp=100 * high,
        gate=Gate.passed if delta >= threshold else Gate.failed,
        certain=certain,
        needed=None if certain else _samples_to_decide(gained, lost, len(distinct), threshold),
    )


def paired_interval(gained: int, lost: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of two paired proportions.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine
    24(5), 2005: the Wald interval with half an observation added to each of the four cells. It needs no resampling
    and has a positive width even if no sample changed.

    Args:
        gained: number of samples that only the candidate got right.
        lost: number of samples that only the reference got right.
        samples: number of all samples.
    """
    total = samples + 2
    difference = (gained - lost) / total
    variance = ((gained + lost + 1) / total - difference**2) / total
    margin = Z_95 * math.sqrt(variance)
    return difference - margin, difference + margin


def _samples_to_decide(gained: int, lost: int, samples: int, threshold: float) -> int | None:
    """Return the number of samples that moves the interval off the threshold; None if the estimate equals it."""
    difference = (gained - lost) / samples
    distance = abs(difference - threshold)
    if distance == 0:
        return None
    discordant = (gained + lost + 1) / (samples + 2)
    return math.ceil((discordant - difference**2) * (Z_95 / distance) ** 2)


def sqnr_db(logits: Logits, reference: Logits) -> float | None:
    """Return 10·log10(Σ reference² / Σ (reference − logits)²); None if the two are identical."""
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
