"""What a model file holds, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.worker.subjects.subject import BATCH, Port

FIELD = "model.path"

Extents = Mapping[str, tuple[int, ...]]
"""Shapes of inputs by name, with no extent open."""


@dataclass(frozen=True)
class ModelFile:
    """An opened model file."""

    kind: str
    """The kind of form that it is: onnx, ir, program or checkpoint."""
    title: str
    """The format's name, with its version."""
    producer: str
    files: tuple[Path, ...]
    """The file itself, then those that hold its weights."""
    inputs: tuple[Port, ...]
    """As in the file; an extent that it leaves open is a symbol."""
    outputs: tuple[Port, ...]
    parameters: int
    precision: str
    """fp32, fp16, bf16, or int8 if it is quantised."""
    count: Callable[[Extents], float]
    """Returns the multiply-accumulates for inputs of given shapes; 0 if they are not known."""
    task: str = ""
    """A value of ``runner.config.schema.Task``, if the file tells what its outputs mean."""

    def macs_per_sample(self, filled: tuple[Port, ...]) -> float:
        """Return the multiply-accumulates of one sample; 0 if they are not known.

        Args:
            filled: the inputs, with no extent open but the batch.
        """
        shapes = {port.name: tuple(1 if extent == BATCH else int(extent) for extent in port.shape) for port in filled}
        return self.count(shapes) / (fixed_batch(filled) or 1)


def fixed_batch(ports: tuple[Port, ...]) -> int | None:
    """Return the batch that inputs fix: the first extent of the first that has one; None if `batch_size` sets it."""
    if any(BATCH in port.shape for port in ports):
        return None
    return next((int(port.shape[0]) for port in ports if port.shape), 1)
