"""Synthetic inputs for any model: random numbers in the shapes and types of its signature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.worker.data.datasets import Labels


@dataclass(frozen=True)
class TensorSpec:
    """One input, or one output."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    """Extents; None where the batch is, and in outputs where the extent is not known."""
    low: float | None = None
    """Lower end of the values; None for the default: normally distributed, or for integers 0 and 1."""
    high: float | None = None
    """Upper end, included for integers."""


class DrawnSamples(ABC):
    """Base of sources that draw each sample by a seed. They have no labels: only fp32 tells how good answers are."""

    classes = 0
    labels: Labels | None = None
    answers: Sequence[tuple[str, ...]] | None = None
    left_out: frozenset[int] = frozenset()

    def __init__(self, count: int, seed: int) -> None:
        """Store the number of samples and the seed."""
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._count

    @property
    @abstractmethod
    def preparation(self) -> str:
        """Changes if the same samples become other tensors."""

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the inputs for the samples at `indices`, by name."""

    def fingerprint(self, index: int) -> bytes:
        """Return what determines the values of a sample."""
        return f"{self._seed}:{index}".encode()

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return no notes."""
        return []


class SyntheticTensors(DrawnSamples):
    """A source of random inputs in given shapes."""

    def __init__(self, specs: Sequence[TensorSpec], count: int, seed: int) -> None:
        """Store the inputs, the number of samples and the seed."""
        super().__init__(count, seed)
        self._specs = specs

    @property
    def preparation(self) -> str:
        """The inputs."""
        return str([asdict(spec) for spec in self._specs])

    def batch(self, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the inputs for the samples at `indices`, by name.

        An input without a batch extent has values that depend on the first sample alone.
        """
        return {spec.name: self._values(spec, number, indices) for number, spec in enumerate(self._specs)}

    def _values(self, spec: TensorSpec, number: int, indices: Sequence[int]) -> NDArray[Any]:
        if None not in spec.shape:
            return _draw(spec, tuple(map(int, filter(None, spec.shape))), [self._seed, number, indices[0]])
        axis = spec.shape.index(None)
        rest = tuple(int(extent) for extent in spec.shape if extent is not None)
        return np.stack([_draw(spec, rest, [self._seed, number, index]) for index in indices], axis=axis)

    def notes(self, indices: Sequence[int]) -> list[str]:  # noqa: ARG002 -- part of the interface
        """Return which integers are drawn from 0 and 1 for want of a range."""
        open_ones = [spec.name for spec in self._specs if spec.low is None and np.dtype(spec.dtype).kind in "iu"]
        if not open_ones:
            return []
        names = ", ".join(open_ones)
        return [
            f"synthetic values of {names} are 0 or 1: give their range in model.shapes, as in ids[batch,128]:0..30521"
        ]


def _draw(spec: TensorSpec, shape: tuple[int, ...], seed: list[int]) -> NDArray[Any]:
    generator, dtype = np.random.default_rng(seed), np.dtype(spec.dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        low, high = (0, 1) if spec.low is None or spec.high is None else (int(spec.low), int(spec.high))
        return generator.integers(low, high, shape, endpoint=True).astype(dtype)
    if spec.low is None or spec.high is None:
        return generator.standard_normal(shape).astype(dtype)
    return generator.uniform(spec.low, spec.high, shape).astype(dtype)
