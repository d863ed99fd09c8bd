"""Classes of images or texts."""

from __future__ import annotations

from typing import Any

from runner.worker.backends.base import Runtime
from runner.worker.tasks import base
from runner.worker.tasks.base import Answers


class Task(base.Task):
    """Answers are logits."""

    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return ``logits``: batch × classes, float32."""
        return {"logits": runtime.outputs(self._subject.inputs(samples))[self._subject.logits]}
