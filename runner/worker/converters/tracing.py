"""Example arguments with which PyTorch traces a module, and the extents that remain dynamic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.worker.converters.base import Order
from runner.worker.subjects.subject import Signature, zeros

if TYPE_CHECKING:
    from torch import Tensor

MAX_EXTENT = 4096
"""Largest extent, of a batch for example, that an exported graph takes."""


@dataclass(frozen=True)
class Traced:
    """Arguments with which a module is traced."""

    args: tuple[Tensor, ...]
    kwargs: dict[str, Tensor]
    dynamic_shapes: Any
    """Which extents remain dynamic, in the form that ``torch.export`` takes."""


def traced(order: Order) -> Traced:
    """Return example arguments for an order's module: zeros for two samples, because PyTorch specialises on one."""
    import torch

    subject = order.subject
    tensors = {name: torch.from_numpy(values) for name, values in zeros(subject.signature, 2, order.shapes).items()}
    args, kwargs = subject.arguments(tensors)
    extents = dynamic_extents(subject.signature)
    return Traced(args, kwargs, extents if kwargs else tuple(extents.values()))


def dynamic_extents(signature: Signature) -> dict[str, dict[int, Any]]:
    """Return for each input, by axis, the extents that a signature leaves open, as ``torch.export`` names them."""
    import torch

    symbols = {extent for port in signature.inputs for extent in port.shape if isinstance(extent, str)}
    dims = {symbol: torch.export.Dim(symbol, min=1, max=MAX_EXTENT) for symbol in symbols}
    return {
        port.name: {axis: dims[extent] for axis, extent in enumerate(port.shape) if isinstance(extent, str)}
        for port in signature.inputs
    }
