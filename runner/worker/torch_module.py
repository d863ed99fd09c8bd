"""What PyTorch's backends share, whichever torch their interpreter has: threads, layout, and how a module is run."""

from __future__ import annotations

from typing import Any

import torch

from runner.worker.backends.base import Settings, Step
from runner.worker.datasets import Images


class TorchModule:
    """A module that is loaded by who inherits, and run here."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings, and tell torch how many threads a request has."""
        self._settings = settings
        self._set_threads()
        self._layout = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
        self._module: Any = None

    def requests(self) -> int:
        """Return one, or one per thread."""
        return self._settings.requests

    def autocast(self) -> torch.autocast:
        """Return the context in which the module runs: bf16 where that is the precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._settings.precision == "bf16")

    def example(self, image_size: int) -> torch.Tensor:
        """Return a batch of zeros in the run's own shape and layout, for what traces or compiles."""
        zeros = torch.zeros(self._settings.batch_size, 3, image_size, image_size)
        return zeros.contiguous(memory_format=self._layout)

    def bind(self, images: Images) -> Step:
        """Return a step that runs the module on these images."""
        batch = torch.from_numpy(images).contiguous(memory_format=self._layout)
        module, autocast, set_threads = self._module, self.autocast, self._set_threads

        def step() -> Any:
            set_threads()
            with torch.inference_mode(), autocast():
                return module(batch)

        return step

    def logits(self, outputs: torch.Tensor) -> Images:
        """Return the outputs in fp32."""
        found: Images = outputs.float().numpy()
        return found

    def _set_threads(self) -> None:
        """Tell the calling thread how many threads it computes with: a new one has OpenMP's default, all cores."""
        threads = self._settings.threads_per_request
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
