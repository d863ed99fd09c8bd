"""Weights of torchvision and timm networks: made, downloaded or read. Files may contain tensors only, no code."""

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
"""Part of the cache key. Increment it when the way of making probes changes: cached ones become invalid."""
STATE_FILE = "state.pt"


def open_weights(subject: Subject, seed: int, dataset: Dataset, fetch: Fetch) -> Weights:
    """Return the weights of a network.

    Args:
        subject: the network.
        seed: of random weights and of the probe.
        dataset: the job's images; the probe's classifier is fitted on its training samples.
        fetch: gets the probe.

    Raises:
        BadInput: the kind of weights is unknown.
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
    raise BadInput(f"weights={subject.weights}: unknown; allowed: probe, random, file, pretrained")


def _digits(image_size: int, seed: int, fetch: Fetch) -> Dataset:
    """Return the digits, all of them: they fit the probe if the job's own images have no labels."""
    training, evaluation = BUNDLED_SAMPLES["digits"]
    digits = Data("digits", evaluation_samples=evaluation, calibration_samples=training)
    return open_dataset(digits, image_size, seed, fetch)


@dataclass(frozen=True)
class RandomWeights:
    """Random weights from a seed."""

    subject: Subject
    seed: int
    classes: int
    digest: str

    def module(self) -> nn.Module:
        """Return the network with its library's initialisation."""
        return _fresh(self.subject, self.seed, self.classes)


@dataclass(frozen=True)
class PretrainedWeights:
    """The pretrained weights of the network's library, from its hub or the hub's cache."""

    subject: Subject
    digest: str

    def module(self) -> nn.Module:
        """Return the network with the published weights.

        Raises:
            Unavailable: the download failed.
        """
        try:
            return pretrained_module(self.subject.source, self.subject.name)
        except OSError as error:  # base class of the errors of urllib and the hub
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
            BadInput: the file is damaged, contains anything but tensors, or belongs to another network.
        """
        module = _fresh(self.subject, self.seed, self.classes)
        state = read_state(self.path)
        try:
            module.load_state_dict(state)
        except RuntimeError as error:  # PyTorch's error for missing, unexpected and misshaped tensors
            lines = [line.strip() for line in str(error).splitlines()[1:3]]
            raise BadInput(
                f"weights.path={self.path} does not fit {self.subject.name} with {self.classes} classes: "
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


def _fresh(subject: Subject, seed: int, classes: int) -> nn.Module:
    import torch

    torch.manual_seed(seed)
    return build_module(subject.source, subject.name, subject.image_size, classes)


def probe_recipe(subject: Subject, seed: int, dataset: Dataset) -> Recipe:
    """Return the recipe of a network's probe.

    Args:
        subject: the network.
        seed: of the random directions.
        dataset: the probe is fitted on its training samples.
    """

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
        # No package versions: an interpreter with another PyTorch uses the same weights, and their digest covers them.
        "version": PROBE_VERSION,
    }
    return Recipe("probe", key, build)
