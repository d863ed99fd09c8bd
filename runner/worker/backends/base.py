"""The base class of backends: one module, one class named ``Runtime`` derived from the one here.

A runtime's constructor takes the :class:`Settings` common to all and, after a bare ``*``, its own options: they are the
keys allowed in ``backend.options``, and an option annotated with ``Literal`` accepts only the listed values. The module
may import its library anywhere, because only workers import the module. A backend with its own environment must import
it in ``load``: the class also runs in the process that makes artifacts, in another environment.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from runner.protocol import DIGEST_FILE, Finding
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import Batch, Form, Subject

Outputs = dict[str, NDArray[Any]]
"""A model's outputs for a batch, by name, floating-point values in fp32; the first axis is the batch."""
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
    """PyTorch's image layout."""
    scenario: str
    """``sync``: one batch at a time. ``async``: enough concurrent batches to keep all cores busy."""
    cores: int
    """Cores that the process may use."""
    partial: bool = False
    """Whether it was requested that int8 leaves a part in floating point."""

    @property
    def threads_per_request(self) -> int | None:
        """Compute threads of one request: all of them for ``sync``, one for ``async``."""
        return 1 if self.scenario == "async" else self.threads

    @property
    def requests(self) -> int:
        """Default number of requests in flight: one for ``sync``, one per thread for ``async``."""
        return (self.threads or self.cores) if self.scenario == "async" else 1


@dataclass(frozen=True)
class Model:
    """What a runtime loads."""

    subject: Subject
    form: Form
    """One of the forms that the runtime accepts."""
    folder: Path | None
    """The folder with the form's files; None for a module, which the subject returns."""
    example: Batch
    """The first batch."""
    fixed_shapes: bool
    """Whether every batch has the example's shapes."""


@dataclass(frozen=True)
class Deployment:
    """How a model runs without this program, in the backend's file of ``runner/worker/shipped/runtimes``."""

    settings: dict[str, Any]
    """What that file takes, as JSON values; ``file`` is the model's, in the folder of :meth:`Runtime.deploy`."""
    packages: tuple[str, ...]
    """The packages that it imports."""


class Generator(Protocol):
    """A loaded model that continues texts token by token."""

    def bind(self, batch: Batch, new_tokens: int) -> Step:
        """Return a step that generates exactly `new_tokens` tokens for each text, greedily."""

    def generate(self, batch: Batch, new_tokens: int) -> NDArray[Any]:
        """Return the generated tokens: texts × new tokens, int64."""

    def score(self, batch: Batch) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return for each text its negative log likelihood in nats, and the number of tokens that this sums over."""

    def marks(self) -> list[int]:
        """Return the time of the first token of each batch since the last call, in ns of CLOCK_MONOTONIC."""


@dataclass(frozen=True)
class Probe:
    """One batch of the run's task, with which a runtime proves its precision after timing has ended."""

    load: Callable[[Runtime], None]
    """Loads the run's model into a runtime that proves its precision apart."""
    run: Callable[[Runtime], object]
    """Runs the batch on a loaded runtime."""
    macs: float
    """Multiply-accumulates of the batch, counted apart from any runtime; 0 if they are not known."""


class Runtime(ABC):
    """Loads a model in one of the forms that it accepts, and runs it."""

    packages: ClassVar[tuple[str, ...]] = ()
    """The packages that it needs, apart from those of the model."""
    accepts: ClassVar[Mapping[str, tuple[Form, ...]]]
    """By precision, the forms that it takes, best first. A precision that is missing is unsupported; the host reads the
    keys from the source, and refuses such a run before anything is launched."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """By precision, why it does not implement it, where there is more to say."""
    takes_layout: ClassVar[bool] = False
    """Whether `memory_format` has an effect. Otherwise a layout is refused: a row must not claim it."""

    proves_apart: ClassVar[bool] = False
    """Whether :meth:`evidence` loads the model: it then runs in another process, see :mod:`runner.worker.prove`."""

    generator: Generator
    """The loaded model, after :meth:`load_generator`."""

    def __init__(self, settings: Settings) -> None:
        """Store the settings.

        Raises:
            Unsupported: this runtime cannot run the combination of settings.
        """
        if settings.memory_format != "contiguous" and not self.takes_layout:
            raise Unsupported("this runtime chooses its own layout: take memory_format=contiguous, or backend=torch")
        self._settings = settings
        self._precision = settings.precision

    def accepted(self) -> tuple[Form, ...]:
        """Return the forms that it takes with its settings, best first.

        Raises:
            Unsupported: it does not implement the precision.
        """
        if self._precision not in self.accepts:
            name = type(self).__module__.rsplit(".", maxsplit=1)[-1]
            why = self.lacks.get(self._precision, f"backend={name} does not implement precision={self._precision}")
            raise Unsupported(f"{why}: take precision={' or '.join(self.accepts)}, or another backend")
        return self.accepts[self._precision]

    @abstractmethod
    def load(self, model: Model) -> None:
        """Load and compile a model."""

    def load_generator(self, model: Model) -> None:
        """Load a model that generates text, as :attr:`generator`.

        Raises:
            Unsupported: this runtime does not generate text.
        """
        raise Unsupported("this backend does not generate text: take backend=torch, ort or openvino")

    @abstractmethod
    def bind(self, batch: Batch) -> Step:
        """Return a step that infers a batch, as a serving loop does with ready inputs.

        The step must keep the batch's arrays alive as long as it exists.
        """

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """Return the outputs for a batch; they do not share memory with those of a later call."""

    def requests(self) -> int:
        """Return the number of concurrent steps, each on its own thread: 1 for ``sync``."""
        return self._settings.requests

    def counters(self) -> dict[str, int]:
        """Return counters, by name, that must not change during timed batches; {} if there are none."""
        return {}

    def deploy(self, model: Model, target: Path) -> Deployment:
        """Write the files with which the loaded model runs without this program.

        Args:
            model: the one that was loaded.
            target: an empty folder.

        Raises:
            Unsupported: nothing runs this backend's models without this program.
        """
        raise Unsupported("models of this backend cannot be shipped: take backend=ort, openvino or torch")

    def evidence(self, probe: Probe) -> list[Finding]:
        """Return the findings that only the runtime can make, above all the executed precision.

        With `proves_apart` it is called on a runtime without a model, which it loads by
        ``probe.load(self)``. It may run profilers and set verbose flags: timing has ended.
        """
        return []


def copy_files(source: Path | None, target: Path) -> None:
    """Copy the files of a form, with what links point to."""
    assert source is not None
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(DIGEST_FILE), dirs_exist_ok=True)
