"""The seam between a worker and a runtime: one module, one class named ``Runtime``.

A runtime's constructor takes the keywords common to all (:class:`Runtime` shows them) and, behind a bare ``*``, its
own options: those are what ``backend.options`` may hold. It imports its library inside its methods or at the top of
its module, as it likes: only workers import it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from runner.worker.cache import Fetch, Recipe
from runner.worker.datasets import Dataset, Images
from runner.worker.failures import Unsupported
from runner.worker.models import Network

Step = Callable[[], Any]
"""Runs one inference on the batch that it was bound to, and returns the runtime's own outputs."""


def refuse_layout(memory_format: str) -> None:
    """Refuse an image layout that a runtime would ignore: a row must not claim what had nothing to act on.

    Raises:
        Unsupported: it is not the default.
    """
    if memory_format != "contiguous":
        raise Unsupported("this runtime chooses its own layout: take memory_format=contiguous, or backend=torch")


class Runtime(Protocol):
    """What a worker asks of a runtime, in this order: recipe, load, bind, logits, evidence."""

    def __init__(self, precision: str, batch_size: int, threads: int | None, memory_format: str) -> None:
        """Keep the settings.

        Args:
            precision: a word of ``runner.config.Precision``.
            batch_size: images in every batch.
            threads: compute threads, None for the runtime's own default.
            memory_format: PyTorch's image layout; see :func:`refuse_layout`.

        Raises:
            Unsupported: the combination cannot exist here.
        """

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe | None:
        """Return how the files that `load` needs are made, None where it needs none.

        Its build may fetch other artifacts: an int8 model the exported fp32 one. It runs in a process of its own, so
        that the measured process is the same with a cold and with a warm cache.
        """

    def load(self, network: Network, artifact: Path | None) -> None:
        """Load and compile the network; `artifact` is the folder that the recipe made."""

    def bind(self, images: Images) -> Step:
        """Return a step that infers `images` (batch × 3 × size × size), as a serving loop would for ready inputs.

        The step keeps the images alive as long as it lives.
        """

    def logits(self, outputs: Any) -> Images:
        """Return a step's outputs as batch × classes, float32."""

    def evidence(self) -> list[dict[str, str]]:
        """Return what the runtime itself knows of settings that took effect."""
