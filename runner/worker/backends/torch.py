"""PyTorch: fp32 and bf16 (autocast), eager or compiled; int8 by torchao's PT2E flow, compiled with inductor."""

from __future__ import annotations

from pathlib import Path

import torch

from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.backends.base import Settings
from runner.worker.backends.torch_module import TorchModule, compiled, require_compiler
from runner.worker.data.datasets import Dataset
from runner.worker.subjects.models import Network

PROGRAM_FILE = "program.pt2"
QUANTISE_VERSION = 1
"""Part of the cache key. Increment it when the way of quantising changes: cached programs become invalid."""


class Runtime(TorchModule):
    """Runs the module, eager or compiled by torch.compile."""

    def __init__(self, settings: Settings, *, compile: bool = False, freezing: bool = True) -> None:  # noqa: A002 -- the option's name is torch's
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            compile: use torch.compile with inductor; int8 is always compiled.
            freezing: let inductor treat weights as constants, fold and pack them; takes effect only if compiled.

        Raises:
            Unsupported: the precision is none of fp32, bf16 and int8.
            Unavailable: compilation is requested, and no C++ compiler is installed.
        """
        super().__init__(settings)
        self._compiled = compile or settings.precision == "int8"
        if self._compiled:
            require_compiler()
        self._freezing = freezing

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return the recipe of the quantised program; None for fp32 and bf16, which run the module."""
        if self._settings.precision != "int8":
            return None
        batch_size = self._settings.batch_size
        key = {
            "network": network.key,
            "calibration": dataset.digest_of(dataset.calibration),
            "batch_size": batch_size,
            "packages": package_versions("torch", "torchao"),
            "version": QUANTISE_VERSION,
        }
        return Recipe("torch-int8", key, lambda folder: quantise(network, dataset, batch_size, folder / PROGRAM_FILE))

    def load(self, network: Network, artifact: Path | None) -> None:
        """Build the module or load the quantised program, and compile it if requested."""
        self._network = network
        if artifact is None:
            self._module = network.module().to(memory_format=self._layout)  # type: ignore[call-overload]  # absent in its types
        else:
            import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401 -- registers operators

            self._module = torch.export.load(artifact / PROGRAM_FILE).module()
        if self._compiled:
            self._module = compiled(self._module, freezing=self._freezing)
            step = self.bind(self.example(network.image_size).numpy())
            step()  # compiles here, so that the first inference does not include compilation


def quantise(network: Network, dataset: Dataset, batch_size: int, target: Path) -> None:
    """Quantise the network to static int8, calibrated on the calibration images, and write the exported program."""
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    batches = [torch.from_numpy(images) for images, _ in dataset.batches(dataset.calibration, batch_size)]
    # strict: otherwise a shared ReLU (as in ResNets) becomes one node with two outputs, which the quantiser rejects.
    exported = torch.export.export(network.module(), (batches[0],), strict=True).module()
    quantiser = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        prepared = prepare_pt2e(exported, quantiser)
        for batch in batches:
            prepared(batch)
        converted = convert_pt2e(prepared)
        move_exported_model_to_eval(converted)
        torch.export.save(torch.export.export(converted, (batches[0],)), target)
