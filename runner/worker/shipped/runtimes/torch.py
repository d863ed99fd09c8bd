"""The model in PyTorch: an exported program, compiled if the measured one was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


class Model:
    """A loaded program."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Load the program in a folder."""
        self._settings = settings
        if settings["threads"] is not None:
            torch.set_num_threads(settings["threads"])
        if settings["torchao"]:
            import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401 -- registers operators
        loaded: Any = torch.export.load(folder / settings["file"]).module()
        self._module = loaded.to(memory_format=torch.channels_last) if settings["channels_last"] else loaded
        if settings["compile"]:
            from torch._inductor import config

            config.freezing = settings["freezing"]
            self._module = torch.compile(self._module, dynamic=False)

    def bind(self, inputs: dict[str, Any]) -> Callable[[], Any]:
        """Return a step that runs a batch."""
        module, bf16 = self._module, self._settings["bf16"]
        tensors = {name: self._in_layout(torch.from_numpy(inputs[name])) for name in self._settings["inputs"]}
        args, kwargs = ((), tensors) if self._settings["keywords"] else (tuple(tensors.values()), {})

        def step() -> Any:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return module(*args, **kwargs)

        return step

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs by name, floating-point ones in fp32."""
        found, names = self.bind(inputs)(), self._settings["outputs"]
        if not isinstance(found, Mapping):
            found = dict(zip(names, found if isinstance(found, (tuple, list)) else (found,), strict=True))
        chosen = {name: found[name] for name in names}
        return {name: (one.float() if one.is_floating_point() else one).numpy() for name, one in chosen.items()}

    def _in_layout(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._settings["channels_last"] and tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor
