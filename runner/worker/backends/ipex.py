"""Intel Extension for PyTorch, in its own interpreter: 2.8 is its last release, and it needs torch 2.8.

Only ``load`` imports it: artifacts are made by this program's interpreter, where it is not installed.
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
    """Runs the module that ``ipex.optimize`` returns."""

    def __init__(self, settings: Settings, *, mode: Literal["eager", "traced", "compiled"] = "eager") -> None:
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            mode: run the optimised module eagerly, traced (and frozen) by TorchScript, or with torch.compile.

        Raises:
            Unsupported: the precision is neither fp32 nor bf16.
        """
        if settings.precision == "int8":
            raise Unsupported("backend=ipex does not implement precision=int8: take backend=torch or backend=openvino")
        super().__init__(settings)
        self._mode = mode
        self._compiled = mode == "compiled"

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return None: no files are needed."""
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
                for _ in range(2):  # TorchScript profiles the first run and fuses operators in the second
                    module(example)
            elif self._mode == "compiled":
                module = torch.compile(module, backend="ipex", dynamic=False)
                module(example)
        self._module = module
