"""Weights of torchvision and timm networks: made, downloaded or read. Files may contain tensors only, no code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner.job import Data, Subject
from runner.protocol import BUNDLED_SAMPLES
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.datasets import FITTING_SAMPLES, Dataset, open_dataset
from runner.worker.failures import BadInput, Unavailable

if TYPE_CHECKING:
    import torch
    from torch import nn

PROBE_VERSION = 2
"""Part of the cache key. Increment it when the way of making probes changes: cached ones become invalid."""
STATE_FILE = "state.pt"


class Library(Protocol):
    """A library that defines networks."""

    def build(self, name: str, image_size: int, classes: int | None) -> nn.Module:
        """Return an architecture with newly initialised weights; `classes` None takes the library's default."""

    def pretrained(self, name: str) -> nn.Module:
        """Return an architecture with the weights that the library publishes.

        Raises:
            OSError: they are not in the hub's cache, and the download failed.
        """


class Weights(Protocol):
    """A source of a network's weights."""

    @property
    def digest(self) -> str:
        """Changes if the weights do; part of the cache key of everything made from them."""

    @property
    def classes(self) -> int | None:
        """Number of outputs; None for the library's default."""

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
        return open_given_weights(library, subject, seed, dataset.source.classes)
    labelled = dataset if dataset.source.labels is not None else _digits(subject.image_size, seed, fetch)
    folder = fetch(probe_recipe(library, subject, seed, labelled))
    fresh = Fresh(library, subject, seed, labelled.source.classes)
    return FileWeights(fresh, folder / STATE_FILE, _digest(folder / STATE_FILE))


def open_given_weights(library: Library, subject: Subject, seed: int, classes: int | None) -> Weights:
    """Return weights that depend on no data.

    Args:
        library: builds the network.
        subject: the network.
        seed: of random weights.
        classes: number of outputs; None for the library's default.

    Raises:
        BadInput: the kind of weights is unknown.
    """
    fresh = Fresh(library, subject, seed, classes)
    if subject.weights == "random":
        return RandomWeights(fresh, f"random, seed {seed}, {classes} classes")
    if subject.weights == "file" and subject.weights_path is not None:
        path = Path(subject.weights_path)
        return FileWeights(fresh, path, _digest(path))
    if subject.weights == "pretrained":
        # Which weights a library publishes under a name depends on its version: the environment is part of every key.
        return PretrainedWeights(library, subject.name, f"pretrained {version(subject.source)}")
    raise BadInput(f"weights={subject.weights}: unknown; allowed: random, file, pretrained, for classifiers probe")


def _digits(image_size: int, seed: int, fetch: Fetch) -> Dataset:
    """Return the digits, all of them: they fit the probe if the job's own images have no labels."""
    training, evaluation = BUNDLED_SAMPLES["digits"]
    digits = Data("digits", evaluation_samples=evaluation, calibration_samples=training)
    return open_dataset(digits, image_size, seed, fetch)


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
        return self.builder.build(self.subject.name, self.subject.image_size, self.classes)


@dataclass(frozen=True)
class RandomWeights:
    """Random weights from a seed."""

    fresh: Fresh
    digest: str

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
    """A state_dict in a file."""

    fresh: Fresh
    path: Path
    digest: str

    @property
    def classes(self) -> int | None:
        """Number of outputs; None for the library's default."""
        return self.fresh.classes

    def module(self) -> nn.Module:
        """Return the network with the file's weights.

        Raises:
            BadInput: the file is damaged, contains anything but tensors, or belongs to another network.
        """
        module = self.fresh.module()
        state = read_state(self.path)
        try:
            module.load_state_dict(state)
        except RuntimeError as error:  # PyTorch's error for missing, unexpected and misshaped tensors
            lines = [line.strip() for line in str(error).splitlines()[1:3]]
            raise BadInput(
                f"weights.path={self.path} does not fit {self.fresh.subject.name} with {self.classes} classes: "
                f"{' '.join(lines)[:200]}"
            ) from error
        return module


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file, or of a state_dict saved by torch.save.

    Raises:
        BadInput: the file is damaged, or contains anything but tensors: a pickle may contain code, so it is rejected.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each kind of damage has its own exception: zip, pickle, EOF, safetensors, …
        first_line = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
        raise BadInput(
            f"weights.path={path} is damaged or not a state_dict of tensors ({type(error).__name__}: {first_line}): "
            f"save it again with torch.save(model.state_dict(), …) or as .safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise BadInput(f"weights.path={path} holds no state_dict: save model.state_dict(), not the model")
    return state


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

        from runner.worker.subjects.probe import make_probe

        module = Fresh(library, subject, seed, classes).module()
        torch.save(make_probe(module, dataset, classes, seed), folder / STATE_FILE)

    key = {
        "source": subject.source,
        "name": subject.name,
        "image_size": subject.image_size,
        "seed": seed,
        "classes": classes,
        "training": dataset.digest_of(dataset.training[:FITTING_SAMPLES]),
        "version": PROBE_VERSION,
    }
    return Recipe("probe", key, build)
