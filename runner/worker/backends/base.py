"""The interface between a worker and a runtime: one module, one class named ``Runtime``.

A runtime's constructor takes the :class:`Settings` common to all and, after a bare ``*``, its own options: they are the
keys allowed in ``backend.options``, and an option annotated with ``Literal`` accepts only the listed values. The module
may import its library anywhere, because only workers import the module. A backend with its own interpreter must import
it in ``load``: artifacts are made by this program's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.datasets import Dataset, Images
from runner.worker.failures import Unsupported
from runner.worker.subjects.models import Network

Answers = dict[str, NDArray[Any]]
"""A model's outputs for a batch, by name; the first axis is the batch."""
Step = Callable[[], Any]
"""Runs one inference on the batch that it is bound to, and returns the outputs in the runtime's own type."""


@dataclass(frozen=True)
class Settings:
    """The settings that all runtimes share."""

    precision: str
    """A value of ``runner.config.schema.Precision``."""
    batch_size: int
    """Samples per batch."""
    threads: int | None
    """Compute threads of the process, for all requests together; None for the runtime's default."""
    memory_format: str
    """PyTorch's image layout; see :meth:`refuse_layout`."""
    scenario: str
    """``sync``: one batch at a time. ``async``: enough concurrent batches to keep all cores busy."""
    cores: int
    """Cores that the process may use."""

    def refuse_layout(self) -> None:
        """Reject an image layout that the runtime would ignore, so that no row claims a setting without effect.

        Raises:
            Unsupported: the layout is not the default.
        """
        if self.memory_format != "contiguous":
            raise Unsupported("this runtime chooses its own layout: take memory_format=contiguous, or backend=torch")

    def refuse_text_precision(self) -> None:
        """Reject a precision that is implemented only for models of Transformers.

        Raises:
            Unsupported: the precision is none of fp32, bf16 and int8.
        """
        if self.precision not in ("fp32", "bf16", "int8"):
            raise Unsupported(f"precision={self.precision} needs model.source=transformers: take precision=int8")

    @property
    def threads_per_request(self) -> int | None:
        """Compute threads of one request: all of them for ``sync``, one for ``async``."""
        return 1 if self.scenario == "async" else self.threads

    @property
    def requests(self) -> int:
        """Default number of requests in flight: one for ``sync``, one per thread for ``async``."""
        return (self.threads or self.cores) if self.scenario == "async" else 1


class Runtime(Protocol):
    """The methods of a runtime, in the order of their first call by a worker.

    recipe, load, requests, bind, counters, evidence, answers.
    """

    def __init__(self, settings: Settings) -> None:
        """Store the settings.

        Raises:
            Unsupported: this runtime cannot run the combination of settings.
        """

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return the recipe for the files that `load` needs, None if it needs none.

        The recipe's build may fetch other artifacts: that of an int8 model fetches the exported fp32 model. It runs in
        a separate process, so that the measured process is the same with a cold and with a warm cache.
        """

    def load(self, network: Network, artifact: Path | None) -> None:
        """Load and compile the network.

        Args:
            network: the model.
            artifact: the folder that the recipe made, None if there is no recipe.
        """

    def requests(self) -> int:
        """Return the number of concurrent steps, each on its own thread: 1 for ``sync``."""

    def bind(self, images: Images) -> Step:
        """Return a step that infers `images` (batch × 3 × size × size), as a serving loop does with ready inputs.

        The step must keep the images alive as long as it exists.
        """

    def answers(self, images: Images) -> Answers:
        """Return the outputs from which accuracy is computed: for images ``logits``, batch × classes, float32."""

    def marks(self) -> list[int]:
        """Return the time of the first token of each batch since the last call; [] if no text is generated.

        Times are in nanoseconds of CLOCK_MONOTONIC.
        """

    def counters(self) -> dict[str, int]:
        """Return counters, by name, that must not change during timed batches; {} if there are none."""

    def evidence(self, images: Images) -> list[Finding]:
        """Return the findings that only the runtime can make, above all the executed precision.

        It may run inference on `images` (batch × 3 × size × size) under profilers and verbose flags: timing has ended.
        """
