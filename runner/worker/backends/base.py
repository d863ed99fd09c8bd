"""The seam between a worker and a runtime: one module, one class named ``Runtime``.

A runtime's constructor takes the :class:`Settings` common to all and, behind a bare ``*``, its own options: those are
what ``backend.options`` may hold, and an option annotated with ``Literal`` takes only those words. It imports its
library inside its methods or at the top of its module, as it likes: only workers import it. (A backend with an
interpreter of its own imports it in ``load``: artifacts are made by this program's interpreter.)
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
"""By name, what a model says of a batch: the first dimension is the batch's."""
Step = Callable[[], Any]
"""Runs one inference on the batch that it was bound to, and returns the runtime's own outputs."""


@dataclass(frozen=True)
class Settings:
    """What all runtimes have in common."""

    precision: str
    """A word of ``runner.config.schema.Precision``."""
    batch_size: int
    """Images in every batch."""
    threads: int | None
    """Compute threads of the process, all requests together; None for the runtime's own default."""
    memory_format: str
    """PyTorch's image layout; see :meth:`refuse_layout`."""
    scenario: str
    """``sync``: one batch at a time. ``async``: as many at a time as keep the machine full."""
    cores: int
    """Cores that the process may use."""

    def refuse_layout(self) -> None:
        """Refuse an image layout that a runtime would ignore: a row must not claim what had nothing to act on.

        Raises:
            Unsupported: it is not the default.
        """
        if self.memory_format != "contiguous":
            raise Unsupported("this runtime chooses its own layout: take memory_format=contiguous, or backend=torch")

    def refuse_text_precision(self) -> None:
        """Refuse a precision that only models of Transformers have here.

        Raises:
            Unsupported: it is one.
        """
        if self.precision not in ("fp32", "bf16", "int8"):
            raise Unsupported(f"precision={self.precision} is for model.source=transformers: take precision=int8")

    @property
    def threads_per_request(self) -> int | None:
        """Compute threads of one request: all of them, or one if every core has a request of its own."""
        return 1 if self.scenario == "async" else self.threads

    @property
    def requests(self) -> int:
        """Requests in flight of a runtime that does not know better: one, or one per thread."""
        return (self.threads or self.cores) if self.scenario == "async" else 1


class Runtime(Protocol):
    """What a worker asks of a runtime, in this order: recipe, load, requests, bind, counters, evidence, answers."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings.

        Raises:
            Unsupported: the combination cannot exist here.
        """

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return how the files that `load` needs are made, None if it needs none.

        Its build may fetch other artifacts: an int8 model the exported fp32 one. It runs in a process of its own, so
        that the measured process is the same with a cold and with a warm cache.
        """

    def load(self, network: Network, artifact: Path | None) -> None:
        """Load and compile the network; `artifact` is the folder that the recipe made."""

    def requests(self) -> int:
        """Return how many steps run at once, each on a thread of its own: 1 but in the scenario ``async``."""

    def bind(self, images: Images) -> Step:
        """Return a step that infers `images` (batch × 3 × size × size), as a serving loop would for ready inputs.

        The step keeps the images alive as long as it lives.
        """

    def answers(self, images: Images) -> Answers:
        """Return what accuracy is judged by: of images their ``logits``, batch × classes, float32."""

    def marks(self) -> list[int]:
        """Return when the first token of each batch was there since this was last asked, in nanoseconds; [] if none is.

        The clock is CLOCK_MONOTONIC.
        """

    def counters(self) -> dict[str, int]:
        """Return, by what is counted, numbers that must not change while it is timed; {} if there are none."""

    def evidence(self, images: Images) -> list[Finding]:
        """Return what only the runtime knows of settings that took effect, above all the precision that it executed.

        It may run these images (batch × 3 × size × size) under profilers and verbose flags: nothing is timed any more.
        """
