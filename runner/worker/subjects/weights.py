"""Weights of torchvision and timm networks: made, downloaded or read. Files may contain tensors only, no code."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner.job import Data, Subject
from runner.protocol import BUNDLED_SAMPLES
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.datasets import FITTING_IMAGES, Dataset
from runner.worker.data.images import open_images
from runner.worker.data.preprocessing import Preprocessing, imagenet
from runner.worker.failures import BadInput, Refused, Unavailable
from runner.worker.subjects import state_dicts

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

PROBE_VERSION = 4
"""Part of the cache key. Increment it when the way of making probes changes: cached ones become invalid."""
FILE_VERSION = 1
"""The same for the reading of files of weights."""
STATE_FILE, FACTS_FILE = "state.pt", "weights.json"


class Library(Protocol):
    """A library that defines networks."""

    def build(self, name: str, image_size: int, classes: int | None) -> nn.Module:
        """Return an architecture with newly initialised weights; `classes` None takes the library's default."""

    def pretrained(self, name: str) -> nn.Module:
        """Return an architecture with the weights that the library publishes.

        Raises:
            OSError: they are not in the hub's cache, and the download failed.
        """

    def preprocessing(self, name: str) -> Preprocessing:
        """Return how the library prepares pictures for an architecture, at the architecture's own size."""

    def class_names(self, name: str) -> Mapping[int, str]:
        """Return the names of the classes of the published weights, by number."""

    def relatives(self, name: str) -> Sequence[str]:
        """Return the architectures most similar to one by name, the most similar first."""


class Weights(Protocol):
    """A source of a network's weights."""

    @property
    def digest(self) -> str:
        """Changes if the weights do; part of the cache key of everything made from them."""

    @property
    def classes(self) -> int | None:
        """Number of outputs; None for the library's default."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was concluded about them, for readers of the result."""

    @property
    def int8_sqnr_db(self) -> float | None:
        """What int8 leaves of a probe, in dB, by :mod:`runner.worker.subjects.probes.fake_int8`; None for others."""

    def module(self) -> nn.Module:
        """Return the network with these weights, in evaluation mode, in fp32."""


def open_weights(library: Library, subject: Subject, seed: int, dataset: Dataset, fetch: Fetch) -> Weights:
    """Return the weights of a network.

    Args:
        library: builds the network.
        subject: the network.
        seed: of random weights and of the probe.
        dataset: the job's images; the probe's classifier is fitted on its training samples.
        fetch: gets the probe.

    Raises:
        BadInput: the kind of weights is unknown.
    """
    if subject.weights != "probe":
        return open_given_weights(library, subject, seed, dataset.source.classes, fetch)
    labelled = dataset if dataset.source.labels is not None else _digits(subject.image_size or 0, seed, fetch)
    folder = fetch(probe_recipe(library, subject, seed, labelled))
    fresh = Fresh(library, subject, seed, labelled.source.classes)
    sqnr_db = json.loads((folder / FACTS_FILE).read_text())["int8_sqnr_db"]
    return FileWeights(fresh, folder / STATE_FILE, _digest(folder / STATE_FILE), int8_sqnr_db=sqnr_db)


def open_given_weights(library: Library, subject: Subject, seed: int, classes: int | None, fetch: Fetch) -> Weights:
    """Return weights that depend on no data.

    Args:
        library: builds the network.
        subject: the network.
        seed: of random weights.
        classes: number of outputs; None for the library's default. A file and `model.classes` say it themselves.
        fetch: gets the file as it was read.

    Raises:
        BadInput: the kind of weights is unknown, or the file does not fit.
        Missing: from `fetch`.
    """
    if subject.weights == "random":
        count = subject.classes or classes
        return RandomWeights(Fresh(library, subject, seed, count), f"random, seed {seed}, {count} classes")
    if subject.weights == "file" and subject.weights_path is not None:
        folder = fetch(file_recipe(library, subject))
        facts = json.loads((folder / FACTS_FILE).read_text())
        fresh = Fresh(library, subject, seed, facts["classes"])
        return FileWeights(fresh, folder / STATE_FILE, facts["digest"], tuple(facts["notes"]))
    if subject.weights == "pretrained":
        # Which weights a library publishes under a name depends on its version: the environment is part of every key.
        return PretrainedWeights(library, subject.name, f"pretrained {version(subject.source)}")
    raise BadInput(f"weights={subject.weights}: unknown; allowed: random, file, pretrained, for classifiers probe")


def _digits(image_size: int, seed: int, fetch: Fetch) -> Dataset:
    """Return the digits, all of them: they fit the probe if the job's own images have no labels."""
    training, evaluation = BUNDLED_SAMPLES["digits"]
    digits = Data("digits", evaluation_samples=evaluation, calibration_samples=training)
    return open_images(digits, imagenet(image_size), seed, fetch)


def _digest(path: Path) -> str:
    """Return a file's SHA-256, read in pieces: a state_dict in one piece would count in the process's peak memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Fresh:
    """A network with newly initialised weights."""

    builder: Library
    subject: Subject
    seed: int
    classes: int | None

    def module(self) -> nn.Module:
        """Return the network with its library's initialisation, drawn by the seed."""
        import torch

        torch.manual_seed(self.seed)
        return self.builder.build(self.subject.name, self.subject.image_size or 0, self.classes)


@dataclass(frozen=True)
class RandomWeights:
    """Random weights from a seed."""

    fresh: Fresh
    digest: str
    notes: tuple[str, ...] = ()
    int8_sqnr_db: None = None

    @property
    def classes(self) -> int | None:
        """Number of outputs; None for the library's default."""
        return self.fresh.classes

    def module(self) -> nn.Module:
        """Return the network with its library's initialisation."""
        return self.fresh.module()


@dataclass(frozen=True)
class PretrainedWeights:
    """The pretrained weights of the network's library, from its hub or the hub's cache."""

    builder: Library
    name: str
    digest: str
    classes: None = None
    notes: tuple[str, ...] = ()
    int8_sqnr_db: None = None

    def module(self) -> nn.Module:
        """Return the network with the published weights.

        Raises:
            Unavailable: the download failed.
        """
        try:
            return self.builder.pretrained(self.name)
        except OSError as error:  # base class of the errors of urllib and the hub
            raise Unavailable(
                f"pretrained weights of {self.name} could not be fetched "
                f"({type(error).__name__}): take weights=probe, or fill the hub's cache on a machine with a network"
            ) from error


@dataclass(frozen=True)
class FileWeights:
    """A state_dict in the cache, whose names are those of the network."""

    fresh: Fresh
    path: Path
    digest: str
    notes: tuple[str, ...] = ()
    int8_sqnr_db: float | None = None
    """What int8 leaves of a probe, by :mod:`runner.worker.subjects.probes.fake_int8`; None for other weights."""

    @property
    def classes(self) -> int | None:
        """Number of outputs; None for the library's default."""
        return self.fresh.classes

    def module(self) -> nn.Module:
        """Return the network with these weights."""
        import torch

        module = self.fresh.module()
        module.load_state_dict(torch.load(self.path, map_location="cpu", weights_only=True), strict=False)
        return module


def file_recipe(library: Library, subject: Subject) -> Recipe:
    """Return the recipe of a file of weights, as the network takes them: its own names, no wrapper and no prefix."""
    path = Path(subject.weights_path or "")
    try:
        digest = _digest(path)
    except OSError as error:
        raise BadInput(f"weights.path={path} cannot be read: {error.strerror}") from error

    def build(folder: Path) -> None:
        import torch

        state, classes = read_weights(library, subject)
        torch.save(state.tensors, folder / STATE_FILE)
        facts = {"digest": f"{digest} {subject.weights_key} {classes}", "classes": classes, "notes": state.notes}
        (folder / FACTS_FILE).write_text(json.dumps(facts))

    key = {
        "source": subject.source,
        "name": subject.name,
        "image_size": subject.image_size,
        "task": subject.task,
        "classes": subject.classes,
        "file": digest,
        "key": subject.weights_key,
        "version": FILE_VERSION,
    }
    return Recipe("weights", key, build)


def read_weights(library: Library, subject: Subject) -> tuple[state_dicts.StateDict, int | None]:
    """Return the tensors of a file that fit a network, and its number of classes; None for the library's default.

    Raises:
        BadInput: the file is damaged, or does not fit; the message has the first keys that differ, and the
            architecture that would fit if there is one.
    """
    path = Path(subject.weights_path or "")
    # Without a classifier, as for features, all numbers of classes are the same.
    default = 0 if subject.task == "embedding" else None
    wanted = _shapes(library, subject, subject.name, default)
    state = state_dicts.read_state(path, subject.weights_key, wanted)
    classes = default
    if default is None:
        other = _shapes(library, subject, subject.name, 7)
        found = state_dicts.classes_of(state, wanted, other)
        classes = subject.classes or found
        wanted = other if classes == 7 else _shapes(library, subject, subject.name, classes)
    elif default == 0:
        head = [name for name in state.tensors if name not in wanted]
        state = state_dicts.without(state, head if len(head) <= state_dicts.MAX_HEAD else [])
    if wrong := state_dicts.differences(state, wanted):
        many = f" with {classes} classes" if classes else ""
        remedy = f"{state_dicts.some(wrong)}{_better(library, subject, state)}"
        raise Refused(state_dicts.FIELD, path, f"weights of {subject.name}{many}", remedy)
    return state, classes


def _better(library: Library, subject: Subject, state: state_dicts.StateDict) -> str:
    """Return the advice to take another architecture, the first relative that fits a file; empty if none does."""
    for name in library.relatives(subject.name):
        try:
            wanted, other = (_shapes(library, subject, name, count) for count in (None, 7))
            classes = state_dicts.classes_of(state, wanted, other)
            if not state_dicts.differences(state, _shapes(library, subject, name, classes)):
                return f". It fits {name}: take model.name={name}"
        except Exception as error:  # each architecture has its own for a size that it does not take
            log.info("%s is no alternative: %r", name, error)
    return ""


def _shapes(library: Library, subject: Subject, name: str, classes: int | None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an architecture's parameters and buffers."""
    import torch

    with torch.device("meta"):
        return state_dicts.shapes_of(library.build(name, subject.image_size or 0, classes))


def probe_recipe(library: Library, subject: Subject, seed: int, dataset: Dataset) -> Recipe:
    """Return the recipe of a network's probe.

    Args:
        library: builds the network.
        subject: the network.
        seed: of the random directions.
        dataset: the probe is fitted on its training samples.
    """
    classes = dataset.source.classes

    def build(folder: Path) -> None:
        import torch

        from runner.worker.subjects.probes.fake_int8 import judge_probe
        from runner.worker.subjects.probes.image_probe import make_probe

        module = Fresh(library, subject, seed, classes).module()
        torch.save(make_probe(module, dataset, classes, seed), folder / STATE_FILE)
        (folder / FACTS_FILE).write_text(json.dumps({"int8_sqnr_db": judge_probe(module, dataset)}))

    key = {
        "source": subject.source,
        "name": subject.name,
        "image_size": subject.image_size,
        "seed": seed,
        "classes": classes,
        "training": dataset.digest_of(dataset.training[:FITTING_IMAGES]),
        "version": PROBE_VERSION,
    }
    return Recipe("probe", key, build)
