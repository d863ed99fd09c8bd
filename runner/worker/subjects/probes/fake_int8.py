"""What int8 does to a network, computed by PyTorch alone: how well a probe stands for trained weights.

Weights are rounded to 8 bits per output channel, inputs of convolutions and linear layers per tensor, with the ranges
of the same images. No runtime's quantiser is part of it: what is lost here is lost by the weights.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.worker.data.datasets import Dataset

JUDGED_SAMPLES = 32
"""Images on which a probe is judged: others than those that fit it, if there are so many."""
LAYERS = (nn.Conv2d, nn.Linear)


def judge_probe(module: nn.Module, dataset: Dataset) -> float:
    """Return :func:`fake_int8_sqnr_db` of a network, in dB, on the last training images of a data set."""
    return fake_int8_sqnr_db(module, torch.from_numpy(dataset.source.batch(dataset.training[-JUDGED_SAMPLES:])))


def fake_int8_sqnr_db(module: nn.Module, images: Tensor) -> float:
    """Return 10·log10 of the power of the outputs over that of the noise that int8 adds to them, in dB.

    Args:
        module: in evaluation mode; it is the same afterwards.
        images: samples × 3 × size × size.
    """
    with torch.no_grad():
        exact = module(images)
        with _rounded(module):
            noisy = module(images)
    exact, noisy = (one[0] if isinstance(one, (tuple, list)) else one for one in (exact, noisy))
    # What all classes have in common is no signal: SqueezeNet's scores are raised by a constant.
    signal = (exact - exact.mean(dim=1, keepdim=True)).double()
    noise = (noisy - noisy.mean(dim=1, keepdim=True)).double() - signal
    power = float(noise.square().sum())
    return 10 * math.log10(float(signal.square().sum()) / power) if power else math.inf


@contextmanager
def _rounded(module: nn.Module) -> Iterator[None]:
    """Round the weights and the inputs of all layers."""
    layers = [layer for layer in module.modules() if isinstance(layer, LAYERS)]
    weights = [layer.weight.clone() for layer in layers]
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: (_round_tensor(inputs[0]), *inputs[1:])) for layer in layers
    ]
    for layer in layers:
        layer.weight.copy_(_round_channels(layer.weight))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.copy_(weight)


def _round_tensor(values: Tensor) -> Tensor:
    """Round to 256 levels from the lowest to the highest value, of which one is zero."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = (high - low) / 255 or 1.0
    return (values / step).round() * step


def _round_channels(weight: Tensor) -> Tensor:
    """Round to 255 levels around zero, for each output channel."""
    flat = weight.flatten(1)
    step = flat.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
    return ((flat / step).round() * step).view_as(weight)
