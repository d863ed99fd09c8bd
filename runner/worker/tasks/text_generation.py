"""Continuations of texts."""

from __future__ import annotations

from typing import Any

from runner.worker.backends.base import Model, Runtime, Step
from runner.worker.subjects.subject import Shapes, Subject, zeros
from runner.worker.tasks import base
from runner.worker.tasks.base import Answers, count_macs


class Task(base.Task):
    """Answers are the generated tokens, and the likelihood of the input."""

    def __init__(self, subject: Subject, new_tokens: int) -> None:
        """Store the model, and how many tokens it generates for each text."""
        super().__init__(subject)
        self._new_tokens = new_tokens

    def load(self, runtime: Runtime, model: Model) -> None:
        """Load the model as a generator."""
        runtime.load_generator(model)

    def bind(self, runtime: Runtime, samples: Any) -> Step:
        """Return a step that generates."""
        return runtime.generator.bind(self._subject.inputs(samples), self._new_tokens)

    def run(self, runtime: Runtime, samples: Any) -> object:
        """Generate once."""
        return self.bind(runtime, samples)()

    def answers(self, runtime: Runtime, samples: Any) -> Answers:
        """Return the generated tokens, and the likelihood of the input text under the model.

        Returns:
            ``tokens`` (texts × new tokens, int64), ``nll`` (the negative log likelihood of each text in nats), and
            ``tokens_scored`` (the number of tokens that each ``nll`` sums over, int64).
        """
        batch = self._subject.inputs(samples)
        likelihood, counted = runtime.generator.score(batch)
        tokens = runtime.generator.generate(batch, self._new_tokens)
        return {"tokens": tokens, "nll": likelihood, "tokens_scored": counted}

    def marks(self, runtime: Runtime) -> list[int]:
        """Return the times of the first tokens since the last call."""
        return runtime.generator.marks()

    def macs_per_sample(self, shapes: Shapes) -> float:
        """Return the multiply-accumulates of one text: counted with weights, because the loop looks at the tokens."""
        from runner.worker.backends.generation import TransformersLoop

        loop = TransformersLoop(self._subject.module())
        batch = {**zeros(self._subject.signature, 1, shapes)}
        batch["attention_mask"] = batch["attention_mask"] + 1
        return count_macs(loop.bind(batch, self._new_tokens))
