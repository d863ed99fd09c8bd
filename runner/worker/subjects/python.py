"""Models that a Python module of the user builds: a plug-in, as trusted as the program itself.

The module has a function ``build(**config)``, which returns an ``nn.Module``, and a function ``inputs(batch)``, which
returns its keyword arguments as tensors, for so many samples. It is the file ``NAME.py`` in a folder of RUNNER_MODELS,
or the object of the entry point ``NAME`` in the group ``runner.models``. A configuration only names it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runner.job import Job
from runner.job import Subject as Choice
from runner.protocol import MODELS_GROUP
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.arrays import class_output, open_tensors
from runner.worker.data.datasets import Dataset, split
from runner.worker.data.tensors import DrawnSamples
from runner.worker.failures import BadInput, gist
from runner.worker.subjects.modules import ModuleSubject
from runner.worker.subjects.state_dicts import load_into, read_state, shapes_of
from runner.worker.subjects.subject import BATCH, CLASSIFICATION, Port, Subject, spec_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Plugin:
    """What a module of the user provides."""

    name: str
    build: Callable[..., nn.Module]
    inputs: Callable[[int], Mapping[str, Tensor]]
    digest: str
    """Of its source file; empty for an installed package, whose version is in the environment's digest."""


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return the plug-in's samples and its model; see :class:`runner.worker.subjects.subject.Opener`."""
    choice, seed = job.subject, job.run.seed
    plugin = load_plugin(choice.name, choice.path)
    ports = _ports(plugin)
    subject = ModuleSubject(
        choice.name, choice.task, partial(_build, plugin, choice, seed), _digest(plugin, choice, seed), ports
    )
    subject.find_outputs(fetch)
    if job.data.name != "arrays":
        source = PluginSamples(plugin, job.data.evaluation_samples + job.data.calibration_samples, seed)
        return split(source, job.data, seed), subject
    outputs = [spec_of(port) for port in subject.signature.outputs]
    dataset = open_tensors(job.data, [spec_of(port) for port in ports], outputs, seed)
    if dataset.source.labels is not None:
        subject.task, subject.logits = CLASSIFICATION, class_output(outputs, job.data.logits).name
    return dataset, subject


def load_plugin(name: str, path: str | None) -> Plugin:
    """Return a plug-in.

    Args:
        name: of the entry point, or of the file.
        path: of the file; None for an entry point.

    Raises:
        BadInput: it does not exist, fails when it is imported, or lacks one of the functions.
    """
    digest = ""
    try:
        if path is None:
            [entry] = metadata.entry_points(group=MODELS_GROUP, name=name)
            module = entry.load()
        else:
            spec = importlib.util.spec_from_file_location(f"runner_models_{name}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except Exception as error:  # the user's code fails in its own ways
        raise BadInput(f"model.name: {name} cannot be imported: {gist(error)}") from error
    for function in ("build", "inputs"):
        if not callable(getattr(module, function, None)):
            raise BadInput(f"model.name: {name} has no function {function}: see docs/how-to/your-model.md")
    return Plugin(name, module.build, module.inputs, digest)


def _build(plugin: Plugin, choice: Choice, seed: int) -> nn.Module:
    """Return the plug-in's module: its random weights are drawn by the seed, a file of weights replaces them.

    Raises:
        BadInput: it does not build a module with this configuration, or the file does not fit.
    """
    import torch

    torch.manual_seed(seed)
    try:
        module = plugin.build(**choice.model_config)
        if choice.weights == "file" and choice.weights_path is not None:
            path = Path(choice.weights_path)
            state = read_state(path, choice.weights_key, shapes_of(module))
            load_into(module, state, path, plugin.name)
    except (TypeError, RuntimeError) as error:
        raise BadInput(f"model.name: {plugin.name} cannot be built: {gist(error)}") from error
    return module


def _digest(plugin: Plugin, choice: Choice, seed: int) -> str:
    path = choice.weights_path
    weights = hashlib.sha256(Path(path).read_bytes()).hexdigest() if choice.weights == "file" and path else ""
    content = [plugin.name, plugin.digest, choice.model_config, seed, weights, choice.weights_key]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _ports(plugin: Plugin) -> tuple[Port, ...]:
    """Return the inputs: the extents that differ between three samples and two are the batch.

    Raises:
        BadInput: an input is no tensor, or none depends on the number of samples.
    """
    two, three = (_sample(plugin, batch) for batch in (2, 3))
    ports = tuple(
        Port(
            name,
            str(values.dtype),
            tuple(
                int(own) if own == other else BATCH for own, other in zip(values.shape, three[name].shape, strict=True)
            ),
        )
        for name, values in two.items()
    )
    if not any(BATCH in port.shape for port in ports):
        raise BadInput(f"model.name: inputs(batch) of {plugin.name} returns the same shapes for two and three samples")
    return ports


def _sample(plugin: Plugin, batch: int) -> dict[str, NDArray[Any]]:
    """Return the plug-in's inputs for so many samples.

    Raises:
        BadInput: it fails, or returns anything but named tensors.
    """
    import torch

    try:
        found = dict(plugin.inputs(batch))
    except Exception as error:  # the user's code fails in its own ways
        raise BadInput(f"model.name: inputs({batch}) of {plugin.name} fails: {gist(error)}") from error
    wrong = [name for name, value in found.items() if not isinstance(value, torch.Tensor)]
    if wrong or not found:
        what = f"{wrong[0]} is no tensor" if wrong else "it is empty"
        raise BadInput(f"model.name: inputs(batch) of {plugin.name} must return named tensors: {what}")
    return {name: value.numpy() for name, value in found.items()}


class PluginSamples(DrawnSamples):
    """A source of samples that the plug-in draws."""

    def __init__(self, plugin: Plugin, count: int, seed: int) -> None:
        """Store the plug-in, the number of samples and the seed."""
        super().__init__(count, seed)
        self._plugin = plugin
        self._ports = _ports(plugin)

    @property
    def preparation(self) -> str:
        """The plug-in's source, and its inputs."""
        return f"{self._plugin.digest} {self._ports}"

    def batch(self, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the inputs for the samples at `indices`, by name; an input without a batch is the first sample's."""
        samples = [self._draw(index) for index in indices]
        return {
            port.name: np.concatenate([one[port.name] for one in samples], axis=port.shape.index(BATCH))
            if BATCH in port.shape
            else samples[0][port.name]
            for port in self._ports
        }

    def _draw(self, index: int) -> dict[str, NDArray[Any]]:
        import torch

        torch.manual_seed(self._seed * 1_000_003 + index)
        return _sample(self._plugin, 1)
