"""Inputs and outputs of a model with Transformers' interface, for every runtime."""

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

MAX_ANSWER_TOKENS = 30
"""Maximum length of an answer, as in the question-answering example of Transformers (max_answer_length)."""


class FirstTokenClock:
    """A logits processor that records when the first token of a batch is about to be chosen."""

    def __init__(self) -> None:
        """Start without times."""
        self.times_ns: list[int] = []
        self._due = False

    def start(self) -> None:
        """Expect the first token of a new batch."""
        self._due = True

    def __call__(self, _tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores unchanged."""
        if self._due:
            self.times_ns.append(time.monotonic_ns())
            self._due = False
        return scores


class TransformersRuntime:
    """Base class of the runtimes for models of Transformers; subclasses load the model."""

    computes_in_torch = False
    """Whether PyTorch computes the logits. Otherwise it only chooses the tokens, on one thread: more would compete with
    the runtime's own threads for the cores."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings.

        Raises:
            Unsupported: an image layout or several batches in flight are requested.
        """
        settings.refuse_layout()
        threads = settings.threads if self.computes_in_torch else 1
        if threads is not None:
            torch.set_num_threads(threads)
        if settings.scenario == "async":
            raise Unsupported("models of Transformers run one batch at a time: take scenario=sync, or instances=2")
        self._settings = settings
        self._model: Any = None
        self._checkpoint: Checkpoint
        self._clock = FirstTokenClock()

    def requests(self) -> int:
        """Return 1."""
        return 1

    def counters(self) -> dict[str, int]:
        """Return no counters."""
        return {}

    def context(self) -> AbstractContextManager[Any]:
        """Return the context in which a step runs."""
        return nullcontext()

    def marks(self) -> list[int]:
        """Return the times of the first tokens since the last call."""
        times, self._clock.times_ns = self._clock.times_ns, []
        return times

    def bind(self, images: Any) -> Step:
        """Return a step that runs the model on a batch of texts or images; scope=pipeline includes tokenisation."""
        return self.step_of(self._model, images)

    def step_of(self, model: Any, batch: Any) -> Step:
        """Return a step that runs a given model on a batch."""
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
            pipe = self._pipeline(model)
            texts, size = list(batch.texts), checkpoint.pipeline_batch_size
            return lambda: pipe(texts, batch_size=size, **extra)
        inputs = _tensors(batch)
        if not generates:
            return lambda: model(**inputs)
        clock = self._clock

        def generate() -> Any:
            clock.start()
            return model.generate(**inputs, **extra, logits_processor=[clock])

        return generate

    def _pipeline(self, model: Any) -> Any:
        """Return Transformers' pipeline around a model of any runtime.

        Raises:
            Unsupported: the inputs are images; these are tensors, which a pipeline does not take.
        """
        from transformers import pipeline

        task = self._checkpoint.task
        if task == "image-classification":
            raise Unsupported("scope=pipeline does not take images, which are tensors here: take scope=model")
        return pipeline(task, model=model, tokenizer=self._checkpoint.tokenizer())

    def _generation(self, model: Any) -> Any:
        """Return the generation settings: greedy, exactly `new_tokens` tokens, with cached keys and values."""
        from transformers import GenerationConfig

        count = self._checkpoint.new_tokens
        default = model.generation_config
        return GenerationConfig(
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=default.pad_token_id,
            eos_token_id=default.eos_token_id,
            bos_token_id=default.bos_token_id,
        )

    def answers(self, images: Any) -> Answers:
        """Return class logits; for questions :func:`spans`; for generation tokens and the likelihood of the text."""
        batch, task, model = images, self._checkpoint.task, self._model
        with torch.inference_mode(), self.context():
            if task == "text-generation":
                return self._continuations(model, batch)
            outputs = model(**_tensors(batch))
            if task == "question-answering":
                return spans(as_array(outputs.start_logits), as_array(outputs.end_logits), batch)
            return {"logits": as_array(outputs.logits)}

    def _continuations(self, model: Any, batch: TextBatch) -> Answers:
        """Return the generated tokens, and the likelihood of the input text under the model.

        Returns:
            ``tokens`` (texts × new tokens, int64), ``nll`` (the negative log likelihood of each text in nats), and
            ``tokens_scored`` (the number of tokens that each ``nll`` sums over, int64).
        """
        inputs = _tensors(batch)
        tokens, mask = inputs["input_ids"], inputs["attention_mask"]
        generated = model.generate(**inputs, generation_config=self._generation(model), use_model_defaults=False)
        if "position_ids" in inspect.signature(model.forward).parameters:
            # Positions count from the first token after the padding, as in `generate`.
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        scores = torch.log_softmax(model(**inputs).logits[:, :-1].float(), dim=-1)
        counted = mask[:, 1:] * mask[:, :-1]
        found = scores.gather(2, tokens[:, 1:, None])[..., 0] * counted
        return {
            "tokens": as_array(generated[:, tokens.shape[1] :]).astype(np.int64),
            "nll": -as_array(found.sum(1)),
            "tokens_scored": as_array(counted.sum(1)).astype(np.int64),
        }


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


def _tensors(batch: Any) -> dict[str, torch.Tensor]:
    """Return a model's inputs as tensors, by argument name."""
    if isinstance(batch, TextBatch):
        return {name: torch.from_numpy(values) for name, values in batch.inputs.items()}
    return {"pixel_values": torch.from_numpy(batch)}


def arrays(batch: Any) -> dict[str, NDArray[Any]]:
    """Return a model's inputs as arrays, by argument name."""
    return {name: values.numpy() for name, values in _tensors(batch).items()}


def as_array(values: Any) -> NDArray[Any]:
    """Return a tensor as an array, floating-point values in fp32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    found: NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    return found
