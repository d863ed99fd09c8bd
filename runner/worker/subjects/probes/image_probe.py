"""The probe: weights that need no training, and react to quantisation as trained ones do.

One forward pass over training images sets the backbone: filters are drawn within the principal directions of their
input, residual branches are damped, and batch norm takes its statistics. Then a linear classifier is fitted on the
features, in closed form. The constants were chosen by measuring the SQNR of the logits under int8 (NNCF).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from runner.worker.data.datasets import FITTING_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.worker.data.datasets import Dataset

SETTLING_SAMPLES = 128
"""Training images that set the backbone. Each has many patches, so these suffice, in a few seconds."""
TRANSFORMER_SETTLING_SAMPLES = 32
"""SETTLING_SAMPLES for these networks: only the patch embedding depends on them."""
BATCH = 16
CONVOLUTION_DAMPING = 0.2
"""Weight of a residual branch's last norm. Undamped, int8's rounding errors grow with every block (SQNR of ResNet-50:
3 dB); 0.1 costs ResNet-18 six points of top-1 at 64 pixels."""
TRANSFORMER_DAMPING = 0.3
"""The same for a transformer's branches. It is larger because only attention links the patches to the class token."""
ATTENTION_GAIN = 1.5
"""Gives attention logits a standard deviation of about 2. At 1 the heads average over all tokens, and SQNR falls."""
DIRECTION_TOLERANCE = 1e-2
"""Eigenvalues below this share of the largest are rounding noise of the image; 1e-3 costs 3 to 5 dB of SQNR."""
RIDGE = 0.03
"""Shrinkage relative to the mean squared norm of the features: about the power of int8's noise in them."""
MAX_PATCH = 1024
"""Maximum patch size for a full eigendecomposition; larger patches are decorrelated over channels only."""
PATCHES = 8192
"""Patches from which a covariance is estimated."""


def make_probe(module: nn.Module, dataset: Dataset, classes: int, seed: int) -> dict[str, Tensor]:
    """Turn a newly initialised network into a probe, in place.

    Args:
        module: the network, in evaluation mode.
        dataset: its training images and labels.
        classes: number of outputs.
        seed: of the random directions.

    Returns:
        The network's state_dict.

    Raises:
        ValueError: the network has no linear classifier.
    """
    torch.manual_seed(seed)
    classifiers = find_classifiers(module, classes)
    normalised = any(isinstance(layer, _BatchNorm) for layer in module.modules())
    indices = dataset.training[:FITTING_IMAGES]
    setting = dataset.training[: SETTLING_SAMPLES if normalised else TRANSFORMER_SETTLING_SAMPLES]
    with torch.no_grad():
        settling = torch.from_numpy(dataset.source.batch(setting))
        set_backbone(module, settling, torch.Generator().manual_seed(seed))
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a sixth faster; torch's stub misses it
        features = collect_features(module, classifiers, dataset, indices)
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # as above
        labels = torch.from_numpy(dataset.labels(indices))
        for classifier in classifiers:
            fit_classifier(classifier, features[classifier], labels, classes)
            _lift(classifier, module, settling[:BATCH])
    return module.state_dict()


def find_classifiers(module: nn.Module, classes: int) -> list[nn.Linear | nn.Conv2d]:
    """Return the linear layers or 1 × 1 convolutions that give the scores of classes: the last, and its twins.

    A network that was distilled has a second head for its teacher, of the same kind and beside the first: the output is
    the mean of both.

    Raises:
        ValueError: there is none.
    """
    found = {
        name: layer
        for name, layer in module.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == classes and layer.kernel_size == (1, 1))
    }
    if not found:
        raise ValueError(f"weights=probe needs a linear classifier with {classes} outputs: take weights=random")
    last = list(found)[-1]
    parent = last.rpartition(".")[0]
    twins = [name for name in found if name.rpartition(".")[0] == parent and _alike(found[name], found[last])]
    return [found[name] for name in twins]


def _alike(one: nn.Module, other: nn.Module) -> bool:
    shapes = [tuple(layer.weight.shape) for layer in (one, other) if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return type(one) is type(other) and len(set(shapes)) == 1


def _lift(classifier: nn.Linear | nn.Conv2d, module: nn.Module, images: Tensor) -> None:
    """Raise the bias of a convolution so that all its scores are positive: SqueezeNet has a ReLU behind it.

    Equal amounts for all classes change neither the choice nor the softmax.
    """
    if not isinstance(classifier, nn.Conv2d) or classifier.bias is None:
        return
    lowest: list[float] = []
    hook = classifier.register_forward_hook(lambda _, __, scores: lowest.append(float(scores.min())))
    module(images)
    hook.remove()
    classifier.bias.add_(max(0.0, -min(lowest)))


def set_backbone(module: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Set all weights but the classifier's, and take batch norm's statistics from the same images.

    Args:
        module: the network, in evaluation mode.
        images: samples × 3 × size × size.
        generator: of the random directions.
    """
    set_transformer_blocks(module)
    damped = damp_branches(module)
    dense = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]

    def align_on_arrival(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        align_filters(layer, inputs[0], whiten=layer is dense[0], generator=generator)

    # One batch has all images: each hook sees the output of the layers before it, which are already set.
    hooks = [layer.register_forward_pre_hook(align_on_arrival) for layer in dense if layer not in damped]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    module(images)
    for hook in hooks:
        hook.remove()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def damp_branches(module: nn.Module) -> set[nn.Module]:
    """Scale down every residual branch, and return the layers inside the branches that end in batch norm."""
    inside: set[nn.Module] = set()
    for block in module.modules():
        if _is_residual(block):
            branch = [
                layer
                for name, child in block.named_children()
                if name != "downsample"  # a ResNet's projection is the shortcut, not the branch
                for layer in child.modules()
            ]
            norms = [layer for layer in branch if isinstance(layer, _BatchNorm) and layer.affine]
            if norms:
                nn.init.constant_(norms[-1].weight, CONVOLUTION_DAMPING)
                inside.update(branch)
        for name in ("layer_scale", "gamma"):  # ConvNeXt initialises these to 1e-6, which would disable the branch
            scale = getattr(block, name, None)
            if isinstance(scale, nn.Parameter):
                nn.init.constant_(scale, TRANSFORMER_DAMPING)
    return inside


def _is_residual(block: nn.Module) -> bool:
    """Return whether a block's branch ends in a batch norm and is added to a shortcut."""
    return (
        type(block).__name__ in ("BasicBlock", "Bottleneck")  # ResNets of torchvision and timm
        or getattr(block, "use_res_connect", False) is True  # MobileNet and EfficientNet of torchvision
        or getattr(block, "has_skip", False) is True  # the same of timm
    )


def set_transformer_blocks(module: nn.Module) -> None:
    """Give attention and MLP layers unit variance, damp their branches, and give position embeddings unit variance."""
    for block in module.modules():
        attention = getattr(block, "attn", None) or getattr(block, "self_attention", None)  # timm, torchvision
        mlp = getattr(block, "mlp", None)
        if isinstance(attention, nn.Module) and isinstance(mlp, nn.Module):
            _set_transformer_block(attention, mlp)
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[2] in ("pos_embed", "pos_embedding", "cls_token", "class_token"):
            nn.init.normal_(parameter, std=1.0)  # the variance that align_filters gives the patches


def _set_transformer_block(attention: nn.Module, mlp: nn.Module) -> None:
    if isinstance(attention, nn.MultiheadAttention):
        projection: Any = attention.in_proj_weight
    else:
        projection = getattr(getattr(attention, "qkv", None), "weight", None)
    out = getattr(attention, "proj", None) or getattr(attention, "out_proj", None)
    layers = [layer for layer in mlp.modules() if isinstance(layer, nn.Linear)]
    if projection is None or not isinstance(out, nn.Linear) or len(layers) != 2:
        return  # another kind of block keeps its library's initialisation
    _fill(projection, 1.0)
    projection[: 2 * len(projection) // 3] *= ATTENTION_GAIN  # queries and keys
    _fill(out.weight, TRANSFORMER_DAMPING)
    _fill(layers[0].weight, 1.0)
    _fill(layers[1].weight, TRANSFORMER_DAMPING)


def _fill(weight: Tensor, gain: float) -> None:
    nn.init.normal_(weight, std=gain * weight.shape[1] ** -0.5)


def align_filters(layer: nn.Conv2d, inputs: Tensor, *, whiten: bool, generator: torch.Generator) -> None:
    """Draw a convolution's filters within the principal directions of its input, for outputs of unit variance.

    Args:
        layer: its weight and bias are set.
        inputs: its input: samples × channels × height × width.
        whiten: give every direction the same weight; for the first layer, where edges are weak but matter.
        generator: of the random directions.
    """
    kernel, channels = layer.kernel_size, inputs.shape[1]
    size = channels * math.prod(kernel)
    whole = size <= MAX_PATCH
    if whole:
        padding = layer.padding if isinstance(layer.padding, tuple) else 0
        patches = nn.functional.unfold(inputs[:32], kernel, layer.dilation, padding, layer.stride)
        samples = patches.transpose(1, 2).reshape(-1, size)
    else:
        samples = inputs.permute(0, 2, 3, 1).reshape(-1, channels)
    samples = samples[torch.randperm(len(samples), generator=generator)[:PATCHES]].double()
    values, vectors = torch.linalg.eigh(torch.cov(samples.T))
    kept = values > DIRECTION_TOLERANCE * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    basis = vectors / values.sqrt() if whiten else vectors
    taps = 1 if whole else math.prod(kernel)
    weight = torch.randn(layer.out_channels, taps, len(values), generator=generator).double() @ basis.T
    weight *= ((weight @ vectors) ** 2 * values).sum((1, 2)).rsqrt()[:, None, None]
    if layer.bias is not None:
        layer.bias.copy_(-(weight @ samples.mean(0)).sum(1))
    layer.weight.copy_(weight.transpose(1, 2).reshape(layer.weight.shape))


def collect_features(
    module: nn.Module, classifiers: Sequence[nn.Module], dataset: Dataset, indices: Sequence[int]
) -> dict[nn.Module, Tensor]:
    """Return the input of each classifier: samples × features, float64. Features at several places are averaged."""
    arrived: dict[nn.Module, Tensor] = {}

    def keep(classifier: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        arrived[classifier] = inputs[0].mean((2, 3)) if inputs[0].ndim == 4 else inputs[0].flatten(1)

    hooks = [classifier.register_forward_pre_hook(keep) for classifier in classifiers]
    features: dict[nn.Module, list[Tensor]] = {classifier: [] for classifier in classifiers}
    for images, count in dataset.batches(indices, BATCH):
        module(torch.from_numpy(images))
        for classifier in classifiers:
            features[classifier].append(arrived[classifier][:count].double())
    for hook in hooks:
        hook.remove()
    return {classifier: torch.cat(parts) for classifier, parts in features.items()}


def fit_classifier(classifier: nn.Linear | nn.Conv2d, features: Tensor, labels: Tensor, classes: int) -> None:
    """Fit a ridge regression of centred one-hot labels, scaled to minimise the cross-entropy of held-out predictions.

    Solved in the dual, samples × samples; leave-one-out predictions follow from the hat matrix in closed form
    (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10).

    Args:
        classifier: its weight and bias are set.
        features: its inputs, samples × features, float64.
        labels: the classes, samples.
        classes: number of outputs.
    """
    mean = features.mean(0)
    wanted = nn.functional.one_hot(labels, classes).double()
    wanted = wanted - wanted.mean(0)
    centred = features - mean
    gram = centred @ centred.T
    inverse = torch.linalg.inv(gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype))
    dual = inverse @ wanted
    leverage = (gram * inverse).sum(1) + 1 / len(gram)
    held_out = wanted - (wanted - gram @ dual) / (1 - leverage)[:, None]
    scales = torch.from_numpy(np.logspace(0, 2, 41))
    losses = torch.stack([nn.functional.cross_entropy(scale * held_out, labels) for scale in scales])
    weight = scales[losses.argmin()] * (dual.T @ centred)
    classifier.weight.copy_(weight.view_as(classifier.weight))
    if classifier.bias is not None:
        classifier.bias.copy_(-(weight @ mean))
