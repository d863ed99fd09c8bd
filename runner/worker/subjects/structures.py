"""What a PyTorch module returns, as named tensors: dictionaries, tuples, lists and dataclasses of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils._pytree import KeyEntry, TreeSpec

ONLY = "output"
"""Name of the output of a module that returns one tensor."""


def flatten(found: Any) -> dict[str, Tensor]:
    """Return the tensors in what a module returned, by their places: ``boxes``, ``0``, ``hidden_states.3``."""
    import torch
    from torch.utils import _pytree

    leaves, _ = _pytree.tree_flatten_with_path(found)
    return {_name(path): leaf for path, leaf in leaves if isinstance(leaf, torch.Tensor)}


def names_in(spec: TreeSpec) -> list[str]:
    """Return the names of the tensors in a structure, in order."""
    from torch.utils import _pytree

    leaves, _ = _pytree.tree_flatten_with_path(_pytree.tree_unflatten(range(spec.num_leaves), spec))
    return [_name(path) for path, _ in leaves]


def _name(path: tuple[KeyEntry, ...]) -> str:
    """Return the keys, positions and attributes on the way to a tensor, joined by dots."""
    words = [str(next(getattr(key, part) for part in ("key", "idx", "name") if hasattr(key, part))) for key in path]
    return ".".join(words) or ONLY
