"""PyTorch modules of any kind: named tensors in, any structure of tensors out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.subjects.structures import flatten
from runner.worker.subjects.subject import BATCH, MODULE, Batch, Port, Signature, Subject, zeros

if TYPE_CHECKING:
    from torch import Tensor, nn

SIGNATURE_VERSION = 1
"""Part of the cache key. Increment it when the way of finding the outputs changes."""
SIGNATURE_FILE = "outputs.json"


class ModuleSubject(Subject):
    """A module whose outputs have no known meaning."""

    forms = (MODULE,)

    def __init__(
        self,
        name: str,
        task: str,
        build: Callable[[], nn.Module],
        digest: str,
        inputs: tuple[Port, ...],
        *,
        positional: bool = False,
    ) -> None:
        """Store the model's parts; :meth:`find_outputs` completes the signature.

        Args:
            name: for messages.
            task: tensors or embedding.
            build: returns the module with its weights.
            digest: changes if what `build` returns does.
            inputs: the arguments of the module.
            positional: pass them by position instead of by name.
        """
        self.name = name
        self.task = task
        self._build = build
        self._digest = digest
        self._positional = positional
        self.signature = Signature(inputs, ())

    @property
    def digest(self) -> str:
        """Changes if the weights or the architecture do."""
        return self._digest

    @property
    def key(self) -> dict[str, Any]:
        """Content and signature."""
        return {"module": self._digest, "signature": self.signature.key}

    def module(self) -> nn.Module:
        """Return the module in evaluation mode."""
        return self._build().eval()

    def meta_module(self) -> nn.Module:
        """Return the module on the meta device."""
        return self.module().to("meta")

    def inputs(self, samples: Any) -> Batch:
        """Return the samples, as the only input unless they are named inputs."""
        return samples if isinstance(samples, Mapping) else {self.signature.inputs[0].name: samples}

    def arguments(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the inputs as positional or as keyword arguments."""
        found = {port.name: tensors[port.name] for port in self.signature.inputs}
        return (tuple(found.values()), {}) if self._positional else ((), found)

    def name_outputs(self, found: Any) -> dict[str, Tensor]:
        """Return the outputs by their places in what the module returns."""
        return flatten(found)

    def find_outputs(self, fetch: Fetch) -> None:
        """Complete the signature with the outputs: those of a run of two samples, done once.

        Raises:
            Missing: from `fetch`.
        """

        def build(folder: Path) -> None:
            import torch

            shapes = {port.name: tuple(2 if one == BATCH else int(one) for one in port.shape) for port in inputs}
            tensors = {name: torch.from_numpy(one) for name, one in zeros(self.signature, 2, shapes).items()}
            args, kwargs = self.arguments(tensors)
            with torch.inference_mode():
                found = self.name_outputs(self.module()(*args, **kwargs))
            described = [[name, str(one.dtype).removeprefix("torch."), list(one.shape)] for name, one in found.items()]
            (folder / SIGNATURE_FILE).write_text(json.dumps(described))

        inputs = self.signature.inputs
        recipe = Recipe("signature", {**self.key, "version": SIGNATURE_VERSION}, build)
        described = json.loads((fetch(recipe) / SIGNATURE_FILE).read_text())
        outputs = tuple(Port(name, dtype, (BATCH, *shape[1:])) for name, dtype, shape in described)
        self.signature = Signature(inputs, outputs)
