"""Models that map each sample to a vector, in which near ones are alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.protocol import EMBEDDING
from runner.worker.backends.base import Runtime
from runner.worker.failures import BadInput
from runner.worker.tasks import base
from runner.worker.tasks.base import Answers


class Task(base.Task):
    """Answers are vectors."""

    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return ``embedding``, samples × width: the first output of floating-point values, the mean over its tokens.

        Raises:
            BadInput: no output has a row for each sample.
        """
        batch = self._subject.inputs(samples)
        found = runtime.outputs(batch)
        count = len(next(iter(batch.values())))
        for values in found.values():
            if values.dtype.kind == "f" and values.ndim in (2, 3) and len(values) == count:
                rows = values if values.ndim == 2 else mean_over_tokens(values, batch.get("attention_mask"))
                return {EMBEDDING: np.asarray(rows, np.float32)}
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in found.items())
        raise BadInput(
            f"model.task: received embedding; allowed: tensors, because no output of {self._subject.name} has a vector "
            f"for each of {count} samples: {shapes}"
        )


def mean_over_tokens(values: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    """Return the mean of samples × tokens × width over the tokens, samples × width.

    Args:
        values: the vectors of tokens.
        mask: samples × tokens, 0 for padding; None, or another shape, if every token counts.
    """
    if mask is None or mask.shape != values.shape[:2]:
        return np.asarray(values.mean(axis=1))
    weights = mask.astype(values.dtype)[:, :, None]
    return np.asarray((values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1))
