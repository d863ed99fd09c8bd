"""Intel Extension for PyTorch, in an interpreter of its own: it ended with 2.8 and needs torch 2.8.

Only ``load`` and what follows imports it: artifacts are made by this program's own interpreter, which does not have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from runner.worker.backends.base import Settings, Step
from runner.worker.cache import Fetch, Recipe
from runner.worker.datasets import Dataset, Images
from runner.worker.evidence import UNKNOWN, finding
from runner.worker.failures import Unsupported
from runner.worker.models import Network


class Runtime:
    """Runs what ``ipex.optimize`` makes of the module."""

    def __init__(self, settings: Settings, *, mode: Literal["eager", "traced", "compiled"] = "eager") -> None:
        """Keep the settings.

        Args:
            settings: what every runtime is told.
            mode: run the optimised module as it is, traced and frozen by TorchScript, or through torch.compile.

        Raises:
            Unsupported: precision is int8.
        """
        if settings.precision == "int8":
            raise Unsupported("IPEX's static int8 flow is not offered here: take backend=torch or openvino for int8")
        self._settings = settings
        self._mode = mode
        self._module: Any = None

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Need no files."""
        return None

    def load(self, network: Network, artifact: Path | None) -> None:
        """Optimise the module, and trace or compile it."""
        import intel_extension_for_pytorch as ipex
        import torch

        settings = self._settings
        if settings.threads_per_request is not None:
            torch.set_num_threads(settings.threads_per_request)
        self._layout = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        module: Any = network.module()
        module = module.to(memory_format=self._layout)
        module = ipex.optimize(module, dtype=dtype)
        example = torch.zeros(settings.batch_size, 3, network.image_size, network.image_size)
        example = example.contiguous(memory_format=self._layout)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
            if self._mode == "traced":
                module = torch.jit.freeze(torch.jit.trace(module, example))
                for _ in range(2):  # TorchScript profiles the first run and fuses in the second
                    module(example)
            elif self._mode == "compiled":
                module = torch.compile(module, backend="ipex", dynamic=False)
                module(example)
        self._module = module

    def requests(self) -> int:
        """Return one, or one per thread."""
        return self._settings.requests

    def bind(self, images: Images) -> Step:
        """Return a step that runs the module on these images."""
        import torch

        batch = torch.from_numpy(images).contiguous(memory_format=self._layout)
        module, autocast = self._module, self._settings.precision == "bf16"

        def step() -> Any:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return module(batch)

        return step

    def logits(self, outputs: Any) -> Images:
        """Return the outputs in fp32."""
        found: Images = outputs.float().numpy()
        return found

    def evidence(self) -> list[dict[str, str]]:
        """Return that the arithmetic was not observed: oneDNN tells it only in a pass of its own."""
        return [finding("precision", self._settings.precision, "not observed", UNKNOWN, "none")]
