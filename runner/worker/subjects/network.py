"""A network that takes images, built by its library's definition, with the job's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runner.job import Job
from runner.job import Subject as Choice
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.datasets import Dataset
from runner.worker.data.images import open_images
from runner.worker.data.preprocessing import Preprocessing, imagenet
from runner.worker.subjects.modules import ModuleSubject
from runner.worker.subjects.subject import BATCH, MODULE, Batch, Port, Signature, Subject
from runner.worker.subjects.weights import Library, Weights, open_given_weights, open_weights

if TYPE_CHECKING:
    from torch import nn

TRAINED = ("pretrained", "file")
"""Kinds of weights that have seen pictures, prepared as the library does."""
FACTS_VERSION = 1
"""Part of the cache key. Increment it when more is asked of a library."""
FACTS_FILE = "facts.json"
IMAGES, LOGITS = "images", "logits"
"""Names of the input and of the output."""


class Network(Subject):
    """An architecture with its weights. :meth:`module` imports its library; nothing else does."""

    task = "image-classification"
    forms = (MODULE,)

    def __init__(self, library: Library, source: str, name: str, image_size: int, weights: Weights) -> None:
        """Store the network's parts.

        Args:
            library: builds the architecture.
            source: the library's name.
            name: the architecture's name in the library's registry.
            image_size: height and width in pixels.
            weights: the source of its weights.
        """
        self._library = library
        self._source = source
        self.name = name
        self._image_size = image_size
        self._weights = weights
        self.notes = weights.notes
        self.signature = Signature(
            inputs=(Port(IMAGES, "float32", (BATCH, 3, image_size, image_size)),),
            outputs=(Port(LOGITS, "float32", (BATCH, weights.classes or "classes")),),
        )

    @property
    def digest(self) -> str:
        """Changes if the weights do."""
        return self._weights.digest

    @property
    def key(self) -> dict[str, Any]:
        """Everything that the network's function depends on, as JSON values."""
        return {"source": self._source, "name": self.name, "weights": self.digest, "signature": self.signature.key}

    def module(self) -> nn.Module:
        """Return the network in evaluation mode, in fp32."""
        return self._weights.module()

    def meta_module(self) -> nn.Module:
        """Return the architecture on the meta device."""
        import torch

        with torch.device("meta"):
            return self._library.build(self.name, self._image_size, self._weights.classes)

    def inputs(self, samples: Any) -> Batch:
        """Return images as the only input."""
        return {IMAGES: samples}


def open_network(library: object, job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return the images of a job, and its network: a classifier, or with another task any network that takes images.

    Args:
        library: a module with the functions of :class:`Library`.
        job: what to run.
        fetch: gets artifacts.

    Raises:
        JobFailure: they are not available, or do not fit each other.
        Missing: from `fetch`.
    """
    builder = cast("Library", library)  # a module; mypy does not see that one in sys.modules is a Library
    preparation = preprocessing_of(builder, job.subject, fetch)
    # From here on the size is known, also if it is the network's own.
    job = replace(job, subject=replace(job.subject, image_size=preparation.size))
    subject, seed = job.subject, job.run.seed
    if subject.task != Network.task:
        return open_images(job.data, preparation, seed, fetch), _open_module(builder, job, fetch)
    names = _class_names(builder, subject, fetch)
    dataset = open_images(job.data, preparation, seed, fetch, names)
    weights = open_weights(builder, subject, seed, dataset, fetch)
    found = Network(builder, subject.source, subject.name, preparation.size, weights)
    found.classes, found.class_names = len(names) if names else None, names
    found.int8_sqnr_db = weights.int8_sqnr_db
    return dataset, found


def preprocessing_of(library: Library, subject: Choice, fetch: Fetch) -> Preprocessing:
    """Return how pictures are prepared: as the network's library does, unless the weights have not seen any pictures.

    Args:
        library: defines the network.
        subject: the network, with the size of its input if it is not the network's own, and what else is changed.
        fetch: gets what the library says: a measured process does not import it.

    Raises:
        Missing: from `fetch`.
    """
    trained = subject.weights in TRAINED
    if not trained and subject.image_size is not None:
        return imagenet(subject.image_size).changed(subject.preprocessing)
    own = Preprocessing(**_facts(library, subject, fetch)["preprocessing"]).at(subject.image_size)
    return (own if trained else imagenet(own.size)).changed(subject.preprocessing)


def _class_names(library: Library, subject: Choice, fetch: Fetch) -> Mapping[int, str] | None:
    """Return the names of a network's classes by number; None if its weights take the classes of the data."""
    if subject.weights == "pretrained":
        return {int(number): name for number, name in _facts(library, subject, fetch)["classes"].items()}
    count = subject.classes
    if subject.weights == "file":
        count = open_given_weights(library, subject, 0, None, fetch).classes
    return None if count is None else {number: f"class {number}" for number in range(count)}


def _facts(library: Library, subject: Choice, fetch: Fetch) -> dict[str, Any]:
    """Return what a library says about an architecture: its preprocessing, and the classes of its published weights."""

    def build(folder: Path) -> None:
        classes = library.class_names(subject.name) if subject.weights == "pretrained" else {}
        found = {"preprocessing": asdict(library.preprocessing(subject.name)), "classes": dict(classes)}
        (folder / FACTS_FILE).write_text(json.dumps(found))

    key = {
        "source": subject.source,
        "name": subject.name,
        "published": subject.weights == "pretrained",
        "version": FACTS_VERSION,
    }
    facts: dict[str, Any] = json.loads((fetch(Recipe("facts", key, build)) / FACTS_FILE).read_text())
    for name in ("mean", "std"):
        facts["preprocessing"][name] = tuple(facts["preprocessing"][name])
    return facts


def _open_module(library: Library, job: Job, fetch: Fetch) -> Subject:
    """Return a network whose outputs have no known meaning, as of segmentation: all that its library defines.

    Raises:
        BadInput: the file of weights does not fit.
        Unavailable: the published weights could not be fetched.
        Missing: from `fetch`.
    """
    subject = job.subject
    size = subject.image_size or 0
    classes = 0 if subject.task == "embedding" else None  # without a classifier, a network returns its features
    weights = open_given_weights(library, subject, job.run.seed, classes, fetch)
    digest = hashlib.sha256(
        json.dumps([subject.source, subject.name, subject.task, weights.digest]).encode()
    ).hexdigest()
    port = Port(IMAGES, "float32", (BATCH, 3, size, size))
    found = ModuleSubject(subject.name, subject.task, weights.module, digest, (port,), positional=True)
    found.notes = weights.notes
    found.find_outputs(fetch)
    return found
