"""Samples and labels: for the calibration of int8 ranges, and for accuracy.

Every data set is split once, by its seed, into evaluation and training samples. They are disjoint; the calibration
samples are the first of the training samples. Samples are images (:mod:`runner.worker.data.images`), texts
(:mod:`runner.worker.data.texts`) or named arrays (:mod:`runner.worker.data.tensors`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runner.data_files.pictures import order_of
from runner.job import Data
from runner.protocol import BUNDLED_SAMPLES
from runner.worker.failures import BadInput

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

FITTING_SAMPLES = 1000
"""Maximum number of training texts that fit the output layer of a probe."""
FITTING_IMAGES = 500
"""Training images that fit the classifier, most of a probe's time: ResNet-50 reaches a top-1 of 0.945 in 36 s, and
0.975 with twice as many in 74 s; ViT-B/16 reaches 0.97."""
CALIBRATION_BATCH = 8
"""Images per calibration batch. Ranges are averaged over batches, so they must not depend on the run's batch size."""


class Source(Protocol):
    """A source of single samples; :class:`Dataset` splits and batches them."""

    classes: int
    labels: Labels | None
    """One label per sample; None if the samples have no labels."""
    answers: Sequence[tuple[str, ...]] | None
    """All right answers to each question; None if the samples are not questions."""
    left_out: frozenset[int]
    """Samples that cannot be read."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def batch(self, indices: Sequence[int]) -> Any:
        """Return the samples at `indices` as a network takes them: stacked images, or texts with their tokens."""

    def fingerprint(self, index: int) -> bytes:
        """Return bytes that change if the sample or its label changes."""

    def notes(self, indices: Sequence[int]) -> list[str]:
        """Return remarks on the samples at `indices`, for readers of the result."""

    @property
    def preparation(self) -> str:
        """Changes if the same samples become other tensors: their size, and the way of preparing them."""


@dataclass(frozen=True)
class Dataset:
    """A source of samples, split into evaluation and training samples."""

    source: Source
    evaluation: Sequence[int]
    training: Sequence[int]
    calibration_samples: int
    fixed_batch: int | None = None
    """The batch that the model fixes; None if it takes any."""

    @property
    def calibration(self) -> Sequence[int]:
        """The training samples for the calibration of int8 ranges."""
        return self.training[: self.calibration_samples]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the evaluation and the calibration samples and their labels."""
        return self.digest_of(self.evaluation, self.calibration)

    def digest_of(self, *parts: Sequence[int]) -> str:
        """Return the SHA-256 of parts of the data set, in order: samples, as they are prepared, and labels."""
        digest = hashlib.sha256(self.source.preparation.encode())
        for part in parts:
            for index in part:
                digest.update(self.source.fingerprint(index))
            digest.update(b"|")
        return digest.hexdigest()

    def labels(self, indices: Sequence[int]) -> Labels:
        """Return the labels at `indices`; an empty array if the source has none."""
        if self.source.labels is None:
            return np.empty(0, np.int64)
        return self.source.labels[np.asarray(indices, dtype=np.int64)]

    def calibration_batches(self) -> Iterator[Any]:
        """Yield the calibration samples in batches of CALIBRATION_BATCH; the last one may be smaller.

        The ranges of int8 must depend neither on the run's batch size nor on repeated samples. A model that fixes its
        batch gets full ones only.
        """
        size = self.fixed_batch or CALIBRATION_BATCH
        for start in range(0, len(self.calibration), size):
            part = self.calibration[start : start + size]
            if self.fixed_batch is None or len(part) == size:
                yield self.source.batch(part)

    def batches(self, indices: Sequence[int], batch_size: int) -> Iterator[tuple[Any, int]]:
        """Yield full batches, each with its number of valid samples.

        The last batch is padded by repeating its last sample, so that a compiled model always sees the same shape.

        Args:
            indices: the samples, in order.
            batch_size: samples per batch, padding included.
        """
        for start in range(0, len(indices), batch_size):
            part = list(indices[start : start + batch_size])
            yield self.source.batch(part + [part[-1]] * (batch_size - len(part))), len(part)


def split(source: Source, data: Data, seed: int) -> Dataset:
    """Return a source's samples, split by a seed.

    Args:
        source: the samples.
        data: how many of them to use.
        seed: of the order.

    Raises:
        BadInput: the source holds fewer samples than requested.
    """
    order = [index for index in order_of(len(source), seed) if index not in source.left_out]
    evaluation, training = order[: data.evaluation_samples], order[data.evaluation_samples :]
    if data.name in BUNDLED_SAMPLES:
        # The training samples do not depend on evaluation_samples, so the probe does not either.
        fixed, _ = BUNDLED_SAMPLES[data.name]
        evaluation, training = order[fixed:][: data.evaluation_samples], order[:fixed]
    if len(evaluation) < data.evaluation_samples or len(training) < data.calibration_samples:
        raise BadInput(
            f"data={data.name} holds {len(order)} samples, fewer than data.evaluation_samples and "
            "data.calibration_samples request: lower them"
        )
    return Dataset(source, evaluation, training, data.calibration_samples)
