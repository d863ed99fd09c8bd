"""From texts to batches, by the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""By a model's input, the attribute of an encoding."""
MAX_ANSWER_TOKENS = 30


class Preparation:
    """Texts, each a word of the command line; for questions a question and its context in turn."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        """Load the tokenizer."""
        self._facts, how = facts, facts["texts"]
        self._asks = facts["task"] == "question-answering"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(how["limit"], strategy="only_second" if self._asks else "longest_first")
        self._tokenizer.enable_padding(
            direction=how["side"],
            length=how["length"],
            pad_id=how["pad_id"],
            pad_token=how["pad_token"],
            pad_type_id=how["pad_type_id"],
        )

    def batches(self, words: list[str]) -> Iterator[dict[str, Any]]:
        """Yield batches of the texts, all as long as the longest, so that outputs of batches have one shape.

        Raises:
            ValueError: a question has no context.
        """
        encoded, size = self._tokenizer.encode_batch(self._texts(words)), self._facts["batch_size"]
        for start in range(0, len(encoded), size):
            found = encoded[start : start + size]
            yield {
                one["name"]: np.array([getattr(text, FIELDS[one["name"]]) for text in found], np.int64)
                for one in self._facts["inputs"]
            }

    def _texts(self, words: list[str]) -> list[Any]:
        if not self._asks:
            return list(words)
        if len(words) % 2:
            raise ValueError(f"received {len(words)} texts; allowed: a question and its context, in turn")
        return list(zip(words[::2], words[1::2], strict=True))

    def describe(self, words: list[str], outputs: dict[str, Any]) -> list[str]:
        """Return the class of each text, the answer to each question, or how a text continues."""
        texts = self._texts(words)
        if self._asks:
            pairs = zip(outputs["start_logits"], outputs["end_logits"], strict=True)
            return [self._answer(text, *pair) for text, pair in zip(texts, pairs, strict=True)]
        if "tokens" in outputs:
            return [
                text + self._tokenizer.decode(list(tokens))
                for text, tokens in zip(texts, outputs["tokens"], strict=True)
            ]
        if self._facts["logits"] is None:
            return [f"{name}: {values.dtype} {list(values.shape)}" for name, values in outputs.items()]
        labels, best = self._facts["labels"], outputs[self._facts["logits"]].argmax(axis=1)
        return [
            f"{labels[str(number)] if labels else number}: {text}" for text, number in zip(texts, best, strict=True)
        ]

    def _answer(self, text: tuple[str, str], starts: Any, ends: Any) -> str:
        """Return the span of the context with the highest sum of both scores, as in BERT's code for SQuAD 2.0."""
        encoded = self._tokenizer.encode(*text)
        inside = np.array([part == 1 for part in encoded.sequence_ids])
        starts, ends = starts[: len(inside)], ends[: len(inside)]
        length = np.arange(len(inside))[None, :] - np.arange(len(inside))[:, None]
        allowed = inside[:, None] & inside[None, :] & (length >= 0) & (length < MAX_ANSWER_TOKENS)
        scores = np.where(allowed, starts[:, None] + ends[None, :], -np.inf)
        first, last = np.unravel_index(int(scores.argmax()), scores.shape)
        if scores[first, last] < starts[0] + ends[0]:
            return "(no answer)"
        return text[1][encoded.offsets[first][0] : encoded.offsets[last][1]]
