"""Converters between forms of a model, and the shortest way from the forms that a subject brings to one that runs.

A converter is a module of this folder with a class ``Converter``; adding one is adding a file. What it makes is an
artifact of the cache: its key contains the key of what it was made from, so that keys chain back to the subject.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from runner.job import HOST_ENVIRONMENT
from runner.protocol import AS_IS
from runner.worker import converters
from runner.worker.artifacts.cache import Fetch, Missing, Recipe
from runner.worker.data.datasets import Dataset
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import JobFailure, Refused, Unsupported, gist
from runner.worker.subjects.subject import GENERATION, Form, Shapes, Subject

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
    steering: Mapping[str, Any] = field(default_factory=dict)
    """What was changed of a quantiser: see :attr:`runner.job.Engine.steering`."""


class Converter(ABC):
    """Makes one form of a model from another."""

    name: ClassVar[str]
    """Who converts, for messages."""
    sources: ClassVar[tuple[Form, ...]]
    """The forms that it reads, best first."""
    environment: ClassVar[str] = HOST_ENVIRONMENT
    """The environment whose interpreter runs it."""
    steered_by: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The fields of :attr:`Order.steering` that have an effect, with their values; () for any."""
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
    if order.subject.task == GENERATION:
        raise Unsupported(alternative)
    return {"calibration": order.dataset.digest_of(order.dataset.calibration)}


def chosen(wanted: Sequence[str], types_by_name: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the names and the types of a graph's operations that `precision.ignore` lists.

    Args:
        wanted: names, which may have * and ?, or types.
        types_by_name: the types of the graph's operations, by name.

    Raises:
        Refused: one matches nothing; the remedy names the nearest.
    """
    names: list[str] = []
    types: list[str] = []
    for word in wanted:
        if word in types_by_name.values():
            types.append(word)
        elif found := [name for name in types_by_name if name == word or fnmatchcase(name, word)]:
            names += found
        else:
            known = [*dict.fromkeys(types_by_name.values()), *types_by_name]
            near = difflib.get_close_matches(word, known, n=3, cutoff=0.3) or known[:3]
            allowed = "names of operations of the graph, with * and ?, or their types"
            raise Refused("precision.ignore", word, allowed, f"Nothing matches; the nearest: {', '.join(near)}")
    return names, types


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
    _refuse_steering(form, order)
    return form, _recipe(form, order, fetch)


def _refuse_steering(form: Form, order: Order) -> None:
    """Refuse settings of a quantiser that would have no effect: a row must not claim them.

    Raises:
        Unsupported: the last step to the form knows no such setting, or not this value.
    """
    step = None if form in order.subject.forms else _step(form, order.subject.forms)
    known = step.converter.steered_by if step else {}
    who = step.converter.name if step else f"a model that comes as {form}"
    for name, value in order.steering.items():
        if name not in known:
            raise Unsupported(f"precision.{name} has no effect on {who}: leave it out, or take another backend")
        if known[name] and value not in known[name]:
            raise Unsupported(f"{who} has no precision.{name}={value}: take {' or '.join(known[name])}")


def _recipe(form: Form, order: Order, fetch: Fetch) -> Recipe | None:
    """Return the recipe of a form that can be made; None if the subject brings it."""
    subject = order.subject
    if form in subject.forms:
        return None
    step = _step(form, subject.forms)
    assert step is not None
    converter, wanted = step.converter, replace(order, form=form)
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
    if converter.steered_by and order.steering:
        key["steering"] = dict(order.steering)
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
