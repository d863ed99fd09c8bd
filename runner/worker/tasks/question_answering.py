"""Answers to questions about a text: spans of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.worker.backends.base import Runtime
from runner.worker.data.texts import TextBatch
from runner.worker.tasks import base
from runner.worker.tasks.base import Answers

MAX_ANSWER_TOKENS = 30
"""Maximum length of an answer, as in the question-answering example of Transformers (max_answer_length)."""


class Task(base.Task):
    """Answers are spans of the text."""

    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return what :func:`spans` returns."""
        outputs = runtime.outputs(self._subject.inputs(samples))
        return spans(outputs["start_logits"], outputs["end_logits"], samples)


def spans(starts: NDArray[np.float32], ends: NDArray[np.float32], batch: TextBatch) -> Answers:
    """Return the best answer to each question.

    Args:
        starts: logits of an answer's first token, texts × tokens.
        ends: logits of an answer's last token, texts × tokens.
        batch: the questions with their contexts.

    Returns:
        ``logits`` (texts × 2 × tokens, 0 for tokens outside the context), ``spans`` (texts × 2, the first and the last
        token; −1 if "no answer" scores highest), and ``texts`` (the answers, "" for no answer).
    """
    places = batch.places
    inside = places[..., 0] >= 0
    logits = np.stack([starts, ends], axis=1)
    logits = np.where(inside[:, None, :], logits, np.float32(0))
    found, answers = [], []
    for row, text in enumerate(batch.texts):
        best = best_span(starts[row], ends[row], inside[row])
        found.append(best or (-1, -1))
        first, last = (places[row, best[0], 0], places[row, best[1], 1]) if best else (0, 0)
        answers.append(text["context"][first:last])
    return {"logits": logits, "spans": np.array(found, np.int64), "texts": np.array(answers, np.str_)}


def best_span(
    starts: NDArray[np.float32], ends: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[int, int] | None:
    """Return the first and the last token of the best answer within a context, None if "no answer" scores higher.

    As in BERT's reference code for SQuAD 2.0, the score of a span is the sum of its two logits, and the score of "no
    answer" is that sum for the first token.

    Args:
        starts: logits of an answer's first token, one per token.
        ends: logits of an answer's last token, one per token.
        inside: whether each token is part of the context.
    """
    scores = starts[:, None] + ends[None, :]
    length = np.arange(len(ends))[None, :] - np.arange(len(starts))[:, None]
    allowed = inside[:, None] & inside[None, :] & (length >= 0) & (length < MAX_ANSWER_TOKENS)
    scores = np.where(allowed, scores, -np.inf)
    first, last = np.unravel_index(int(scores.argmax()), scores.shape)
    return (int(first), int(last)) if scores[first, last] >= starts[0] + ends[0] else None
