"""Generation by Transformers' loop, around a model of any runtime that has Transformers' interface."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runner.worker.backends.base import Step
from runner.worker.subjects.subject import Batch


def torch_on_one_thread() -> None:
    """Leave PyTorch one thread where another runtime computes the logits.

    PyTorch then only chooses tokens; with more threads it would compete with the runtime for the cores.
    """
    torch.set_num_threads(1)


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


class TransformersLoop:
    """A :class:`runner.worker.backends.base.Generator`: ``model.generate``, greedy, with cached keys and values."""

    def __init__(self, model: Any, context: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
        """Store the model.

        Args:
            model: of Transformers or Optimum.
            context: makes the context in which it runs, for example autocast.
        """
        self.model = model
        self._context = context
        self._clock = FirstTokenClock()

    def options(self, new_tokens: int) -> dict[str, Any]:
        """Return the keyword arguments of ``generate``: exactly `new_tokens` tokens."""
        from transformers import GenerationConfig

        default = self.model.generation_config
        config = GenerationConfig(
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=default.pad_token_id,
            eos_token_id=default.eos_token_id,
            bos_token_id=default.bos_token_id,
        )
        return {"generation_config": config, "use_model_defaults": False}

    def bind(self, batch: Batch, new_tokens: int) -> Step:
        """Return a step that generates exactly `new_tokens` tokens for each text."""
        model, clock, context = self.model, self._clock, self._context
        inputs, options = _tensors(batch), self.options(new_tokens)

        def step() -> Any:
            with torch.inference_mode(), context():
                clock.start()
                return model.generate(**inputs, **options, logits_processor=[clock])

        return step

    def generate(self, batch: Batch, new_tokens: int) -> NDArray[Any]:
        """Return the generated tokens: texts × new tokens, int64."""
        with torch.inference_mode(), self._context():
            found = self.model.generate(**_tensors(batch), **self.options(new_tokens))
        tokens: NDArray[Any] = found[:, batch["input_ids"].shape[1] :].numpy().astype(np.int64)
        return tokens

    def score(self, batch: Batch) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return for each text its negative log likelihood in nats, and the number of tokens that this sums over."""
        inputs = _tensors(batch)
        tokens, mask = inputs["input_ids"], inputs["attention_mask"]
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            # Positions count from the first token after the padding, as in `generate`.
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode(), self._context():
            logits = self.model(**inputs).logits[:, :-1].float()
            scores = torch.log_softmax(logits, dim=-1)
            counted = mask[:, 1:] * mask[:, :-1]
            likelihood = (scores.gather(2, tokens[:, 1:, None])[..., 0] * counted).sum(1)
        return -likelihood.float().numpy(), counted.sum(1).numpy().astype(np.int64)

    def marks(self) -> list[int]:
        """Return the times of the first tokens since the last call."""
        times, self._clock.times_ns = self._clock.times_ns, []
        return times


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in batch.items()}
