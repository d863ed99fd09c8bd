"""PyTorch: fp32 and bf16 (autocast), eager or compiled; int8 by torchao, static or dynamic, compiled with inductor."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from runner.worker.backends.base import Model, Settings
from runner.worker.backends.generation import TransformersLoop
from runner.worker.backends.torch_module import TorchModule, compiled, require_compiler
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import CHECKPOINT, FILES, MODULE, Form


class Runtime(TorchModule):
    """Runs the module, eager or compiled by torch.compile."""

    packages = ("torch", "torchao")
    accepts: ClassVar = {
        "fp32": (MODULE,),
        "bf16": (MODULE,),
        "int8": (Form("program", "int8"),),
        "int8_dynamic": (MODULE,),
        "as_is": (Form("module", "as_is"),),
    }

    def __init__(self, settings: Settings, *, compile: bool = False, freezing: bool = True) -> None:  # noqa: A002 -- the option's name is torch's
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            compile: use torch.compile with inductor; int8 is always compiled.
            freezing: let inductor treat weights as constants, fold and pack them; takes effect only if compiled.

        Raises:
            Unavailable: compilation is requested, and no C++ compiler is installed.
        """
        super().__init__(settings)
        self._compiled = compile or settings.precision in ("int8", "int8_dynamic")
        if self._compiled:
            require_compiler()
        self._freezing = freezing

    def load(self, model: Model) -> None:
        """Build the module or load the quantised program, and compile it if requested.

        Raises:
            Unsupported: dynamic int8 of a network of images, or compilation for batches of many shapes.
        """
        self._subject = model.subject
        self._module = self._open(model)
        if self._compiled:
            if not model.fixed_shapes:
                raise Unsupported(
                    "torch.compile would recompile for every length of text: set model.sequence_length, or take "
                    "backend.options.compile=false with precision=fp32 or bf16"
                )
            self._module = compiled(self._module, freezing=self._freezing)
            args, kwargs = self.example(model)
            with torch.inference_mode(), self.autocast():
                self._module(*args, **kwargs)  # compiles here, so that the first inference does not include it

    def load_generator(self, model: Model) -> None:
        """Load the module of a model that generates text.

        Raises:
            Unsupported: it would be compiled, and shapes grow with every token.
        """
        if self._compiled:
            raise Unsupported(
                "torch.compile would recompile for every generated token: take precision=bf16, "
                "or backend=openvino precision=int8_weights"
            )
        self.generator = TransformersLoop(self._open(model), self.autocast)

    def _open(self, model: Model) -> Any:
        if model.form.kind == "program":
            import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401 -- registers operators

            assert model.folder is not None
            return torch.export.load(model.folder / FILES["program"]).module()
        module = self.in_layout(model.subject.module())
        if self._precision == "int8_dynamic":
            if CHECKPOINT not in model.subject.forms:
                raise Unsupported("torchao's dynamic int8 covers linear layers only: take precision=int8")
            from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

            quantize_(module, Int8DynamicActivationInt8WeightConfig())
        return module
