"""Networks of torchvision and timm, built by their library's definition, with the job's weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runner.worker.artifacts.cache import package_versions

if TYPE_CHECKING:
    from torch import nn


class Weights(Protocol):
    """A source of a network's weights."""

    @property
    def digest(self) -> str:
        """Changes if the weights do; part of the cache key of everything made from them."""

    def module(self) -> nn.Module:
        """Return the network with these weights, in evaluation mode, in fp32."""


class Network:
    """An architecture with its weights. :meth:`module` imports its library; nothing else does."""

    def __init__(self, source: str, name: str, image_size: int, weights: Weights) -> None:
        """Store the network's parts.

        Args:
            source: torchvision or timm.
            name: the architecture's name in the source's registry.
            image_size: height and width in pixels.
            weights: the source of its weights.
        """
        self.source = source
        self.name = name
        self.image_size = image_size
        self.weights = weights

    @property
    def key(self) -> dict[str, Any]:
        """Everything that the network's function depends on, as JSON values."""
        return {
            "source": self.source,
            "name": self.name,
            "image_size": self.image_size,
            "weights": self.weights.digest,
            "packages": package_versions("torch", self.source),
        }

    def module(self) -> nn.Module:
        """Return the network in evaluation mode, in fp32."""
        return self.weights.module()


def build_module(source: str, name: str, image_size: int, classes: int) -> nn.Module:
    """Return an architecture with newly initialised weights, in evaluation mode.

    Args:
        source: torchvision or timm.
        name: the architecture's name in the source's registry.
        image_size: height and width in pixels; only architectures with position embeddings per patch depend on it.
        classes: number of outputs.
    """
    if source == "timm":
        declare_torchvision_operators()  # timm imports torchvision
        import timm

        sized: Any = {"img_size": image_size} if _takes_image_size(name) else {}
        module: nn.Module = timm.create_model(name, num_classes=classes, **sized)
        return module.eval()
    declare_torchvision_operators()
    from torchvision import models

    sized = {"image_size": image_size} if name.startswith(("vit_",)) else {}
    built: nn.Module = models.get_model(name, weights=None, num_classes=classes, **sized)
    return built.eval()


def count_operations(source: str, name: str, size: int) -> float:
    """Return the operations per image in units of 10⁹, as PyTorch's FlopCounterMode counts them."""
    import torch

    with torch.device("meta"):
        module = build_module(source, name, size, 10)
        images = torch.zeros(1, 3, size, size)
        return count_gops(lambda: module(images))


def count_gops(step: Callable[[], object]) -> float:
    """Run a step once and return its operations in units of 10⁹; a multiply-add counts as two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        step()
    return counter.get_total_flops() / 1e9


def pretrained_module(source: str, name: str) -> nn.Module:
    """Return an architecture with the weights that its library publishes, in evaluation mode.

    Raises:
        OSError: they are not in the hub's cache, and the download failed.
    """
    declare_torchvision_operators()
    if source == "timm":
        import timm

        module: nn.Module = timm.create_model(name, pretrained=True)
        return module.eval()
    from torchvision import models

    built: nn.Module = models.get_model(name, weights="DEFAULT")
    return built.eval()


def _takes_image_size(name: str) -> bool:
    """Return whether a timm model has a fixed number of patches."""
    import timm

    entry = timm.models.model_entrypoint(name.split(".", maxsplit=1)[0])
    return entry.__module__.rsplit(".", 1)[-1] in {"vision_transformer", "deit", "beit", "eva", "swin_transformer"}


@cache
def declare_torchvision_operators() -> None:
    """Make ``import torchvision`` possible with a CPU build of PyTorch.

    torchvision's wheel on PyPI is built for CUDA. With a CPU build of PyTorch its C++ library does not load, and its
    import fails when it registers fake implementations of operators that are not defined. Declaring the schemas is
    enough for classification models, which use none of these operators.
    """
    import importlib.util

    import torch
    from torch import library

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return  # not installed: importing it reports that
    try:
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:  # built for another PyTorch
        declared = library.Library("torchvision", "DEF")
        declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _keep_alive.append(declared)


_keep_alive: list[Any] = []
"""Library objects: a declaration is valid as long as its object exists."""
