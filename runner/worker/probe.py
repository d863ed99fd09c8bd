"""The probe: weights that need no training run, and behave under quantisation as trained ones do.

A backbone is initialised at random, made well-conditioned (residual branches damped, batch norm settled on training
images), and a linear classifier is fitted on its features in closed form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runner.worker.datasets import Dataset, Images

if TYPE_CHECKING:
    import torch
    from torch import nn

FITTING_SAMPLES = 1000
"""Training images that the classifier is fitted on, at most."""
SETTLING_SAMPLES = 128
"""Training images that batch norm's statistics are taken from."""
BATCH = 32
RESIDUAL_GAIN = 0.2
"""Weight of the last batch norm of a residual branch. At the usual 1.0 random branches add noise upon noise: int8 then
left 3 dB of signal in ResNet-50; at 0.2 it leaves 17 to 20, as in trained networks."""
RIDGE = 0.01
"""Shrinkage of the classifier, relative to the mean eigenvalue of the features' Gram matrix."""


def make_probe(module: nn.Module, dataset: Dataset, classes: int) -> dict[str, torch.Tensor]:
    """Return the state_dict of a module made into a probe.

    Args:
        module: a freshly initialised network; it is changed.
        dataset: its training images are used, its labels must be there.
        classes: number of outputs of the classifier.

    Raises:
        ValueError: the network has no linear classifier at its end.
    """
    import torch

    classifier = find_classifier(module, classes)
    with torch.inference_mode():
        damp_residuals(module)
        settle_batch_norm(module, dataset)
        indices = dataset.training[:FITTING_SAMPLES]
        features = collect_features(module, classifier, dataset, indices)
        weight, bias = fit_classifier(features, dataset.labels(indices), classes)
        classifier.weight.copy_(torch.from_numpy(weight).reshape(classifier.weight.shape))
        classifier.bias.copy_(torch.from_numpy(bias))
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def find_classifier(module: nn.Module, classes: int) -> Any:
    """Return the last linear layer (or 1 × 1 convolution) with an output per class.

    Raises:
        ValueError: there is none.
    """
    from torch import nn

    found = [
        layer
        for layer in module.modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == classes and layer.kernel_size == (1, 1))
    ]
    if not found or found[-1].bias is None:
        raise ValueError("the network has no linear classifier with a bias at its end: take weights=random")
    return found[-1]


def damp_residuals(module: nn.Module) -> None:
    """Scale down what every residual branch adds."""
    from torch import nn

    for block in module.modules():
        kind = type(block).__name__
        if kind == "Bottleneck" and hasattr(block, "bn3"):
            nn.init.constant_(block.bn3.weight, RESIDUAL_GAIN)  # type: ignore[union-attr,arg-type]  # a BatchNorm2d
        elif kind == "BasicBlock" and hasattr(block, "bn2"):
            nn.init.constant_(block.bn2.weight, RESIDUAL_GAIN)  # type: ignore[union-attr,arg-type]  # a BatchNorm2d


def settle_batch_norm(module: nn.Module, dataset: Dataset) -> None:
    """Take batch norm's statistics from training images, as the mean over batches."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not norms:
        return
    usual = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for images, _ in dataset.batches(dataset.training[:SETTLING_SAMPLES], BATCH):
        module(torch.from_numpy(images))
    for layer, momentum in zip(norms, usual, strict=True):
        layer.momentum = momentum
        layer.eval()


def collect_features(module: nn.Module, classifier: nn.Module, dataset: Dataset, indices: Any) -> Images:
    """Return what reaches the classifier: samples × features."""
    import torch

    seen: list[torch.Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    features = []
    for images, count in dataset.batches(indices, BATCH):
        module(torch.from_numpy(images))
        features.append(seen.pop()[:count].numpy())
    handle.remove()
    return np.concatenate(features)


def fit_classifier(features: Images, labels: np.ndarray[Any, np.dtype[np.int64]], classes: int) -> tuple[Images, Images]:
    """Return weight and bias of the ridge regression of one-hot labels on features.

    Solved in the dual, samples × samples, since there are more features than samples in most networks.
    """
    wanted = np.eye(classes)[labels]
    centre, shares = features.mean(axis=0, dtype=np.float64), wanted.mean(axis=0)
    centred = features.astype(np.float64) - centre
    gram = centred @ centred.T
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    weight = (centred.T @ np.linalg.solve(gram, wanted - shares)).T
    bias = shares - weight @ centre
    return weight.astype(np.float32), bias.astype(np.float32)
