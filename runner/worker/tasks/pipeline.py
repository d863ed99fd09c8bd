"""From text to answers: a task through Transformers' pipeline, including tokenisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from runner.worker.backends.base import Model, Runtime, Step
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoints.checkpoint import Checkpoint
from runner.worker.subjects.subject import GENERATION, Shapes
from runner.worker.tasks import base
from runner.worker.tasks.base import Answers


class Task(base.Task):
    """Times the pipeline; answers and evidence are those of the task within it."""

    def __init__(self, inner: base.Task, subject: Checkpoint, batch_size: int, new_tokens: int) -> None:
        """Store the parts.

        Args:
            inner: the task.
            subject: the model.
            batch_size: texts that the pipeline passes to the model at once.
            new_tokens: to generate for each text.

        Raises:
            Unsupported: the inputs are images; these are tensors, which a pipeline does not take.
        """
        super().__init__(subject)
        if subject.task == "image-classification":
            raise Unsupported("scope=pipeline does not take images, which are tensors here: take scope=model")
        self._inner = inner
        self._checkpoint = subject
        self._batch_size = batch_size
        self._new_tokens = new_tokens

    def load(self, runtime: Runtime, model: Model) -> None:
        """Load the model as the task within does."""
        self._inner.load(runtime, model)

    def bind(self, runtime: Runtime, samples: Any) -> Step:
        """Return a step from texts to answers."""
        import torch
        from transformers import pipeline

        subject, texts, size = self._checkpoint, list(samples.texts), self._batch_size
        tokenizer = subject.tokenizer()
        if subject.task == GENERATION:
            loop: Any = runtime.generator
            options = loop.options(self._new_tokens)
            model = loop.model
        else:
            options, model = {}, ServedModel(runtime, subject)
        # The framework is named, because Transformers would infer it from the class of the model.
        pipe = pipeline(subject.task, model=model, tokenizer=tokenizer, framework="pt")

        def step() -> Any:
            with torch.inference_mode():
                return pipe(texts, batch_size=size, **options)

        return step

    def run(self, runtime: Runtime, samples: Any) -> object:
        """Run a batch of the task within: the pipeline's own batches have other shapes."""
        return self._inner.run(runtime, samples)

    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return the answers of the task within."""
        return self._inner.answers(runtime, samples)

    def macs_per_sample(self, shapes: Shapes) -> float:
        """Return those of the task within."""
        return self._inner.macs_per_sample(shapes)


class ServedModel:
    """A runtime's model, in the form that Transformers' pipelines take: tensors in, named tensors out."""

    def __init__(self, runtime: Runtime, subject: Checkpoint) -> None:
        """Store the runtime, and read the model's configuration."""
        import torch
        from transformers import AutoConfig

        self._runtime = runtime
        self.config = AutoConfig.from_pretrained(subject.checkpoint, local_files_only=True)
        self.name_or_path = subject.name
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.generation_config = None

    def __call__(self, **tensors: Any) -> Any:
        """Run a batch, and return its outputs by name."""
        import torch
        from transformers.utils import ModelOutput

        outputs = self._runtime.outputs({name: np.ascontiguousarray(one.numpy()) for name, one in tensors.items()})
        return ModelOutput({name: torch.from_numpy(values) for name, values in outputs.items()})

    forward = __call__

    def can_generate(self) -> bool:
        """Return false: it does not generate text."""
        return False

    def eval(self) -> ServedModel:
        """Return itself: there is nothing to switch."""
        return self

    def to(self, *_: Any, **__: Any) -> ServedModel:
        """Return itself: it stays on the processor."""
        return self
