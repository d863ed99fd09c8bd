"""Any model whose outputs have no known meaning: they are compared with those of fp32, output by output."""

from __future__ import annotations

from typing import Any

import numpy as np

from runner.protocol import OUTPUT_PREFIX
from runner.worker.backends.base import Runtime
from runner.worker.tasks import base
from runner.worker.tasks.base import Answers


class Task(base.Task):
    """Answers are all outputs."""

    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return each output flattened to one row, because its batch may be on any axis: ``output:NAME``."""
        found = runtime.outputs(self._subject.inputs(samples))
        return {
            f"{OUTPUT_PREFIX}{name}": np.asarray(
                values, np.float32 if values.dtype.kind == "f" else values.dtype
            ).reshape(1, -1)
            for name, values in found.items()
        }
