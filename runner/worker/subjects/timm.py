"""Networks of timm, with the job's weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from runner.job import Job
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset
from runner.worker.failures import Refused, gist
from runner.worker.subjects.network import open_network
from runner.worker.subjects.subject import Subject
from runner.worker.subjects.torchvision import declare_torchvision_operators

if TYPE_CHECKING:
    from torch import nn


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
