"""Intel Extension for PyTorch, in an interpreter of its own: it ended with 2.8 and needs torch 2.8.

Only ``load`` imports it: artifacts are made by this program's own interpreter, which does not have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.backends.base import Settings
from runner.worker.backends.torch_module import TorchModule
from runner.worker.data.datasets import Dataset
from runner.worker.failures import Unsupported
from runner.worker.subjects.models import Network


class Runtime(TorchModule):
    """Runs what ``ipex.optimize`` makes of the module."""

    def __init__(self, settings: Settings, *, mode: Literal["eager", "traced", "compiled"] = "eager") -> None:
        """Keep the settings.

        Args:
            settings: common to every runtime.
            mode: run the optimised module itself, traced and frozen by TorchScript, or through torch.compile.

        Raises:
            Unsupported: precision is int8.
        """
        if settings.precision == "int8":
            raise Unsupported("IPEX's static int8 flow is not offered here: take backend=torch or openvino for int8")
        super().__init__(settings)
        self._mode = mode
        self._compiled = mode == "compiled"

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Need no files."""
        return None

    def load(self, network: Network, artifact: Path | None) -> None:
        """Optimise the module, and trace or compile it."""
        self._network = network
        import intel_extension_for_pytorch as ipex

        dtype = torch.bfloat16 if self._settings.precision == "bf16" else torch.float32
        module: Any = network.module()
        module = ipex.optimize(module.to(memory_format=self._layout), dtype=dtype)
        example = self.example(network.image_size)
        with torch.inference_mode(), self.autocast():
            if self._mode == "traced":
                module = torch.jit.freeze(torch.jit.trace(module, example))
                for _ in range(2):  # TorchScript profiles the first run and fuses in the second
                    module(example)
            elif self._mode == "compiled":
                module = torch.compile(module, backend="ipex", dynamic=False)
                module(example)
        self._module = module
