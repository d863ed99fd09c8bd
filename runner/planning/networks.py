"""Networks of libraries are checked before a launch: the size of the input, and a file of weights."""

from __future__ import annotations

from runner.config import backend_registry
from runner.config.schema import RunConfig, WeightsKind
from runner.errors import Mistake
from runner.job import Job
from runner.processes.inspection import ask
from runner.processes.launch import build_job
from runner.protocol import CheckNetwork, Mistaken

LIBRARIES = ("torchvision", "timm")
"""Sources whose networks are built by name, of any size."""


class NetworkChecks:
    """Asks about each network once, for all rows of a command."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[str, list[Mistake]] = {}

    def check(self, config: RunConfig) -> list[Mistake]:
        """Return the mistakes in a network's size and in its file of weights.

        A network with its own size and without a file needs no check, nor one that no backend loads.
        """
        backend = backend_registry.backends().get(config.backend.name)
        from_file = config.weights.name is WeightsKind.file
        if backend is None or not backend.forms or str(config.model.source) not in LIBRARIES:
            return []
        if config.model.image_size is None and not from_file:
            return []
        job = build_job(config)
        key = repr(job.subject)
        if key not in self._known:
            self._known[key] = _ask(job)
        return self._known[key]


def _ask(job: Job) -> list[Mistake]:
    answer = ask(CheckNetwork(job))
    if isinstance(answer, Mistaken):
        return [Mistake(answer.field, answer.received, answer.allowed, answer.remedy)]
    return []  # what is not installed, or another failure, is the row's
