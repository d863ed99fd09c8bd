"""Files of weights as training leaves them: state_dicts, wrapped and prefixed, and what of them fits a network.

Files may contain tensors and plain values only, no code.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.worker.failures import Refused

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FIELD = "weights.path"
ALLOWED = "a file of torch.save(model.state_dict(), …), or a .safetensors file"
WRITTEN_BY_TORCH = (b"PK", b"\x80")
"""With what files of torch.save start: as archives, and as older versions wrote them, as pickles."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
"""Names under which training scripts store the state_dict, best first."""
NO_WEIGHTS = ("optimizer", "optimizers", "optimizer_state_dict", "optimizer_states", "lr_schedulers", "scaler")
"""Names under which they store other tensors."""
LEVELS = 3
"""Levels of wrapping."""
COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a module's parameters."""
UNCOUNTED = "num_batches_tracked"
"""A counter of batch norm that old files lack; evaluation does not use it."""
MATCHED = 60
"""Names of a network by which the prefix of those in a file is found."""
MAX_HEAD = 4
"""Tensors of a classifier that are left out for a network without one."""
SHOWN = 3
"""Number of keys that a message lists."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StateDict:
    """The tensors of a file, by the names of a network's parameters."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    """What was unwrapped and left out, for readers of the result."""


def read_state(path: Path, key: str | None, wanted: Shapes) -> StateDict:
    """Return the tensors of a file that a network wants.

    Wrappers of training scripts and prefixes of DataParallel, Lightning and torch.compile are removed.

    Args:
        path: a .safetensors file, or one that torch.save wrote.
        key: where in the file the state_dict is, with dots between levels; None to find it.
        wanted: the shapes of the network's parameters and buffers, by name.

    Raises:
        Refused: the file is damaged, or contains code or no state_dict.
    """
    if not path.stat().st_size:
        raise Refused(FIELD, path, ALLOWED, "It is empty: save the weights again")
    content = _load(path)
    tensors, place = _unwrap(content, key, path)
    names = {name.replace(COMPILED, ""): tensor for name, tensor in tensors.items()}
    prefix = _prefix(names, wanted)
    kept = {name.removeprefix(prefix): tensor for name, tensor in names.items() if name.startswith(prefix)}
    notes = []
    if place:
        notes.append(f"the weights are those under {place} of the file")
    if any(COMPILED in name for name in tensors):
        notes.append(f"the prefix {COMPILED} of torch.compile was removed from their names")
    if prefix:
        notes.append(f"the prefix {prefix} was removed from their names")
    if others := [name for name in names if not name.startswith(prefix)]:
        notes.append(f"{len(others)} tensors of the file without it were left out: {_list(others)}")
    if stored := sorted({str(one.dtype).removeprefix("torch.") for one in kept.values() if one.dtype.itemsize == 2}):
        notes.append(f"the weights are stored as {', '.join(stored)}, and computed with in fp32")
    return StateDict(kept, tuple(notes))


def _load(path: Path) -> Any:
    import torch

    with path.open("rb") as stream:
        begins = stream.read(2)
    if path.suffix.lower() != ".safetensors" and not begins.startswith(WRITTEN_BY_TORCH):
        raise Refused(FIELD, path, ALLOWED, "It is of another kind: torch.save has not written it")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each kind of damage has its own exception: zip, pickle, EOF, safetensors, …
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        telling = next((line for line in lines if "GLOBAL" in line), lines[0] if lines else "")
        remedy = (
            f"It is damaged, or not a state_dict of tensors ({type(error).__name__}: {telling[:160]}): save it again"
        )
        raise Refused(FIELD, path, ALLOWED, remedy) from error


def _harmless() -> list[Any]:
    """Return the types of plain values that training scripts store beside weights. Making one runs no code."""
    import numpy as np
    from numpy._core import multiarray

    scalar, array = multiarray.scalar, multiarray._reconstruct  # what NumPy's pickles name
    return [
        *(argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, np.dtype, np.ndarray, scalar, array),
        # The same under the names of NumPy 1.
        *((scalar, "numpy.core.multiarray.scalar"), (array, "numpy.core.multiarray._reconstruct")),
        *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
    ]


def _unwrap(content: Any, key: str | None, path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the state_dict within what a file holds, and its place: empty if it is all of it.

    Raises:
        Refused: there is none, or not at the requested place.
    """
    if key is not None:
        for part in key.split("."):
            if not isinstance(content, Mapping) or part not in content:
                known = _list(list(content), 12) if isinstance(content, Mapping) else "nothing"
                raise Refused("weights.key", key, f"a key of {path}", f"It holds {known}")
            content = content[part]
    found = _search(content, LEVELS)
    if found is not None:
        state, place = found
        return state, ".".join([*([key] if key else []), *place])
    named = isinstance(content, Mapping)
    what = f"It holds {_list(list(content), 8)}" if named else f"It holds a {type(content).__name__}"
    raise Refused(FIELD, path, ALLOWED, f"{what}: save model.state_dict(), not the model")


def _search(content: Any, levels: int) -> tuple[dict[str, Tensor], list[str]] | None:
    """Return the first state_dict at the least depth, and the keys on the way to it; the usual names come first."""
    if _is_state(content):
        return {str(name): one for name, one in content.items() if _is_tensor(one)}, []
    if not isinstance(content, Mapping) or not levels:
        return None
    inside = [name for name in WRAPPERS if name in content] + [name for name in content if name not in WRAPPERS]
    inside = sorted(inside, key=lambda name: not _is_state(content[name]))  # stable: the nearest first
    for name in inside:
        if name not in NO_WEIGHTS and (found := _search(content[name], levels - 1)):
            return found[0], [str(name), *found[1]]
    return None


def _is_state(found: Any) -> bool:
    """Return whether something is a state_dict: most of its values are tensors, the others plain extra state."""
    if not isinstance(found, Mapping) or not found:
        return False
    tensors = sum(_is_tensor(one) for one in found.values())
    nested = any(isinstance(one, Mapping) and one for name, one in found.items() if not str(name).startswith("_"))
    return 2 * tensors > len(found) and not nested


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _prefix(names: Mapping[str, Any], wanted: Shapes) -> str:
    """Return what stands before a network's own names in a file: that under which most of them are found."""
    ends: dict[str, int] = {}
    sample = list(wanted)[:: max(1, len(wanted) // MATCHED)]
    for own in sample:
        for name in names:
            if name == own or name.endswith(f".{own}"):
                prefix = name[: len(name) - len(own)]
                ends[prefix] = ends.get(prefix, 0) + 1
    best = max(ends, key=lambda prefix: (ends[prefix], -len(prefix)), default="")
    return best if ends.get(best, 0) > ends.get("", 0) else ""


def load_into(module: torch.nn.Module, state: StateDict, path: Path, name: str) -> None:
    """Load a file's tensors into a network.

    Args:
        module: the network.
        state: the file.
        path: of the file, for the message.
        name: of the network, likewise.

    Raises:
        Refused: they do not fit; the message has the first keys that differ.
    """
    if wrong := differences(state, shapes_of(module)):
        raise Refused(FIELD, path, f"weights of {name}", some(wrong))
    module.load_state_dict(state.tensors, strict=False)  # strict would miss the counters of batch norm


def classes_of(state: StateDict, one: Shapes, other: Shapes) -> int | None:
    """Return the number of classes in a file; None if it has no classifier that the network knows.

    Args:
        state: the file.
        one: the shapes of the network's parameters with some number of classes.
        other: those with another: the parameters that differ are the classifier.
    """
    for name, shape in one.items():
        if name in state.tensors and shape != other.get(name):
            found = tuple(state.tensors[name].shape)
            axis = next(axis for axis, (a, b) in enumerate(zip(shape, other[name], strict=True)) if a != b)
            if len(found) == len(shape):
                return found[axis]
    return None


def differences(state: StateDict, wanted: Shapes) -> list[str]:
    """Return what in a file does not fit a network, one phrase for each key."""
    found = []
    for name, shape in wanted.items():
        if name not in state.tensors:
            if not name.endswith(UNCOUNTED):
                found.append(f"{name} is missing")
        elif tuple(state.tensors[name].shape) != shape:
            found.append(f"{name} is {list(state.tensors[name].shape)} instead of {list(shape)}")
    return [*found, *(f"{name} is unknown" for name in state.tensors if name not in wanted)]


def some(phrases: Sequence[str]) -> str:
    """Return the first of several phrases, and how many more there are."""
    more = f" and {len(phrases) - SHOWN} more" if len(phrases) > SHOWN else ""
    return "; ".join(phrases[:SHOWN]) + more


def without(state: StateDict, names: Sequence[str]) -> StateDict:
    """Return a file without some tensors, and a note which."""
    if not names:
        return state
    kept = {name: one for name, one in state.tensors.items() if name not in set(names)}
    return StateDict(kept, (*state.notes, f"the classifier of the file was left out: {_list(names)}"))


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's parameters and buffers, by name."""
    return {name: tuple(one.shape) for name, one in module.state_dict().items()}


def _list(names: Sequence[object], count: int = SHOWN) -> str:
    return ", ".join(map(str, names[:count])) + (", …" if len(names) > count else "")
