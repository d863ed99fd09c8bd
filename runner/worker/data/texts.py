"""Texts as a model takes them: sources for data sets, encoded by the model's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.data_files.errors import UnreadableData
from runner.data_files.labels import OtherLabels, number_labels
from runner.data_files.tables import read_table, records_for
from runner.job import Data
from runner.worker.data.datasets import Labels
from runner.worker.data.sentences import Question, opinions, passages, questions
from runner.worker.failures import BadInput

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TextBatch:
    """Texts, as a pipeline takes them and as a model does."""

    texts: list[Any]
    """Strings; for question answering dicts with ``question`` and ``context``."""
    inputs: dict[str, Integers]
    """The tokenizer's output by input name: samples × tokens, int64."""
    offsets: Integers | None = None
    """For question answering, start and end of each token in the context, in characters: samples × tokens × 2; −1 if a
    token is not part of the context."""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    @property
    def places(self) -> Integers:
        """The offsets of a batch that has them."""
        assert self.offsets is not None
        return self.offsets


class Encoder:
    """A tokenizer for a task, with a limit on the length of texts."""

    def __init__(self, tokenizer: Any, task: str, length: int | None, limit: int | None) -> None:
        """Store the tokenizer, and set its padding side.

        Args:
            tokenizer: a fast tokenizer of Transformers.
            task: a value of ``runner.config.schema.Task``.
            length: tokens per text, reached by padding and truncation; None pads to the longest text of a batch.
            limit: maximum number of tokens that the model takes, without those that it generates; None if unknown.
        """
        self.tokenizer = tokenizer
        self.task = task
        self.length = length
        self.limit = length or limit or min(tokenizer.model_max_length, 1 << 20)
        # Generated tokens follow the text directly: padding must come before it.
        tokenizer.padding_side = "left" if task == "text-generation" else "right"

    def encode(self, texts: list[Any]) -> TextBatch:
        """Return the texts with their tokens."""
        asks = self.task == "question-answering"
        parts = ([one["question"] for one in texts], [one["context"] for one in texts]) if asks else (texts,)
        found = self.tokenizer(
            *parts,
            padding="max_length" if self.length else "longest",
            truncation="only_second" if asks else True,
            max_length=self.limit,
            return_offsets_mapping=asks,
            return_tensors="np",
        )
        offsets = None
        if asks:
            offsets = found.pop("offset_mapping").astype(np.int64)
            for row in range(len(texts)):
                outside = [part != 1 for part in found.sequence_ids(row)]
                offsets[row, outside] = -1
        inputs = {name: np.ascontiguousarray(values, np.int64) for name, values in found.items()}
        return TextBatch(texts, inputs, offsets)

    def is_cut(self, text: Any) -> bool:
        """Return whether a text has more tokens than the limit, so that :meth:`encode` truncates it."""
        parts = (text["question"], text["context"]) if isinstance(text, dict) else (text,)
        return len(self.tokenizer(*parts, truncation=False, verbose=False)["input_ids"]) > self.limit


class Texts:
    """A source of texts for a data set."""

    left_out: frozenset[int] = frozenset()

    def __init__(
        self,
        items: Sequence[Any],
        encoder: Encoder,
        *,
        labels: Sequence[int] | None = None,
        answers: Sequence[tuple[str, ...]] | None = None,
        classes: int = 2,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Store the texts.

        Args:
            items: strings, or dicts with ``question`` and ``context``.
            encoder: makes the tokens.
            labels: a class per text; None if the texts have none.
            answers: all right answers to each question, an empty tuple if there are none; None without questions.
            classes: number of classes.
            notes: on the file, for readers of the result.
        """
        self._items = items
        self.encoder = encoder
        self.labels: Labels | None = None if labels is None else np.array(labels, np.int64)
        self.answers = answers
        self.classes = classes
        self._notes = notes

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._items)

    def batch(self, indices: Sequence[int]) -> TextBatch:
        """Return the texts at `indices`, with their tokens."""
        return self.encoder.encode([self._items[index] for index in indices])

    def fingerprint(self, index: int) -> bytes:
        """Return the text, its label and its answers; the tokens follow from the tokenizer."""
        known = [
            self._items[index],
            None if self.labels is None else int(self.labels[index]),
            None if self.answers is None else self.answers[index],
        ]
        return json.dumps(known).encode()

    @property
    def preparation(self) -> str:
        """The number of tokens; which ones follows from the tokenizer, whose digest is the model's."""
        return f"{self.encoder.length or 'all'} tokens"

    def notes(self, indices: Sequence[int]) -> list[str]:
        """Return what was concluded about the file, and how many texts among `indices` are truncated."""
        cut = sum(self.encoder.is_cut(self._items[index]) for index in indices)
        truncated = [f"{cut} of {len(indices)} texts exceed the model's limit and were truncated"] if cut else []
        return [*self._notes, *truncated]


def open_texts(data: Data, seed: int, encoder: Encoder, model: Mapping[int, str] | None = None) -> Texts:
    """Return the texts of a data set.

    Args:
        data: which texts.
        seed: of generated texts.
        encoder: makes the tokens; its task and length choose the texts too.
        model: names of the model's classes by number; None for a model that takes those of the data.

    Raises:
        BadInput: the data set has no texts for the task, or a file of texts is not usable.
    """
    if data.name == "sentences":
        sentences, labels = opinions(seed)
        return Texts(sentences, encoder, labels=labels)
    if data.name == "questions":
        return _question_texts(questions(seed), encoder)
    if data.name == "passages":
        return Passages(passages(seed, words=2 * (encoder.length or 64)), encoder)
    if data.name == "one_text" and data.text is not None:
        return Texts([data.text] * (data.evaluation_samples + data.calibration_samples), encoder)
    if data.name == "text_file" and data.path is not None:
        return _read(data, encoder, model)
    raise BadInput(f"data={data.name} has no text for {encoder.task}")


class Passages(Texts):
    """Generated texts, longer than requested so that truncation fills every token; it is not reported."""

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return no notes."""
        return []


def _question_texts(items: Sequence[Question], encoder: Encoder, notes: tuple[str, ...] = ()) -> Texts:
    texts = [{"question": one.question, "context": one.context} for one in items]
    return Texts(texts, encoder, answers=[one.answers for one in items], notes=notes)


def _read(data: Data, encoder: Encoder, model: Mapping[int, str] | None) -> Texts:
    """Return the texts of a file, as :mod:`runner.data_files` reads it.

    SQuAD's nested answers (``{"text": [...], "answer_start": [...]}``) are accepted.

    Raises:
        BadInput: the file cannot be read, or a record has an empty field or a label that is no class of the model.
    """
    assert data.path is not None
    try:
        table = read_table(Path(data.path))
        records = records_for(table, encoder.task, data.columns)
        if encoder.task == "question-answering":
            found = [Question(str(one["question"]), str(one["context"]), _answers(one["answers"])) for one in records]
            return _question_texts(found, encoder, table.notes)
        texts = [str(one["text"]) for one in records]
        if encoder.task != "text-classification":
            return Texts(texts, encoder, notes=table.notes)
        labels = number_labels([one["label"] for one in records], model)
    except OtherLabels as error:
        notes = (*table.notes, f"accuracy is agreement with fp32: {error}")
        return Texts(texts, encoder, classes=len(model or ()), notes=notes)
    except (UnreadableData, OSError) as error:
        raise BadInput(f"data.path={data.path}: {error}") from error
    notes = (*table.notes, *labels.notes)
    return Texts(texts, encoder, labels=labels.numbers, classes=max(2, labels.classes), notes=notes)


def _answers(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.startswith(("[", "{")):  # nested answers in a CSV file
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UnreadableData(f"answers are not JSON ({value[:40]}): write the data set as JSON lines") from error
    if isinstance(value, dict):
        value = value.get("text", [])
    if isinstance(value, str):
        value = [value] if value else []
    return tuple(str(one["text"]) if isinstance(one, dict) and "text" in one else str(one) for one in value or ())
