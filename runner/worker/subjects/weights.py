"""Weights: made, fetched or read, and put into the network. Only tensors are ever read, never code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.protocol import BUNDLED_SAMPLES, Data, Subject
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.data.datasets import FITTING_SAMPLES, Dataset, open_dataset
from runner.worker.failures import BadInput, Unavailable
from runner.worker.subjects.models import Weights, build_module, pretrained_module

if TYPE_CHECKING:
    import torch
    from torch import nn

PROBE_VERSION = 2
"""Raised when the way the probe is made changes, so that cached ones are no longer found."""
STATE_FILE = "state.pt"


def open_weights(subject: Subject, seed: int, dataset: Dataset, fetch: Fetch) -> Weights:
    """Return the weights of a network.

    Args:
        subject: the network.
        seed: of the weights that are random, and of the probe.
        dataset: the job's images; the probe's classifier is fitted on those for training.
        fetch: gets the probe.
    """
    classes = dataset.source.classes
    if subject.weights == "probe":
        labelled = dataset if dataset.source.labels is not None else _digits(subject.image_size, seed, fetch)
        folder = fetch(probe_recipe(subject, seed, labelled))
        digest = hashlib.sha256((folder / STATE_FILE).read_bytes()).hexdigest()
        return FileWeights(subject, seed, labelled.source.classes, folder / STATE_FILE, digest)
    if subject.weights == "random":
        return RandomWeights(subject, seed, classes, f"random, seed {seed}, {classes} classes")
    if subject.weights == "file" and subject.weights_path is not None:
        path = Path(subject.weights_path)
        return FileWeights(subject, seed, classes, path, hashlib.sha256(path.read_bytes()).hexdigest())
    if subject.weights == "pretrained":
        return PretrainedWeights(subject, f"pretrained {package_versions(subject.source)}")
    raise BadInput(f"unknown weights {subject.weights!r}")


def _digits(image_size: int, seed: int, fetch: Fetch) -> Dataset:
    """Return the digits: what the probe is fitted on if the job's own images have no labels."""
    training, evaluation = BUNDLED_SAMPLES["digits"]
    digits = Data("digits", evaluation_samples=evaluation, calibration_samples=training)
    return open_dataset(digits, image_size, seed, fetch)


@dataclass(frozen=True)
class RandomWeights:
    """Random weights of the job's seed."""

    subject: Subject
    seed: int
    classes: int
    digest: str

    def module(self) -> nn.Module:
        """Return the network as its library initialises it."""
        return _fresh(self.subject, self.seed, self.classes)


@dataclass(frozen=True)
class PretrainedWeights:
    """The library's own pretrained weights, from its hub or the hub's cache."""

    subject: Subject
    digest: str

    def module(self) -> nn.Module:
        """Return the network with the weights its library publishes.

        Raises:
            Unavailable: they could not be fetched.
        """
        try:
            return pretrained_module(self.subject.source, self.subject.name)
        except OSError as error:  # urllib's and the hub's errors are all OSErrors
            raise Unavailable(
                f"pretrained weights of {self.subject.name} could not be fetched "
                f"({type(error).__name__}): take weights=probe, or fill the hub's cache on a machine with a network"
            ) from error


@dataclass(frozen=True)
class FileWeights:
    """A state_dict in a file."""

    subject: Subject
    seed: int
    classes: int
    path: Path
    digest: str

    def module(self) -> nn.Module:
        """Return the network with the file's weights.

        Raises:
            BadInput: the file is damaged, holds more than tensors, or fits another network.
        """
        module = _fresh(self.subject, self.seed, self.classes)
        state = read_state(self.path)
        try:
            module.load_state_dict(state)
        except RuntimeError as error:  # torch's one error for missing, unexpected and misshapen tensors
            lines = [line.strip() for line in str(error).splitlines()[1:3]]
            raise BadInput(
                f"weights.path={self.path} does not fit {self.subject.name} with {self.classes} classes: "
                f"{' '.join(lines)[:200]}"
            ) from error
        return module


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file, or of a state_dict that torch.save wrote.

    Raises:
        BadInput: the file is damaged, or holds anything but tensors: a pickle may carry code, so it is refused.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each damage has its own type: zip, pickle, EOF, safetensors, …
        first_line = str(error).strip().splitlines()[0][:160] if str(error).strip() else ""
        raise BadInput(
            f"weights.path={path} is not a whole state_dict of tensors only ({type(error).__name__}: {first_line}): "
            f"save it again with torch.save(model.state_dict(), …) or as .safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise BadInput(f"weights.path={path} holds no state_dict: save model.state_dict(), not the model")
    return state


def _fresh(subject: Subject, seed: int, classes: int) -> nn.Module:
    import torch

    torch.manual_seed(seed)
    return build_module(subject.source, subject.name, subject.image_size, classes)


def probe_recipe(subject: Subject, seed: int, dataset: Dataset) -> Recipe:
    """Return how the probe of a network is made."""

    def build(folder: Path) -> None:
        import torch

        from runner.worker.subjects.probe import make_probe

        module = _fresh(subject, seed, dataset.source.classes)
        torch.save(make_probe(module, dataset, dataset.source.classes, seed), folder / STATE_FILE)

    key = {
        "source": subject.source,
        "name": subject.name,
        "image_size": subject.image_size,
        "seed": seed,
        "training": dataset.digest_of(dataset.training[:FITTING_SAMPLES]),
        # No package versions: an interpreter with another torch uses the same weights. What is in them has a digest.
        "version": PROBE_VERSION,
    }
    return Recipe("probe", key, build)
