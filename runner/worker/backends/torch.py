"""PyTorch: eager fp32, eager bf16 under autocast, and int8 by torchao's PT2E flow compiled with inductor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from runner.worker.backends.base import Step
from runner.worker.cache import Fetch, Recipe, package_versions
from runner.worker.datasets import Dataset, Images
from runner.worker.failures import Unavailable
from runner.worker.models import Network


class Runtime:
    """Runs the module itself."""

    def __init__(self, precision: str, batch_size: int, threads: int | None, memory_format: str) -> None:
        """Keep the settings; see the seam in base.py for what they mean."""
        self._precision = precision
        self._batch_size = batch_size
        self._layout = getattr(torch, "channels_last" if memory_format == "channels_last" else "contiguous_format")
        if threads is not None:
            torch.set_num_threads(threads)
        self._module: Any = None

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return how the quantised program is made; fp32 and bf16 run the module as it is."""
        if self._precision != "int8":
            return None
        raise NotImplementedError

    def load(self, network: Network, artifact: Path | None) -> None:
        """Build the module, or load the quantised program and compile it."""
        self._module = network.module().to(memory_format=self._layout)

    def bind(self, images: Images) -> Step:
        """Return a step that runs the module on these images."""
        batch = torch.from_numpy(images).to(memory_format=self._layout)
        module = self._module

        if self._precision == "bf16":

            def step() -> torch.Tensor:
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                    return module(batch)
        else:

            def step() -> torch.Tensor:
                with torch.inference_mode():
                    return module(batch)

        return step

    def logits(self, outputs: torch.Tensor) -> Images:
        """Return the outputs in fp32."""
        return outputs.detach().float().numpy()

    def evidence(self) -> list[dict[str, str]]:
        """Return nothing that the process's own evidence does not hold."""
        return []
