"""Intel Extension for PyTorch, in its own environment: 2.8 is its last release, and it needs torch 2.8.

Only ``load`` imports it: artifacts are made in the environment of this program, where it is not installed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from runner.worker.backends.base import Model, Settings
from runner.worker.backends.torch_module import TorchModule
from runner.worker.subjects.subject import MODULE


class Runtime(TorchModule):
    """Runs the module that ``ipex.optimize`` returns."""

    packages = ("intel-extension-for-pytorch",)
    accepts: ClassVar = {"fp32": (MODULE,), "bf16": (MODULE,)}

    def __init__(self, settings: Settings, *, mode: Literal["eager", "traced", "compiled"] = "eager") -> None:
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            mode: run the optimised module eagerly, traced (and frozen) by TorchScript, or with torch.compile.
        """
        super().__init__(settings)
        self._mode = mode
        self._compiled = mode == "compiled"

    def load(self, model: Model) -> None:
        """Optimise the module, and trace or compile it."""
        self._subject = model.subject
        import intel_extension_for_pytorch as ipex

        dtype = torch.bfloat16 if self._precision == "bf16" else torch.float32
        module: Any = ipex.optimize(self.in_layout(model.subject.module()), dtype=dtype)
        args, _ = self.example(model)
        with torch.inference_mode(), self.autocast():
            if self._mode == "traced":
                module = torch.jit.freeze(torch.jit.trace(module, args))
                for _ in range(2):  # TorchScript profiles the first run and fuses operators in the second
                    module(*args)
            elif self._mode == "compiled":
                module = torch.compile(module, backend="ipex", dynamic=False)
                module(*args)
        self._module = module
