"""PyTorch through Transformers: fp32 and bf16 (autocast), eager or compiled; dynamic int8, compiled."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.backends.base import Settings
from runner.worker.backends.generation import TransformersRuntime
from runner.worker.backends.torch_module import compile_counters, compiled, executed, require_compiler
from runner.worker.data.datasets import Dataset
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoint import Checkpoint
from runner.worker.subjects.models import count_gops


class Runtime(TransformersRuntime):
    """Runs the module of Transformers, eager or compiled by torch.compile."""

    computes_in_torch = True

    def __init__(self, settings: Settings, *, compile: bool = False, freezing: bool = True) -> None:  # noqa: A002 -- the option's name is torch's
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            compile: use torch.compile with inductor; int8_dynamic is always compiled.
            freezing: let inductor treat weights as constants, fold and pack them; takes effect only if compiled.

        Raises:
            Unsupported: the precision is none of fp32, bf16 and int8_dynamic.
            Unavailable: compilation is requested, and no C++ compiler is installed.
        """
        super().__init__(settings)
        precision = settings.precision
        if precision not in ("fp32", "bf16", "int8_dynamic"):
            raise Unsupported(
                f"backend=torch does not implement precision={precision} for Transformers: "
                "take precision=int8_dynamic (torchao), backend=ort or backend=openvino"
            )
        self._compiled = compile or precision == "int8_dynamic"
        if self._compiled:
            require_compiler()
        self._freezing = freezing

    def recipe(self, network: Checkpoint, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return None: no files other than the checkpoint are needed.

        Raises:
            Unsupported: text generation with compilation, because shapes grow with every token.
        """
        if self._compiled and network.task == "text-generation":
            raise Unsupported(
                "torch.compile would recompile for every generated token: take precision=bf16, "
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
        """Return the autocast context; it is enabled for bf16."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._settings.precision == "bf16")

    def counters(self) -> dict[str, int]:
        """Return the number of graphs that torch.compile has compiled."""
        return compile_counters() if self._compiled else {}

    def evidence(self, images: Any) -> list[Finding]:
        """Return the executed precision, and the number of compiled graphs."""
        plain = self.step_of(self._checkpoint.module(), images)
        expected = count_gops(plain) * 1e9 / 2  # a multiply-add counts as two operations
        return executed(self.bind(images), self._settings.precision, compiled=self._compiled, expected=expected)
