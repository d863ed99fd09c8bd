"""Accuracy of answers and of generated text, compared with the correct answers and with fp32. Pure numpy."""

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
from runner.analysis.embeddings import compare_embeddings
from runner.analysis.tensors import compare_tensors
from runner.protocol import EMBEDDING, OUTPUT_PREFIX

Answers = Mapping[str, NDArray[Any]]


def compare_answers(own: Answers, reference: Answers) -> Accuracy:
    """Compare the outputs of two workers for the same samples, for any task.

    Args:
        own: the candidate's arrays: ``logits``, ``labels`` and ``differing`` (whether the samples differ from each
            other) for classes, or those of :func:`compare_spans` or :func:`compare_generated`.
        reference: the same arrays of fp32.

    Raises:
        InvalidOutput: the outputs are not valid.
    """
    if any(name.startswith(OUTPUT_PREFIX) for name in own):
        return compare_tensors(own, reference)
    if EMBEDDING in own:
        return compare_embeddings(own, reference)
    if "tokens" in own:
        return compare_generated(own, reference)
    if "spans" in own:
        return compare_spans(own, reference)
    return compare(own["logits"], reference["logits"], own["labels"], differing=bool(own["differing"]))


def compare_spans(own: Answers, reference: Answers) -> Accuracy:
    """Compare answers to questions with the correct answers, by SQuAD's F1, and with fp32's answers.

    Args:
        own: ``logits`` (questions × 2 × tokens, zero outside the context), ``spans`` (questions × 2), ``texts``,
            ``right`` (per question a JSON list of correct answers; empty if the question has none) and ``differing``
            (whether the questions differ from each other).
        reference: the same arrays of fp32.

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
    # As in accuracy.paired_interval, the additional observation gives a positive width even if no answer changed.
    variance = (float(np.square(delta).sum()) + 1) / (len(delta) + 2) - float(delta.mean()) ** 2
    mean, margin = float(delta.mean()), Z_95 * math.sqrt(variance / (len(delta) + 2))
    threshold = -(1 - GATE) * float(wanted.mean())
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
        gate=Gate.passed if mean >= threshold else Gate.failed,
        gate_certain=noise is None or not mean - margin < threshold < mean + margin,
        gate_samples=None,
        scores={
            "f1": float(scores.mean()),
            "reference_f1": float(wanted.mean()),
            "exact_match": float(np.mean([exact(text, answers) for text, answers in zip(texts, right, strict=True)])),
            "f1_with_fp32": float(np.mean(overlap)),
        },
    )


def compare_generated(own: Answers, reference: Answers) -> Accuracy:
    """Compare generated text with fp32's, token by token, and the perplexity of the input texts.

    Args:
        own: ``tokens`` (texts × new tokens), ``nll`` (negative log-likelihood of each input text, in nats) and
            ``tokens_scored`` (number of tokens that each sum covers).
        reference: the same arrays of fp32.

    Raises:
        InvalidOutput: a likelihood is NaN or infinite, or no token is scored.
    """
    nll, truth = own["nll"].astype(np.float64), reference["nll"].astype(np.float64)
    if not np.isfinite(nll).all() or not np.isfinite(truth).all():
        raise InvalidOutput("likelihoods are NaN or infinite")
    total = float(own["tokens_scored"].sum())
    if not total:
        raise InvalidOutput("every text has fewer than two tokens, which perplexity needs: use longer texts")
    same = own["tokens"] == reference["tokens"]
    difference = nll - truth
    mean = float(difference.sum()) / total
    margin = _margin(difference, own["tokens_scored"].astype(np.float64), np.column_stack([truth, reference["tokens"]]))
    # Likelihood per token relative to fp32's; the gate requires 99 % of it.
    relative = math.exp(-mean)
    low, high = (None, None) if margin is None else (math.exp(-mean - margin), math.exp(-mean + margin))
    identical = bool(same.all()) and not difference.any()
    return Accuracy(
        samples=len(nll),
        top1=None,
        reference_top1=None,
        delta_pp=100 * (relative - 1),
        delta_low_pp=None if low is None else 100 * (low - 1),
        delta_high_pp=None if high is None else 100 * (high - 1),
        agreement_top1=float(same.mean()),
        flips=int((~same.all(axis=1)).sum()),
        sqnr_db=None,
        kl=None,
        gate=Gate.passed if relative >= GATE else Gate.failed,
        gate_certain=identical or (low is not None and high is not None and not low < GATE < high),
        gate_samples=None,
        scores={"perplexity": math.exp(nll.sum() / total), "reference_perplexity": math.exp(truth.sum() / total)},
    )


def _margin(difference: NDArray[Any], tokens: NDArray[Any], texts: NDArray[Any]) -> float | None:
    """Return the half-width of the 95 % interval of a difference per token; None for a single distinct text.

    Linearised variance of a ratio estimator (Cochran, "Sampling Techniques", 3rd edition, 1977, section 6.3), over the
    distinct texts: copies of one text add no certainty.

    Args:
        difference: of the negative log-likelihoods, one per text.
        tokens: that were scored, one per text.
        texts: a row per text, equal for copies.
    """
    distinct = np.unique(texts, axis=0, return_index=True)[1]
    count = len(distinct)
    if count < 2:
        return None
    difference, tokens = difference[distinct], tokens[distinct]
    residuals = difference - tokens * (difference.sum() / tokens.sum())
    return Z_95 * math.sqrt(count) * float(residuals.std(ddof=1)) / float(tokens.sum())


ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> list[str]:
    """Return the words of an answer in lower case, without articles and punctuation, as SQuAD's official evaluation."""
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return ARTICLES.sub(" ", plain).split()


def exact(text: str, right: Sequence[str]) -> bool:
    """Return whether an answer is one of the correct ones; without correct answers, whether it is empty."""
    return normalise(text) in [normalise(answer) for answer in right] if right else not normalise(text)


def f1(text: str, right: Sequence[str]) -> float:
    """Return the best F1 of an answer's words over all correct answers (Rajpurkar et al., SQuAD, 2016; 2.0, 2018)."""
    words = normalise(text)
    if not right:
        return float(not words)
    return max(_f1(words, normalise(answer)) for answer in right)


def _f1(words: list[str], wanted: list[str]) -> float:
    if not words or not wanted:
        return float(words == wanted)
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted))
