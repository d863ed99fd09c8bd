"""What a configuration costs in answers and in generated text, against what is right and against fp32. Pure numpy."""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.analysis.accuracy import GATE, Z_95, Accuracy, Gate, InvalidOutput, compare, sqnr_db

Answers = Mapping[str, NDArray[Any]]


def compare_answers(own: Answers, reference: Answers) -> Accuracy:
    """Compare what two workers wrote about the same samples, for any task.

    Args:
        own: the candidate's arrays: ``logits`` of classes, or those of :func:`compare_spans`, or of
            :func:`compare_generated`; ``labels``, and ``differing``: whether the samples differ from each other.
        reference: fp32's.

    Raises:
        InvalidOutput: they are no answers of a model.
    """
    if "tokens" in own:
        return compare_generated(own, reference)
    if "spans" in own:
        return compare_spans(own, reference)
    return compare(own["logits"], reference["logits"], own["labels"], differing=bool(own["differing"]))


def compare_spans(own: Answers, reference: Answers) -> Accuracy:
    """Compare answers to questions with those that are right, by SQuAD's F1, and with fp32's.

    Args:
        own: ``logits`` (questions × 2 × tokens, zero outside the context), ``spans`` (questions × 2), ``texts``, and
            ``right`` (for each question a JSON list of answers; an empty one if there is none).
        reference: the same of fp32.

    Raises:
        InvalidOutput: a logit is NaN or infinite, or all questions have the same logits.
    """
    logits, truth = own["logits"], reference["logits"]
    if not np.isfinite(logits).all() or not np.isfinite(truth).all():
        raise InvalidOutput("logits are NaN or infinite")
    if own["differing"] and len(logits) > 1 and np.ptp(logits, axis=0).max() == 0:
        raise InvalidOutput("all questions have the same logits")
    right = [tuple(json.loads(str(answers))) for answers in own["right"]]
    texts, expected = [str(text) for text in own["texts"]], [str(text) for text in reference["texts"]]
    scores = np.array([f1(text, answers) for text, answers in zip(texts, right, strict=True)])
    wanted = np.array([f1(text, answers) for text, answers in zip(expected, right, strict=True)])
    same = (own["spans"] == reference["spans"]).all(axis=1)
    noise = sqnr_db(logits, truth)
    delta = scores - wanted
    # As in accuracy.paired_interval, one observation more leaves a width if no answer changed.
    variance = (float(np.square(delta).sum()) + 1) / (len(delta) + 2) - float(delta.mean()) ** 2
    mean, margin = float(delta.mean()), Z_95 * math.sqrt(variance / (len(delta) + 2))
    bar = -(1 - GATE) * float(wanted.mean())
    overlap = [f1(text, (answer,) if answer else ()) for text, answer in zip(texts, expected, strict=True)]
    return Accuracy(
        samples=len(texts),
        top1=None,
        reference_top1=None,
        delta_pp=100 * mean,
        delta_low_pp=100 * (mean - margin),
        delta_high_pp=100 * (mean + margin),
        agreement_top1=float(same.mean()),
        flips=int((~same).sum()),
        sqnr_db=noise,
        kl=None,
        gate=Gate.passed if mean >= bar else Gate.failed,
        gate_certain=noise is None or not mean - margin < bar < mean + margin,
        gate_samples=None,
        scores={
            "f1": float(scores.mean()),
            "reference_f1": float(wanted.mean()),
            "exact_match": float(np.mean([exact(text, answers) for text, answers in zip(texts, right, strict=True)])),
            "f1_with_fp32": float(np.mean(overlap)),
        },
    )


def compare_generated(own: Answers, reference: Answers) -> Accuracy:
    """Compare generated text with fp32's, token by token, and the perplexity of the text that was given.

    Args:
        own: ``tokens`` (texts × new tokens), ``nll`` (negative log likelihood of each text in nats) and
            ``tokens_scored`` (of how many tokens it is the sum).
        reference: the same of fp32.

    Raises:
        InvalidOutput: a likelihood is NaN or infinite.
    """
    nll, truth = own["nll"].astype(np.float64), reference["nll"].astype(np.float64)
    if not np.isfinite(nll).all() or not np.isfinite(truth).all():
        raise InvalidOutput("likelihoods are NaN or infinite")
    total = float(own["tokens_scored"].sum())
    if not total:
        raise InvalidOutput("no token has another before it that could predict it: use longer texts")
    same = own["tokens"] == reference["tokens"]
    difference = nll - truth
    mean = float(difference.sum()) / total
    margin = Z_95 * math.sqrt(len(difference)) * float(difference.std()) / total
    # The share of fp32's likelihood per token that is left: 99 % of it is perplexity's form of the gate.
    left, low, high = (math.exp(-value) for value in (mean, mean + margin, mean - margin))
    identical = bool(same.all()) and not difference.any()
    return Accuracy(
        samples=len(nll),
        top1=None,
        reference_top1=None,
        delta_pp=100 * (left - 1),
        delta_low_pp=100 * (low - 1),
        delta_high_pp=100 * (high - 1),
        agreement_top1=float(same.mean()),
        flips=int((~same.all(axis=1)).sum()),
        sqnr_db=None,
        kl=None,
        gate=Gate.passed if left >= GATE else Gate.failed,
        gate_certain=identical or not low < GATE < high,
        gate_samples=None,
        scores={"perplexity": math.exp(nll.sum() / total), "reference_perplexity": math.exp(truth.sum() / total)},
    )


ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> list[str]:
    """Return the words of an answer as SQuAD's official evaluation compares them: no case, articles, punctuation."""
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return ARTICLES.sub(" ", plain).split()


def exact(text: str, right: Sequence[str]) -> bool:
    """Return whether an answer is one of those that are right; an empty one is right if there is none."""
    return normalise(text) in [normalise(answer) for answer in right] if right else not normalise(text)


def f1(text: str, right: Sequence[str]) -> float:
    """Return the best F1 of an answer's words over all that are right (Rajpurkar et al., SQuAD, 2016; 2.0, 2018)."""
    words = normalise(text)
    if not right:
        return float(not words)
    return max(_f1(words, normalise(answer)) for answer in right)


def _f1(words: list[str], wanted: list[str]) -> float:
    if not words or not wanted:
        return float(words == wanted)
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted))
