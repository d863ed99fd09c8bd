"""PyTorch through Transformers: eager or compiled, fp32, bf16 autocast, and int8 with ranges taken in every batch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.backends.base import Settings
from runner.worker.backends.generation import Served
from runner.worker.backends.torch_module import compile_counters, compiled, executed, require_compiler
from runner.worker.data.datasets import Dataset
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoint import Checkpoint
from runner.worker.subjects.models import count_gops


class Runtime(Served):
    """Runs Transformers' own module, or what torch.compile makes of it."""

    def __init__(self, settings: Settings, *, compile: bool = False, freezing: bool = True) -> None:  # noqa: A002 -- the option's name is torch's
        """Keep the settings.

        Args:
            settings: common to every runtime.
            compile: torch.compile with inductor; int8_dynamic always is.
            freezing: let inductor take weights as constants, and pack and fold them. Only if it compiles.

        Raises:
            Unsupported: the precision is one that Transformers has no way to.
            Unavailable: it is to be compiled, and there is no C++ compiler.
        """
        super().__init__(settings)
        precision = settings.precision
        if precision not in ("fp32", "bf16", "int8_dynamic"):
            raise Unsupported(
                f"Transformers under PyTorch has no precision={precision} here: take precision=int8_dynamic (torchao), "
                "or backend=ort or openvino"
            )
        self._compiled = compile or precision == "int8_dynamic"
        if self._compiled:
            require_compiler()
        self._freezing = freezing

    def recipe(self, network: Checkpoint, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Need no files but the checkpoint.

        Raises:
            Unsupported: it is to be compiled, and generates: its shapes grow with every token.
        """
        if self._compiled and network.task == "text-generation":
            raise Unsupported(
                "torch.compile would compile again for every token that is generated: take precision=bf16, "
                "or backend=openvino precision=int8_weights"
            )
        return None

    def load(self, network: Checkpoint, artifact: Path | None) -> None:
        """Load the module, quantise its linear layers if requested, and compile it."""
        self._checkpoint = network
        self._model = network.module()
        if self._settings.precision == "int8_dynamic":
            from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

            quantize_(self._model, Int8DynamicActivationInt8WeightConfig())
        if self._compiled:
            self._model.forward = compiled(self._model.forward, freezing=self._freezing)

    def context(self) -> AbstractContextManager[Any]:
        """Return autocast to bf16 if that is the precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._settings.precision == "bf16")

    def counters(self) -> dict[str, int]:
        """Return how many graphs torch.compile has made."""
        return compile_counters() if self._compiled else {}

    def evidence(self, images: Any) -> list[Finding]:
        """Return in which precision a batch was computed, and what was compiled."""
        plain = self.step_of(self._checkpoint.module(), images)
        expected = count_gops(plain) * 1e9 / 2  # a product and its addition are one
        return executed(self.bind(images), self._settings.precision, compiled=self._compiled, expected=expected)
