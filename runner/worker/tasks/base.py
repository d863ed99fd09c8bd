"""The base class of tasks, and the count of a batch's multiply-accumulates."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runner.worker.artifacts.cache import Recipe
from runner.worker.backends.base import Model, Runtime, Step
from runner.worker.failures import JobFailure
from runner.worker.subjects.subject import Batch, Shapes, Subject, zeros

log = logging.getLogger(__name__)

Answers = dict[str, NDArray[Any]]
"""What accuracy is computed from, by name; the first axis is the batch. See :class:`runner.protocol.Evaluate`."""
COUNT_VERSION = 1
"""Part of the cache key. Increment it when the way of counting changes."""


class Task(ABC):
    """Runs batches of a data set on a runtime, and interprets the outputs."""

    def __init__(self, subject: Subject) -> None:
        """Store the model."""
        self._subject = subject

    def load(self, runtime: Runtime, model: Model) -> None:
        """Load the model into a runtime."""
        runtime.load(model)

    def bind(self, runtime: Runtime, samples: Any) -> Step:
        """Return the step that is timed, for a batch of the data set."""
        return runtime.bind(self._subject.inputs(samples))

    def run(self, runtime: Runtime, samples: Any) -> object:
        """Run a batch once, so that the runtime proves its precision."""
        return runtime.bind(self._subject.inputs(samples))()

    @abstractmethod
    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return the answers to a batch of the data set."""

    def marks(self, runtime: Runtime) -> list[int]:  # noqa: ARG002 -- for tasks that generate
        """Return the time of the first token of each batch since the last call; [] if no text is generated.

        Times are in nanoseconds of CLOCK_MONOTONIC.
        """
        return []

    def macs_per_sample(self, shapes: Shapes) -> float:
        """Return the multiply-accumulates of :meth:`run` for one sample; counted without weights, on a meta device."""
        subject = self._subject
        counted = subject.macs_per_sample()
        if counted is not None:
            return counted
        for module, device in ((subject.meta_module, "meta"), (subject.module, "cpu")):
            try:
                # The counter follows gradients where parameters are arguments of modules, and finds none here.
                found = module().requires_grad_(False)
                return count_macs(partial(_call, subject, found, zeros(subject.signature, 1, shapes), device))
            except JobFailure:
                raise
            except Exception as error:  # an operator without a meta kernel, or one on values: each fails in its own way
                log.info("%s cannot be counted on the %s device: %r", subject.name, device, error)
        return 0.0


def _call(subject: Subject, module: Callable[..., object], batch: Batch, device: str) -> object:
    """Call a module with a batch on a device."""
    import torch

    args, kwargs = subject.arguments({name: torch.from_numpy(one).to(device) for name, one in batch.items()})
    return module(*args, **kwargs)


def count_macs(step: Callable[[], object]) -> float:
    """Run a step once and return its multiply-accumulates, as PyTorch's FlopCounterMode counts them.

    It counts convolutions, matrix products and attention; a multiply-add counts there as two operations.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        step()
    return counter.get_total_flops() / 2


def work_recipe(task: Task, subject: Subject, shapes: Shapes) -> Recipe:
    """Return the recipe of a model's multiply-accumulates per sample: one count for all backends.

    Args:
        task: counts them.
        subject: the model.
        shapes: shapes of a batch.
    """

    def build(folder: Path) -> None:
        (folder / "work.json").write_text(json.dumps({"macs_per_sample": task.macs_per_sample(shapes)}))

    extents = {name: list(shape[1:]) for name, shape in shapes.items()}
    key = {"subject": subject.key, "task": type(task).__name__, "extents": extents, "version": COUNT_VERSION}
    return Recipe("work", key, build)


def read_work(folder: Path) -> float:
    """Return the multiply-accumulates per sample of an artifact of :func:`work_recipe`; 0 if they are not known."""
    return float(json.loads((folder / "work.json").read_text())["macs_per_sample"])
