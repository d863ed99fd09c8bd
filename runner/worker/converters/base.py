"""Converters between forms of a model, and the shortest way from the forms that a subject brings to one that runs.

A converter is a module of this folder with a class ``Converter``; adding one is adding a file. What it makes is an
artifact of the cache: its key contains the key of what it was made from, so that keys chain back to the subject.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from runner.job import HOST_ENVIRONMENT
from runner.protocol import AS_IS
from runner.worker import converters
from runner.worker.artifacts.cache import Fetch, Missing, Recipe
from runner.worker.data.datasets import Dataset
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import JobFailure, Unsupported, gist
from runner.worker.subjects.subject import Form, Shapes, Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What to make, and from what."""

    subject: Subject
    dataset: Dataset
    """Its calibration samples set the ranges of int8."""
    shapes: Shapes
    """Shapes of the inputs of a batch, for the extents that the signature leaves open."""
    form: Form
    """The form to make."""


class Converter(ABC):
    """Makes one form of a model from another."""

    name: ClassVar[str]
    """Who converts, for messages."""
    sources: ClassVar[tuple[Form, ...]]
    """The forms that it reads, best first."""
    environment: ClassVar[str] = HOST_ENVIRONMENT
    """The environment whose interpreter runs it."""
    version: ClassVar[int] = 1
    """Part of the cache key. Increment it when the way of converting changes: cached artifacts become invalid."""

    @abstractmethod
    def makes(self, form: Form) -> bool:
        """Return whether it makes a form."""

    def key(self, order: Order) -> dict[str, Any]:  # noqa: ARG002 -- part of the interface
        """Return what the result depends on beside the source and the environment, as JSON values.

        Raises:
            Unsupported: it cannot convert this model.
        """
        return {}

    @abstractmethod
    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write the form's files to a folder.

        Args:
            order: what to make.
            source: the folder with the source's files; None for a module, which has none.
            target: the folder to write to.

        Raises:
            JobFailure: it cannot convert this model.
        """


def calibration_key(order: Order, alternative: str) -> dict[str, Any]:
    """Return the part of a key for a converter that sets ranges on the calibration samples.

    Args:
        order: what to make.
        alternative: the reason for a model that generates text, whose cached keys and values have no samples.

    Raises:
        Unsupported: the model generates text.
    """
    if order.subject.task == "text-generation":
        raise Unsupported(alternative)
    return {"calibration": order.dataset.digest_of(order.dataset.calibration)}


def range_key() -> dict[str, Any]:
    """Return the part of a key for a converter to int8: whether it leaves a bit free for this processor."""
    return {"reduce_range": not has_vnni()}


@dataclass(frozen=True)
class Step:
    """The last step of a way: a converter and the form that it reads. The way to that form is found likewise."""

    converter: Converter
    source: Form


@cache
def all_converters() -> tuple[Converter, ...]:
    """Return an instance of every converter of this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(converters.__path__) if module.name != "base")
    modules = [importlib.import_module(f"{converters.__name__}.{name}") for name in names]
    return tuple(module.Converter() for module in modules if hasattr(module, "Converter"))


def reaches(form: Form, brought: tuple[Form, ...]) -> bool:
    """Return whether a form is one of those that a subject brings, or can be made of one of them."""
    return _cost(form, brought) is not None


def artifact_recipe(accepted: Sequence[Form], order: Order, fetch: Fetch) -> tuple[Form, Recipe | None]:
    """Return the accepted form that is the fewest steps away from the subject's, and the recipe of its files.

    Args:
        accepted: forms that a backend takes, best first.
        order: the subject and its data; its form does not matter.
        fetch: gets the sources of converters.

    Returns:
        The form, and its recipe; None if the subject brings the form.

    Raises:
        Unsupported: no converters lead to any of the forms, or one cannot convert this model.
    """
    brought = order.subject.forms
    ways = [(cost, form) for form in accepted if (cost := _cost(form, brought)) is not None]
    if not ways and all(one.precision == AS_IS for one in brought) and accepted[0].precision != AS_IS:
        raise Unsupported(f"{order.subject.name} is quantised or stored in 16 bits already: take precision={AS_IS}")
    if not ways:
        names = " or ".join(map(str, accepted))
        comes = ", ".join(map(str, brought))
        raise Unsupported(
            f"{order.subject.name} comes as {comes}, nothing converts that to {names}: take another backend"
        )
    form = min(ways, key=lambda way: way[0])[1]
    return form, _recipe(form, order, fetch)


def _recipe(form: Form, order: Order, fetch: Fetch) -> Recipe | None:
    """Return the recipe of a form that can be made; None if the subject brings it."""
    subject = order.subject
    if form in subject.forms:
        return None
    step = _step(form, subject.forms)
    assert step is not None
    converter, wanted = step.converter, Order(subject, order.dataset, order.shapes, form)
    source = _recipe(step.source, order, fetch)

    def build(target: Path) -> None:
        found = fetch(source) if source else subject.folder(step.source)
        try:
            converter.convert(wanted, found, target)
        except (JobFailure, Missing, OSError, MemoryError):
            raise
        except Exception as error:  # exporters and quantisers fail in their own ways on a model that they do not know
            log.warning("%s cannot make %s of %s", converter.name, form, subject.name, exc_info=True)
            what = f"{converter.name} cannot make {form} of {subject.name} ({gist(error)})"
            raise Unsupported(f"{what}: take another precision or backend") from error

    key = {
        "source": source.key if source else {"form": str(step.source), **subject.key},
        "form": str(form),
        "version": converter.version,
        **converter.key(wanted),
    }
    return Recipe(str(form), key, build, converter.environment)


def _step(form: Form, brought: tuple[Form, ...], passed: tuple[Form, ...] = ()) -> Step | None:
    """Return the last step of the shortest way to a form; None if no way leads to it."""
    steps = [
        (cost, Step(converter, source))
        for converter in all_converters()
        if converter.makes(form)
        for source in converter.sources
        if source not in passed and (cost := _cost(source, brought, (*passed, form))) is not None
    ]
    return min(steps, key=lambda found: found[0])[1] if steps else None


def _cost(form: Form, brought: tuple[Form, ...], passed: tuple[Form, ...] = ()) -> tuple[int, int] | None:
    """Return the steps to a form, and the place of the way's origin among the subject's forms; None without a way."""
    if form in brought:
        return 0, brought.index(form)
    step = _step(form, brought, passed)
    if step is None:
        return None
    cost = _cost(step.source, brought, (*passed, form))
    assert cost is not None
    return cost[0] + 1, cost[1]
