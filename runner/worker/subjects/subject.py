"""A subject: the model under test, with its signature and the forms that it comes in.

A form is a representation of a model: an ``nn.Module``, an exported program, an ONNX graph, an OpenVINO IR, a folder of
Transformers. A subject brings some; :mod:`runner.worker.converters` makes the others from these; a backend says which
ones it accepts. Adding a source of models is adding a module here with a function ``open_subject``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runner.job import Job
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset
from runner.worker.data.tensors import TensorSpec
from runner.worker.failures import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = Mapping[str, NDArray[Any]]
"""A model's inputs by name; the first axis of each is the batch."""
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a model's inputs by name."""

CLASSIFICATION, GENERATION = "image-classification", "text-generation"
"""The task of a model with an output of scores for classes, whatever its inputs are."""
BATCH, TOKENS = "batch", "tokens"
"""Symbols for extents that a signature leaves open."""


@dataclass(frozen=True)
class Port:
    """One named input or output."""

    name: str
    dtype: str
    """NumPy's name of the element type: float32, int64, …"""
    shape: tuple[int | str, ...]
    """Extents; a symbol, such as ``batch``, where the extent may vary."""


@dataclass(frozen=True)
class Signature:
    """The named inputs and outputs of a model, in the order of its own definition."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def key(self) -> dict[str, Any]:
        """The signature as JSON values, for cache keys."""
        return {
            side: [[port.name, port.dtype, list(port.shape)] for port in ports]
            for side, ports in (("inputs", self.inputs), ("outputs", self.outputs))
        }

    @property
    def is_fixed(self) -> bool:
        """Whether all extents but the batch are numbers."""
        return all(isinstance(extent, int) for port in self.inputs for extent in port.shape[1:])


@dataclass(frozen=True)
class Form:
    """A representation of a model, and the precision of its stored operations."""

    kind: str
    """module, program, onnx, ir or checkpoint."""
    precision: str = "fp32"
    """A value of ``runner.config.schema.Precision``."""
    variant: str = ""
    """The way in which it was made, if there are several: a level of optimisation, a quantiser's configuration."""

    def __str__(self) -> str:
        """Return kind, precision and variant, as in ``onnx-int8_dynamic-avx2``."""
        return "-".join(part for part in (self.kind, self.precision, self.variant) if part)


MODULE = Form("module")
ONNX = Form("onnx")
IR = Form("ir")
CHECKPOINT = Form("checkpoint")

FILES = {"onnx": "model.onnx", "ir": "model.xml", "program": "program.pt2"}
"""By kind of form, the file in an artifact's folder that holds the model."""
MAX_ONNX_BYTES = 1_800_000_000
"""Weights beyond this lie beside an ONNX graph: a message of protobuf holds 2 GB, and a quantiser adds to it."""


class Subject(ABC):
    """A model with its weights."""

    name: str
    """For messages."""
    task: str
    """A value of ``runner.config.schema.Task``."""
    forms: tuple[Form, ...]
    """The forms that it comes in, best first."""
    notes: tuple[str, ...] = ()
    """Remarks on where it comes from, for readers of the result."""
    logits: str = "logits"
    """The output with scores of classes, of a model that classifies."""
    classes: int | None = None
    """Number of classes that its weights were trained for; None if they take those of the data."""
    class_names: Mapping[int, str] | None = None
    """Names of those classes by number, if they are known."""
    int8_sqnr_db: float | None = None
    """Of a probe, the SQNR in dB that int8 leaves of its outputs in any runtime: see
    :mod:`runner.worker.subjects.probes.fake_int8`. None for other weights."""
    signature: Signature

    @property
    @abstractmethod
    def digest(self) -> str:
        """Changes if the weights do."""

    @property
    @abstractmethod
    def key(self) -> dict[str, Any]:
        """Everything that the model's function depends on, as JSON values: content and signature."""

    @abstractmethod
    def module(self) -> nn.Module:
        """Return the model as a module, in evaluation mode, in fp32."""

    @abstractmethod
    def meta_module(self) -> nn.Module:
        """Return the model's architecture without weights, on PyTorch's meta device, in evaluation mode."""

    @abstractmethod
    def inputs(self, samples: Any) -> Batch:
        """Return a batch of the data set as the model's named inputs."""

    def macs_per_sample(self) -> float | None:
        """Return the multiply-accumulates of a sample, 0 if they are not known; None: count them in the module."""
        return None

    def folder(self, form: Form) -> Path | None:  # noqa: ARG002 -- for subjects that come in files
        """Return the folder with the files of a form that the subject brings; None if it has no files."""
        return None

    def arguments(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the positional and the keyword arguments of the module form for named inputs."""
        return tuple(tensors[port.name] for port in self.signature.inputs), {}

    def name_outputs(self, found: Any) -> dict[str, Tensor]:
        """Return by name the outputs that the module form returned."""
        names = [port.name for port in self.signature.outputs]
        if isinstance(found, Mapping):
            return {name: found[name] for name in names}
        return dict(zip(names, found if isinstance(found, (tuple, list)) else (found,), strict=True))


class Opener(Protocol):
    """The function ``open_subject`` of each source of models."""

    def __call__(self, job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
        """Return a job's data set and its model.

        Args:
            job: what to run.
            fetch: gets artifacts.

        Raises:
            JobFailure: they are not available, or do not fit each other.
            Missing: from `fetch`.
        """


def shapes_of(batch: Batch) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a batch's inputs."""
    return {name: tuple(values.shape) for name, values in batch.items()}


def zeros(signature: Signature, batch: int, shapes: Shapes) -> dict[str, NDArray[Any]]:
    """Return inputs for tracing: zeros of a signature's types.

    Args:
        signature: the model's.
        batch: samples.
        shapes: shapes of a batch, for the other extents that the signature leaves open.
    """
    return {port.name: np.zeros(_extents(port, batch, shapes[port.name]), port.dtype) for port in signature.inputs}


def _extents(port: Port, batch: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a port's shape: its own extents, `batch` for the batch, those of `shape` for others that are open."""
    return tuple(
        extent if isinstance(extent, int) else batch if extent == BATCH else given
        for extent, given in zip(port.shape, shape, strict=True)
    )


def spec_of(port: Port, low: float | None = None, high: float | None = None) -> TensorSpec:
    """Return a port as a data set takes it.

    Args:
        port: of the model's signature.
        low: lower end of synthetic values; None for the default.
        high: upper end.
    """
    shape = tuple(extent if isinstance(extent, int) else None for extent in port.shape)
    return TensorSpec(port.name, port.dtype, shape, low, high)


def select(batch: Batch, ports: Iterable[Collection[str]]) -> dict[str, NDArray[Any]]:
    """Return the entries of a batch that a model takes.

    Args:
        batch: the inputs by name.
        ports: for each input of the model, its names.

    Raises:
        BadInput: the batch lacks one of the model's inputs.
    """
    found = {}
    for names in ports:
        known = [name for name in names if name in batch]
        if not known:
            raise BadInput(f"the model takes {' or '.join(names)}, and the data provide {', '.join(batch)}")
        found[known[0]] = batch[known[0]]
    return found
