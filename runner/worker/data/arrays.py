"""Data sets of named inputs for models without a library: synthetic, or arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.data_files.arrays import Arrays, describe_arrays, read_array
from runner.data_files.errors import UnreadableData
from runner.data_files.labels import OtherLabels, number_labels
from runner.job import Data
from runner.worker.data.datasets import Dataset, Labels, Source, split
from runner.worker.data.tensors import SyntheticTensors, TensorSpec
from runner.worker.failures import BadInput, Refused


class ArraySamples:
    """A source of samples from a file of arrays; see :mod:`runner.data_files.arrays`."""

    answers: Sequence[tuple[str, ...]] | None = None
    left_out: frozenset[int] = frozenset()

    def __init__(
        self,
        file: Arrays,
        specs: Sequence[TensorSpec],
        model: Mapping[int, str] | None,
        *,
        new_classes: bool = False,
    ) -> None:
        """Read the arrays that a model takes.

        Args:
            file: the arrays.
            specs: the model's inputs.
            model: names of the model's classes by number; None if no output can be scores of classes.
            new_classes: whether a model without names takes the classes of the labels.

        Raises:
            UnreadableData: an array does not exist or does not fit, or a label is no class.
        """
        self._count = file.samples
        self._specs = specs
        self._arrays = {spec.name: _fitting(file, spec, len(specs)) for spec in specs}
        self._notes = [f"{one.name} is not an input: left out" for one in file.inputs if self._is_extra(file, one.name)]
        self.labels: Labels | None = None
        self.classes = len(model or ())
        if file.labels is not None and model is None and not new_classes:
            self._notes.append("accuracy is agreement with fp32: no single output can be scores of classes")
        elif file.labels is not None:
            self._number(read_array(file.path, file.labels.name), model)

    def _is_extra(self, file: Arrays, name: str) -> bool:
        return len(file.inputs) > 1 and name not in self._arrays

    def _number(self, labels: NDArray[Any], model: Mapping[int, str] | None) -> None:
        try:
            numbered = number_labels(labels.tolist(), model)
        except OtherLabels as error:
            self._notes.append(f"accuracy is agreement with fp32: {error}")
        else:
            self.labels = np.array(numbered.numbers, np.int64)
            self.classes = numbered.classes
            self._notes += numbered.notes

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._count

    @property
    def preparation(self) -> str:
        """The inputs."""
        return str([asdict(spec) for spec in self._specs])

    def batch(self, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the inputs for the samples at `indices`, by name, the samples on the axis of the batch."""
        found = {}
        for spec in self._specs:
            rows = self._arrays[spec.name][np.asarray(indices)].astype(spec.dtype, copy=False)
            axis = spec.shape.index(None) if None in spec.shape else 0
            found[spec.name] = np.ascontiguousarray(np.moveaxis(rows, 0, axis))
        return found

    def fingerprint(self, index: int) -> bytes:
        """Return the values and the label."""
        label = "" if self.labels is None else str(self.labels[index])
        return b"".join(np.ascontiguousarray(one[index]).tobytes() for one in self._arrays.values()) + label.encode()

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return what was left out, and how labels became classes."""
        return self._notes


def _fitting(file: Arrays, spec: TensorSpec, count: int) -> NDArray[Any]:
    """Return the array for an input.

    Raises:
        UnreadableData: there is none, or its shape or type does not fit.
    """
    found = file.find(spec.name, count)
    rest = tuple(extent for extent in spec.shape if extent is not None)
    if None not in spec.shape:
        raise UnreadableData(f"The input {spec.name} has no batch: data=arrays needs one for each sample")
    if found.shape[1:] != rest:
        wanted = ", ".join(map(str, ("samples", *rest)))
        raise UnreadableData(
            f"Its array {found.name or 'without a name'} has the shape {list(found.shape)}, and the input {spec.name} "
            f"takes [{wanted}]"
        )
    if np.dtype(spec.dtype).kind in "iub" and np.dtype(found.dtype).kind not in "iub":
        raise UnreadableData(f"Its array {found.name} is {found.dtype}, and the input {spec.name} takes {spec.dtype}")
    return read_array(file.path, found.name)


def open_tensors(data: Data, specs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], seed: int) -> Dataset:
    """Return a data set of named inputs.

    Args:
        data: which.
        specs: the model's inputs.
        outputs: the model's outputs, of which one may be scores of classes.
        seed: of synthetic values and of the split.

    Raises:
        BadInput: the data are of another kind, do not fit the model, or are fewer than requested.
    """
    source: Source
    if data.name == "synthetic":
        source = SyntheticTensors(specs, data.evaluation_samples + data.calibration_samples, seed)
    elif data.name == "arrays" and data.path is not None:
        try:
            source = ArraySamples(describe_arrays(Path(data.path)), specs, _classes(outputs, data.logits))
        except (UnreadableData, OSError) as error:
            raise BadInput(f"data.path={data.path}: {error}") from error
    else:
        raise BadInput(f"data={data.name}: this model takes data=synthetic or data=arrays")
    return split(source, data, seed)


def _classes(outputs: Sequence[TensorSpec], name: str | None) -> Mapping[int, str] | None:
    """Return the classes of the output with their scores, by number; None if no single output can be that."""
    if name is None and len(_candidates(outputs)) != 1:
        return None
    count = class_output(outputs, name).shape[-1]
    return {number: f"class {number}" for number in range(count or 0)}


def class_output(outputs: Sequence[TensorSpec], name: str | None) -> TensorSpec:
    """Return the output with scores of classes.

    Args:
        outputs: of the model.
        name: the requested one; None for the only one that can be.

    Raises:
        Refused: the requested one does not exist, or has no fixed number of scores for each sample.
    """
    candidates = _candidates(outputs)
    for port in candidates:
        if name in (None, port.name):
            return port
    allowed = ", ".join(port.name for port in candidates) or "nothing: no output is [batch, classes]"
    raise Refused("data.logits", name, allowed)


def _candidates(outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return the outputs that have a fixed number of floating-point values, at least two, for each sample."""
    return [
        port for port in outputs if port.dtype.startswith("float") and len(port.shape) == 2 and (port.shape[1] or 0) > 1
    ]
