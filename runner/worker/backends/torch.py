"""PyTorch: fp32 and bf16 (autocast), eager or compiled; int8 by torchao, static or dynamic, compiled with inductor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from runner.worker.backends.base import Deployment, Model, Settings, copy_files
from runner.worker.backends.generation import TransformersLoop
from runner.worker.backends.torch_module import TorchModule, compiled, require_compiler
from runner.worker.failures import Unsupported, gist
from runner.worker.subjects.subject import CHECKPOINT, FILES, GENERATION, MODULE, Form, Subject


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

    def deploy(self, model: Model, target: Path) -> Deployment:
        """Write the program: the quantised one, or the module exported for the shapes of its batch.

        A model that generates text remains a folder of Transformers, whose loop runs it.

        Raises:
            Unsupported: PyTorch cannot export the module, or batches differ in their shapes.
        """
        if model.subject.task == GENERATION:
            copy_files(model.subject.folder(CHECKPOINT), target)
            return Deployment(self._shared_settings(), ("torch", "transformers", "numpy"))
        if not model.fixed_shapes:
            raise Unsupported("a program of PyTorch is shipped for one length of text: set model.sequence_length")
        names = [port.name for port in model.subject.signature.inputs]
        tensors = self.tensors({name: np.zeros_like(model.example[name]) for name in names})
        is_program = model.form.kind == "program"
        settings = {
            **self._shared_settings(),
            "file": FILES["program"],
            "torchao": self._precision == "int8",
            "compile": self._compiled,
            "freezing": self._freezing,
            "inputs": names,
            "outputs": [port.name for port in model.subject.signature.outputs],
            "keywords": is_program and bool(model.subject.arguments(tensors)[1]),
        }
        if is_program:
            copy_files(model.folder, target)
            return Deployment(settings, ("torch", "torchao", "numpy"))
        if self._precision == "int8_dynamic":
            raise Unsupported("torchao's dynamic int8 cannot be exported: take backend=ort with int8_dynamic")
        try:
            with torch.no_grad():
                program = torch.export.export(_ByPosition(self._open(model), model.subject), tuple(tensors.values()))
        except Exception as error:  # torch.export fails in many ways on a module that it does not know
            raise Unsupported(
                f"PyTorch cannot export {model.subject.name} ({gist(error)}): take backend=ort"
            ) from error
        torch.export.save(program, target / FILES["program"])
        return Deployment(settings, ("torch", "numpy"))

    def _shared_settings(self) -> dict[str, Any]:
        """Return what programs and checkpoints have in common."""
        return {
            "threads": self._settings.threads_per_request,
            "channels_last": self._settings.memory_format == "channels_last",
            "bf16": self._precision == "bf16",
        }

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


class _ByPosition(torch.nn.Module):
    """A module that takes the inputs of a signature by position, and returns its outputs in order."""

    def __init__(self, module: torch.nn.Module, subject: Subject) -> None:
        super().__init__()
        self.module = module
        self._subject = subject

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        names = [port.name for port in self._subject.signature.inputs]
        args, kwargs = self._subject.arguments(dict(zip(names, tensors, strict=True)))
        return tuple(self._subject.name_outputs(self.module(*args, **kwargs)).values())
