"""Generation by Transformers' loop, as in the measured process: greedy, with cached keys and values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

sys.modules["torchvision"] = None  # type: ignore[assignment]  # it is not needed, and fails if it is of another PyTorch
from transformers import GenerationConfig  # noqa: E402 -- after the line above


class Generator:
    """A model with Transformers' interface, which continues each text by a fixed number of tokens."""

    def __init__(self, model: Any, settings: dict[str, Any]) -> None:
        """Store the model, and make the configuration of its loop."""
        count, own = settings["new_tokens"], model.generation_config
        config = GenerationConfig(
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=own.pad_token_id,
            eos_token_id=own.eos_token_id,
            bos_token_id=own.bos_token_id,
        )
        self._model, self._bf16 = model, settings.get("bf16", False)
        self._options = {"generation_config": config, "use_model_defaults": False}

    def bind(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """Return a step that continues a batch of texts."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in inputs.items()}

        def step() -> Any:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
                return self._model.generate(**tensors, **self._options)

        return step

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return ``tokens``, the generated ones: texts × new tokens, int64."""
        found = self.bind(inputs)()
        return {"tokens": found[:, inputs["input_ids"].shape[1] :].numpy().astype(np.int64)}
