"""Models that map each sample to a vector, in which near ones are alike."""

from __future__ import annotations

from typing import Any

import numpy as np

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
                rows = values if values.ndim == 2 else values.mean(axis=1)
                return {EMBEDDING: np.asarray(rows, np.float32)}
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in found.items())
        raise BadInput(
            f"model.task: received embedding; allowed: tensors, because no output of {self._subject.name} has a vector "
            f"for each of {count} samples: {shapes}"
        )
