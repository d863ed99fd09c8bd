"""A model with Transformers' interface, whichever runtime is behind it: its inputs and its outputs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runner.worker.backends.base import Answers, Settings, Step
from runner.worker.data.texts import TextBatch
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoint import Checkpoint

MAX_ANSWER = 30
"""Tokens of an answer at most, as in the question-answering example of Transformers (max_answer_length)."""


class FirstToken:
    """A logits processor that changes nothing, and notes when the first token of a batch is about to be chosen."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.marks: list[int] = []
        self._due = False

    def begin(self) -> None:
        """Expect the first token of another batch."""
        self._due = True

    def __call__(self, _tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores as they are."""
        if self._due:
            self.marks.append(time.monotonic_ns())
            self._due = False
        return scores


class Served:
    """What the runtimes of models of Transformers share; who inherits loads the model."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings.

        Raises:
            Unsupported: an image layout is requested, or several batches in flight.
        """
        settings.refuse_layout()
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)  # beside the runtime's own: it still chooses the tokens
        if settings.scenario == "async":
            raise Unsupported("a model of Transformers answers one batch at a time: take scenario=sync, or instances=2")
        self._settings = settings
        self._model: Any = None
        self._checkpoint: Checkpoint
        self._first = FirstToken()

    def requests(self) -> int:
        """Return one."""
        return 1

    def counters(self) -> dict[str, int]:
        """Count nothing."""
        return {}

    def context(self) -> AbstractContextManager[Any]:
        """Return what a step runs in."""
        return nullcontext()

    def marks(self) -> list[int]:
        """Return when the first tokens were there."""
        marks, self._first.marks = self._first.marks, []
        return marks

    def bind(self, images: Any) -> Step:
        """Return a step that answers a batch of texts or images; in the scope `pipeline` from strings to words."""
        return self.step_of(self._model, images)

    def step_of(self, model: Any, batch: Any) -> Step:
        """Return a step that asks a model for its answer to a batch."""
        call = self._call(model, batch)
        context = self.context

        def step() -> Any:
            with torch.inference_mode(), context():
                return call()

        return step

    def _call(self, model: Any, batch: Any) -> Callable[[], Any]:
        checkpoint = self._checkpoint
        generates = checkpoint.task == "text-generation"
        extra: dict[str, Any] = {}
        if generates:
            extra = {"generation_config": self._generation(model), "use_model_defaults": False}
        if checkpoint.scope == "pipeline":
            ask = self._pipeline(model)
            texts, size = list(batch.texts), checkpoint.pipeline_batch_size
            return lambda: ask(texts, batch_size=size, **extra)
        inputs = _tensors(batch)
        if not generates:
            return lambda: model(**inputs)
        first = self._first

        def generate() -> Any:
            first.begin()
            return model.generate(**inputs, **extra, logits_processor=[first])

        return generate

    def _pipeline(self, model: Any) -> Any:
        """Return Transformers' own pipeline, around whichever model.

        Raises:
            Unsupported: the inputs are images, which are tensors already.
        """
        from transformers import pipeline

        task = self._checkpoint.task
        if task == "image-classification":
            raise Unsupported("images are tensors here, which a pipeline does not take: take scope=model")
        return pipeline(task, model=model, tokenizer=self._checkpoint.tokenizer())

    def _generation(self, model: Any) -> Any:
        """Return how text is generated: greedily, so many tokens and no fewer, with cached keys and values."""
        from transformers import GenerationConfig

        count = self._checkpoint.new_tokens
        known = model.generation_config
        return GenerationConfig(
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=known.pad_token_id,
            eos_token_id=known.eos_token_id,
            bos_token_id=known.bos_token_id,
        )

    def answers(self, images: Any) -> Answers:
        """Return logits of classes; of an answer's first and last token, and its text; or the tokens that follow."""
        batch, task, model = images, self._checkpoint.task, self._model
        with torch.inference_mode(), self.context():
            if task == "text-generation":
                return self._continuations(model, batch)
            outputs = model(**_tensors(batch))
            if task == "question-answering":
                return spans(as_array(outputs.start_logits), as_array(outputs.end_logits), batch)
            return {"logits": as_array(outputs.logits)}

    def _continuations(self, model: Any, batch: TextBatch) -> Answers:
        """Return the tokens that are generated, and how likely the model thinks the text that it was given.

        `nll` is the negative log likelihood of each text in nats, `tokens_scored` of how many tokens it is the sum.
        """
        inputs = _tensors(batch)
        tokens, mask = inputs["input_ids"], inputs["attention_mask"]
        generated = model.generate(**inputs, generation_config=self._generation(model), use_model_defaults=False)
        if "position_ids" in inspect.signature(model.forward).parameters:
            # Positions are counted from the first token that is none of the padding, as `generate` does.
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        scores = torch.log_softmax(model(**inputs).logits[:, :-1].float(), dim=-1)
        counted = mask[:, 1:] * mask[:, :-1]
        found = scores.gather(2, tokens[:, 1:, None])[..., 0] * counted
        return {
            "tokens": as_array(generated[:, tokens.shape[1] :]).astype(np.int64),
            "nll": -as_array(found.sum(1)),
            "tokens_scored": as_array(counted.sum(1)).astype(np.int64),
        }


def spans(begins: NDArray[np.float32], ends: NDArray[np.float32], batch: TextBatch) -> Answers:
    """Return of each question its best answer.

    Args:
        begins: texts × tokens: how likely the answer starts there.
        ends: how likely it ends there.
        batch: what was asked.

    Returns:
        ``logits`` (texts × 2 × tokens, zero if a token is none of the context's), ``spans`` (texts × 2, −1 if the
        first token, which means no answer, is the likeliest), and ``texts``.
    """
    places = batch.places
    inside = places[..., 0] >= 0
    logits = np.stack([begins, ends], axis=1)
    logits = np.where(inside[:, None, :], logits, np.float32(0))
    found, words = [], []
    for row, text in enumerate(batch.texts):
        best = best_span(begins[row], ends[row], inside[row])
        found.append(best or (-1, -1))
        first, last = (places[row, best[0], 0], places[row, best[1], 1]) if best else (0, 0)
        words.append(text["context"][first:last])
    return {"logits": logits, "spans": np.array(found, np.int64), "texts": np.array(words, np.str_)}


def best_span(
    begins: NDArray[np.float32], ends: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[int, int] | None:
    """Return the likeliest first and last token within a context, None if no answer is likelier.

    As in SQuAD 2.0's reference for BERT: the score of a span is the sum of its two logits, no answer has that of the
    first token.
    """
    scores = begins[:, None] + ends[None, :]
    length = np.arange(len(ends))[None, :] - np.arange(len(begins))[:, None]
    allowed = inside[:, None] & inside[None, :] & (length >= 0) & (length < MAX_ANSWER)
    scores = np.where(allowed, scores, -np.inf)
    first, last = np.unravel_index(int(scores.argmax()), scores.shape)
    return (int(first), int(last)) if scores[first, last] >= begins[0] + ends[0] else None


def _tensors(batch: Any) -> dict[str, torch.Tensor]:
    """Return what a model is given, by the names of its arguments."""
    if isinstance(batch, TextBatch):
        return {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
    return {"pixel_values": torch.from_numpy(batch)}


def arrays(batch: Any) -> dict[str, NDArray[Any]]:
    """Return the same as arrays."""
    return {name: values.numpy() for name, values in _tensors(batch).items()}


def as_array(values: Any) -> NDArray[Any]:
    """Return a tensor as an array, floating-point numbers in fp32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    found: NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    return found
