"""Check a network of a library before a launch: that it exists, takes the size of its input, and its weights fit."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runner.job import HOST_ENVIRONMENT, Job
from runner.protocol import Network
from runner.worker.artifacts.cache import Cache, Fetch, Recipe
from runner.worker.failures import Refused, gist

if TYPE_CHECKING:
    from runner.job import Subject
    from runner.worker.subjects.weights import Library

CHECK_VERSION = 1
"""Part of the cache key. Increment it when more is checked."""
ANSWER = "network.json"


def check_network(job: Job) -> Network:
    """Return what a network is; the answer is kept in the cache, so that nothing is imported the second time.

    Args:
        job: its subject and its cache count.

    Raises:
        Refused: the network does not take the size.
        JobFailure: the file of weights does not fit.
    """
    digests = {name: environment.digest for name, environment in job.run.environments.items()}
    cache = Cache(Path(job.run.cache_dir), digests, HOST_ENVIRONMENT)

    def build(folder: Path) -> None:
        (folder / ANSWER).write_text(json.dumps(asdict(_check(job.subject, cache.get))))

    key: dict[str, Any] = {"subject": asdict(job.subject), "version": CHECK_VERSION}
    if job.subject.weights_path is not None:
        with Path(job.subject.weights_path).open("rb") as stream:
            key["file"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return Network(**json.loads((cache.get(Recipe("network", key, build)) / ANSWER).read_text()))


def _check(subject: Subject, fetch: Fetch) -> Network:
    from runner.worker.subjects.network import preprocessing_of
    from runner.worker.subjects.weights import open_given_weights

    library = cast("Library", importlib.import_module(f"runner.worker.subjects.{subject.source}"))
    asked, size = subject.image_size, preprocessing_of(library, subject, fetch).size
    subject = replace(subject, image_size=size)
    classes = None
    if subject.weights == "file":
        classes = open_given_weights(library, subject, 0, None, fetch).classes
    if asked is not None:
        _try(library, subject, preprocessing_of(library, replace(subject, image_size=None), fetch).size)
    return Network(size, classes)


def _try(library: Library, subject: Subject, own: int) -> None:
    """Run the architecture on the meta device at a size.

    Raises:
        Refused: it does not take it, though it takes its own.
    """
    size = subject.image_size or own
    error = _error(library, subject, size)
    if error is not None and size != own and _error(library, subject, own) is None:
        if isinstance(error, Refused):
            raise error
        allowed = f"a size that {subject.name} takes, such as its own, {own}"
        raise Refused("model.image_size", size, allowed, f"It fails with {gist(error)}") from error


def _error(library: Library, subject: Subject, size: int) -> Exception | None:
    """Return the exception of a run at a size; None if it succeeds."""
    import torch

    classes = 0 if subject.task == "embedding" else None
    try:
        with torch.device("meta"), torch.no_grad():
            library.build(subject.name, size, classes)(torch.empty(1, 3, size, size))
    except Exception as error:  # each architecture has its own for a size that it does not take
        return error
    return None
