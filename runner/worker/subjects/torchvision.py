"""Networks of torchvision, with the job's weights."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.job import Job
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset
from runner.worker.data.preprocessing import Preprocessing, imagenet
from runner.worker.failures import Unavailable, Unsupported
from runner.worker.libraries import declare_torchvision_operators
from runner.worker.subjects.network import open_network
from runner.worker.subjects.subject import Subject

if TYPE_CHECKING:
    from torch import nn

IMAGENET_CLASSES = 1000
DEFAULT_SIZE = 224
"""Height and width of the input, in pixels, for networks that have no size of their own."""
RELATIVES = 6
"""Architectures that are tried if a file of weights does not fit."""


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return a job's images and its network; see :class:`runner.worker.subjects.subject.Opener`."""
    return open_network(sys.modules[__name__], job, fetch)


def build(name: str, image_size: int, classes: int | None) -> nn.Module:
    """Return an architecture with newly initialised weights, in evaluation mode.

    Args:
        name: the architecture's name in torchvision's registry.
        image_size: height and width in pixels; only architectures with position embeddings per patch depend on it.
        classes: number of outputs; None for the library's default.
    """
    declare_torchvision_operators()
    from torchvision import models

    sized: dict[str, Any] = {"image_size": image_size} if name.startswith("vit_") else {}
    counted = {} if classes is None else {"num_classes": classes}
    builder = models.get_model_builder(name)
    if ".detection." in builder.__module__ and not _has_operators():
        raise Unavailable(
            f"{name} needs operators of torchvision (nms, roi_align) that are built for another PyTorch: "
            "run pip install torchvision --index-url https://download.pytorch.org/whl/cpu"
        )
    if classes == 0:
        raise Unsupported(f"{name} of torchvision has no features without a classifier: take model=timm")
    # Otherwise networks for segmentation and detection would download a backbone.
    bare = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    built: nn.Module = builder(weights=None, **bare, **counted, **sized)
    return built.eval()


def pretrained(name: str) -> nn.Module:
    """Return an architecture with the weights that the library publishes, in evaluation mode.

    Raises:
        OSError: they are not in the hub's cache, and the download failed.
    """
    declare_torchvision_operators()
    from torchvision import models

    built: nn.Module = models.get_model(name, weights="DEFAULT")
    return built.eval()


def preprocessing(name: str) -> Preprocessing:
    """Return the preprocessing of an architecture's best published weights, as ``weights.transforms()`` says."""
    found = _published(name)
    transforms: Any = found.transforms() if found else None
    if not hasattr(transforms, "crop_size"):  # networks that do not classify, and those without published weights
        return imagenet(DEFAULT_SIZE)
    return Preprocessing(
        size=int(transforms.crop_size[0]),
        resized=int(transforms.resize_size[0]),
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        origin="torchvision's weights.transforms()",
    )


def class_names(name: str) -> Mapping[int, str]:
    """Return the names of the classes of the published weights: WordNet's for the 1,000 of ImageNet."""
    found = _published(name)
    names = found.meta["categories"] if found else []
    return imagenet_classes() if len(names) == IMAGENET_CLASSES else dict(enumerate(names))


def imagenet_classes() -> Mapping[int, str]:
    """Return ImageNet's 1,000 classes as WordNet ids, the names of its folders; timm lists them."""
    declare_torchvision_operators()  # timm imports torchvision
    from timm.data.imagenet_info import ImageNetInfo

    return dict(enumerate(ImageNetInfo().label_names()))  # type: ignore[no-untyped-call]  # timm has no types


def relatives(name: str) -> Sequence[str]:
    """Return the architectures most similar to one by name."""
    declare_torchvision_operators()
    from torchvision import models

    others = [other for other in models.list_models(module=models) if other != name]
    return difflib.get_close_matches(name, others, n=RELATIVES, cutoff=0.5)


def _published(name: str) -> Any:
    """Return the best published weights of an architecture; None if there are none."""
    declare_torchvision_operators()
    from torchvision import models

    return getattr(models.get_model_weights(name), "DEFAULT", None)


def _has_operators() -> bool:
    """Return whether torchvision's own operators can run."""
    from torchvision.extension import _has_ops

    return bool(_has_ops())
