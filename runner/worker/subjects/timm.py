"""Networks of timm, with the job's weights."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.job import Job
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset
from runner.worker.data.preprocessing import Preprocessing
from runner.worker.failures import Refused, gist
from runner.worker.libraries import declare_torchvision_operators
from runner.worker.subjects.network import open_network
from runner.worker.subjects.subject import Subject
from runner.worker.subjects.torchvision import IMAGENET_CLASSES, imagenet_classes

if TYPE_CHECKING:
    from torch import nn

RELATIVES = 6
"""Architectures that are tried if a file of weights does not fit."""


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return a job's images and its network; see :class:`runner.worker.subjects.subject.Opener`."""
    return open_network(sys.modules[__name__], job, fetch)


def build(name: str, image_size: int, classes: int | None) -> nn.Module:
    """Return an architecture with newly initialised weights, in evaluation mode.

    Args:
        name: the architecture's name in timm's registry.
        image_size: height and width in pixels; only architectures with a fixed number of patches depend on it.
        classes: number of outputs; None for the library's default.
    """
    declare_torchvision_operators()  # timm imports torchvision
    import timm

    sized: dict[str, Any] = {"img_size": image_size} if _is_resized(name, image_size) else {}
    counted: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        module: nn.Module = timm.create_model(name, **counted, **sized)
    except (
        TypeError,
        ValueError,
        AssertionError,
    ) as error:  # each architecture has its own for a size it does not take
        if not sized:
            raise
        allowed = f"the size of {name}, {_own_size(name)}"
        raise Refused("model.image_size", image_size, allowed, f"It takes no other: {gist(error)}") from error
    return module.eval()


def pretrained(name: str) -> nn.Module:
    """Return an architecture with the weights that the library publishes, in evaluation mode.

    Raises:
        OSError: they are not in the hub's cache, and the download failed.
    """
    declare_torchvision_operators()
    import timm

    module: nn.Module = timm.create_model(name, pretrained=True)
    return module.eval()


def preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing of an architecture's pretrained_cfg, as timm's create_transform reads it."""
    settings = _settings(name)
    from timm.data.config import resolve_data_config

    found: dict[str, Any] = resolve_data_config(pretrained_cfg=settings)  # type: ignore[no-untyped-call]  # no types
    size = int(found["input_size"][-1])
    return Preprocessing(
        size=size,
        resized=math.floor(size / found["crop_pct"]),
        squash=found["crop_mode"] == "squash",
        interpolation=found["interpolation"],
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        origin="timm's pretrained_cfg",
    )


def class_names(name: str) -> Mapping[int, str]:
    """Return the names of the classes of the published weights: WordNet's for the 1,000 of ImageNet."""
    count = int(_settings(name).get("num_classes", 1000))
    return imagenet_classes() if count == IMAGENET_CLASSES else {number: f"class {number}" for number in range(count)}


def relatives(name: str) -> Sequence[str]:
    """Return the architectures most similar to one by name."""
    import timm

    others = [other for other in timm.list_models() if other != name.split(".", maxsplit=1)[0]]
    return difflib.get_close_matches(name.split(".", maxsplit=1)[0], others, n=RELATIVES, cutoff=0.5)


def _settings(name: str) -> dict[str, Any]:
    """Return the pretrained_cfg of an architecture."""
    declare_torchvision_operators()
    import timm

    found = timm.models.get_pretrained_cfg(name)
    return dict(found.to_dict()) if found else {}  # type: ignore[no-untyped-call]  # timm has no types


def _is_resized(name: str, image_size: int) -> bool:
    """Return whether an architecture depends on the image size, by its number of patches, and has another."""
    import timm

    found = timm.models.get_pretrained_cfg(name)
    return bool(found and found.fixed_input_size) and image_size != _own_size(name)


def _own_size(name: str) -> int | None:
    """Return the image size that an architecture was defined for; None if the library does not say."""
    import timm

    found = timm.models.get_pretrained_cfg(name)
    return int(found.input_size[-1]) if found else None
